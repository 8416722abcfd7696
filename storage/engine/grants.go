package engine

// readable is what the reading user may select from: the one list to extend when
// storage gains a table that the dashboard reads. A table with a Time column is
// filtered by it, so that nothing older than the retention is ever shown, however
// late its deletion.
var readable = []struct{ Table, Time string }{
	{"events", "ts"},
}

// writerOwn is what the writing user may do in the databases it works in.
const writerOwn = "SELECT, INSERT, ALTER, CREATE, DROP, TRUNCATE, OPTIMIZE, CHECK, SHOW"

// writerElsewhere is what it may do beyond them. Not among it, on purpose: READ ON
// FILE or URL, SYSTEM SHUTDOWN (which would signal our whole process group),
// managing users.
var writerElsewhere = []string{
	"TABLE ENGINE ON *",
	"SELECT ON system.*",
	"BACKUP ON *.*",
	"SYSTEM MERGES, SYSTEM TTL MERGES ON *.*",
	// A query is stopped by name: the driver must never cancel one, and the readers'
	// are stopped by the writer because readers may not look at system.processes.
	"KILL QUERY ON *.*",
}
