package engine_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/halfmask/halfmask/internal/testkit"
	"github.com/halfmask/halfmask/storage/engine"
)

const (
	unknownTable  = 60
	noSuchTables  = 636 // none that this user may see
	readonly      = 164
	limitExceeded = 158 // too many rows
	accessDenied  = 497
	authFailed    = 516
	tooManySess   = 700 // USER_SESSION_LIMIT_EXCEEDED
)

const eventsTable = "CREATE TABLE events (ts DateTime('UTC'), n UInt8) ENGINE = MergeTree PARTITION BY toDate(ts) ORDER BY ts"

func TestStrangersAreShutOut(t *testing.T) {
	e := testkit.NewEngine(t, t.TempDir())
	epoch := e.Epoch()
	for _, c := range []struct {
		as   engine.Credentials
		code int32
	}{
		{engine.Credentials{User: "default"}, tooManySess},
		{engine.Credentials{User: "default", Password: "default"}, authFailed},
		{engine.Credentials{User: e.Writer().User}, authFailed},
		{engine.Credentials{User: e.Writer().User, Password: e.Reader().Password}, authFailed},
		{engine.Credentials{User: "nobody", Password: e.Writer().Password}, authFailed},
	} {
		err := connect(t, e, c.as, "").Ping(context.Background())
		wantCode(t, "login as "+c.as.User, err, c.code)
	}
	if err := connect(t, e, e.Writer(), "").Ping(context.Background()); err != nil {
		t.Errorf("after the strangers the writer is refused: %v", err)
	}
	if e.Epoch() != epoch {
		t.Error("a refused login brought the engine down")
	}
}

func TestReaderMayOnlyRead(t *testing.T) {
	e, database := testkit.Database(t)
	writer := connect(t, e, e.Writer(), database)
	exec(t, writer, eventsTable,
		"CREATE TABLE secrets (n UInt8) ENGINE = MergeTree ORDER BY n",
		"INSERT INTO secrets VALUES (1)",
		"INSERT INTO events SELECT now() - INTERVAL number MONTH - INTERVAL 1 HOUR, number FROM numbers(6)")
	reader := connect(t, e, e.Reader(), database)
	if n := count(t, reader, "events"); n != 3 {
		t.Errorf("reader sees %d events of 0 to 5 months ago, want the 3 younger than 3 months", n)
	}
	if n := count(t, writer, "events"); n != 6 {
		t.Errorf("writer sees %d events, want all 6", n)
	}
	var seconds string
	if err := reader.QueryRow(context.Background(), "SELECT toString(getSetting('max_execution_time'))").Scan(&seconds); err != nil || seconds != "10" {
		t.Errorf("a reader's query may take %q seconds, want 10: %v", seconds, err)
	}
	for statement, codes := range map[string][]int32{
		"SELECT * FROM secrets":                                      {accessDenied},
		"SELECT * FROM file('/etc/passwd', 'LineAsString')":          {accessDenied},
		"SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')":   {accessDenied},
		"SELECT * FROM remote('127.0.0.1:1', system.one)":            {accessDenied},
		"SELECT * FROM executable('id', 'TSV', 'l String')":          {accessDenied, 81, 36},
		"SELECT * FROM system.processes":                             {accessDenied},
		"SELECT * FROM system.users":                                 {accessDenied},
		"SELECT * FROM system.parts":                                 {accessDenied},
		"SELECT * FROM system.errors":                                {accessDenied},
		"INSERT INTO events VALUES (now(), 1)":                       {accessDenied, readonly},
		"ALTER TABLE events DELETE WHERE 1":                          {accessDenied, readonly},
		"DROP TABLE events":                                          {accessDenied, readonly},
		"TRUNCATE TABLE events":                                      {accessDenied, readonly},
		"CREATE TABLE x (n UInt8) ENGINE = Memory":                   {accessDenied, readonly},
		"SET max_execution_time = 100":                               {readonly},
		"SELECT 1 SETTINGS max_memory_usage = 0":                     {readonly},
		"SYSTEM SHUTDOWN":                                            {accessDenied},
		"SYSTEM STOP LISTEN TCP":                                     {accessDenied},
		"KILL QUERY WHERE 1":                                         {accessDenied, readonly},
		"BACKUP TABLE events TO File('x')":                           {accessDenied, readonly},
		"SELECT count() FROM numbers(1000000000000)":                 {limitExceeded},
		"SELECT groupArray(number) FROM numbers(100000000) LIMIT 1":  {241},
		"SELECT number FROM numbers(20000)":                          {396},
		"SELECT * FROM file('" + e.BackupDir() + "/../users.xml')":   {accessDenied},
		"SELECT * FROM merge('" + database + "', 'secrets')":         {accessDenied, unknownTable, noSuchTables},
		"SELECT dictGet('x', 'y', 1)":                                {accessDenied, 36, 1, 446},
		"SELECT addressToLine(1)":                                    {446, accessDenied},
		"CREATE USER x":                                              {accessDenied, readonly},
		"GRANT SELECT ON *.* TO " + e.Reader().User:                  {accessDenied, readonly, 495},
		"CREATE FUNCTION f AS (x) -> x":                              {accessDenied, readonly},
		"ATTACH TABLE z UUID '00000000-0000-4000-8000-000000000000'": {accessDenied, readonly, 62},
	} {
		wantCode(t, statement, reader.Exec(context.Background(), statement), codes...)
	}
}

func TestWriterMayNotReachOutside(t *testing.T) {
	e, database := testkit.Database(t)
	writer := connect(t, e, e.Writer(), database)
	for _, statement := range []string{
		"SELECT * FROM file('/etc/passwd', 'LineAsString')",
		"INSERT INTO FUNCTION file('pwned.txt', 'LineAsString', 'l String') VALUES ('x')",
		"SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
		"SELECT * FROM remote('127.0.0.1:1', system.one)",
		"SYSTEM SHUTDOWN",
		"SYSTEM KILL",
		"SYSTEM STOP LISTEN TCP",
		"CREATE USER x",
		"CREATE DATABASE elsewhere",
	} {
		wantCode(t, statement, writer.Exec(context.Background(), statement), accessDenied)
	}
}

func TestWriterHasWhatStorageNeeds(t *testing.T) {
	e, database := testkit.Database(t)
	writer := connect(t, e, e.Writer(), database)
	backup := fmt.Sprintf("File('%s/%s.tar.zst')", e.BackupDir(), database)
	exec(t, writer, eventsTable,
		"CREATE TABLE roll (d Date, n SimpleAggregateFunction(sum, UInt64)) ENGINE = AggregatingMergeTree ORDER BY d",
		"CREATE MATERIALIZED VIEW feed TO roll AS SELECT toDate(ts) AS d, toUInt64(n) AS n FROM events",
		"CREATE TABLE accounts (id UInt64, name String, v UInt64) ENGINE = ReplacingMergeTree(v) ORDER BY id",
		"INSERT INTO events SELECT now() - INTERVAL number DAY, 1 FROM numbers(3)",
		"ALTER TABLE events ADD COLUMN more LowCardinality(String)",
		"ALTER TABLE events ADD INDEX i n TYPE minmax GRANULARITY 1",
		"ALTER TABLE events MODIFY TTL toStartOfDay(ts) + INTERVAL 3 MONTH",
		"ALTER TABLE events DROP PARTITION '2020-01-01'",
		"ALTER TABLE accounts DELETE WHERE id = 1 SETTINGS mutations_sync = 2",
		"OPTIMIZE TABLE accounts FINAL",
		"CHECK TABLE events",
		"SHOW TABLES",
		"SELECT * FROM accounts FINAL",
		"SELECT count() FROM system.parts",
		"SELECT count() FROM system.processes",
		"SELECT count() FROM system.detached_parts",
		"SELECT count() FROM system.mutations",
		"SELECT count() FROM system.columns",
		"SYSTEM STOP MERGES "+database+".events",
		"SYSTEM START MERGES "+database+".events",
		"SYSTEM STOP TTL MERGES "+database+".events",
		"SYSTEM START TTL MERGES "+database+".events",
		"BACKUP DATABASE "+database+" TO "+backup,
		"TRUNCATE TABLE events",
		"DROP TABLE feed SYNC",
		"RENAME TABLE roll TO roll_old",
		"CREATE TABLE roll AS roll_old",
		"EXCHANGE TABLES roll AND roll_old",
		"INSERT INTO roll_old VALUES ('2026-01-01', 1)",
		"ALTER TABLE roll REPLACE PARTITION tuple() FROM roll_old",
		"DROP TABLE events SYNC",
		"RESTORE TABLE "+database+".events FROM "+backup,
	)
	if n := count(t, writer, "events"); n != 3 {
		t.Errorf("%d events after restoring, want 3", n)
	}
}

func TestWriterKillsAReadersQuery(t *testing.T) {
	e, database := testkit.Database(t)
	writer, reader := connect(t, e, e.Writer(), database), connect(t, e, e.Reader(), database)
	ctx := clickhouse.Context(context.Background(), clickhouse.WithQueryID("slow-"+database))
	ended := make(chan error, 1)
	query := "SELECT count() FROM system.processes WHERE query_id = 'slow-" + database + "'"
	go func() { ended <- reader.Exec(ctx, "SELECT sleep(3), sleep(3), sleep(3)") }()
	eventually(t, "the reader's query runs", func() bool {
		var n uint64
		if err := writer.QueryRow(context.Background(), query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
	exec(t, writer, "KILL QUERY WHERE query_id = 'slow-"+database+"' ASYNC")
	wantCode(t, "the killed query", <-ended, 394)
}

func TestOnlyTheNativePortIsOpen(t *testing.T) {
	e := testkit.Engine(t)
	conn, err := e.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	address := conn.RemoteAddr().String()
	conn.Close()
	if host, _, _ := net.SplitHostPort(address); host != "127.0.0.1" {
		t.Errorf("listens on %s", address)
	}
	client := http.Client{Timeout: 10 * time.Second}
	if res, err := client.Get("http://" + address + "/?query=SELECT+1"); err == nil {
		defer res.Body.Close()
		if res.StatusCode == http.StatusOK {
			t.Error("the native port answers HTTP queries")
		}
	}
	if ports := listeners(t, e.PID()); len(ports) != 1 {
		t.Errorf("the child listens on %v, want one port", ports)
	}
}

// listeners returns the local addresses (as the kernel prints them) on which a
// process listens.
func listeners(t *testing.T, pid int) []string {
	t.Helper()
	own := map[string]bool{}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(links) == 0 {
		t.Skipf("cannot see the child's descriptors as this user: %v", err)
	}
	for _, l := range links {
		if target, err := os.Readlink(l); err == nil && strings.HasPrefix(target, "socket:[") {
			own[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] = true
		}
	}
	var found []string
	for _, table := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile("/proc/net/" + table)
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(b), "\n") {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == "0A" && own[f[9]] {
				found = append(found, f[1])
			}
		}
	}
	return found
}

func TestNothingIsLogged(t *testing.T) {
	e, database := testkit.Database(t)
	writer := connect(t, e, e.Writer(), database)
	var logs uint64
	if err := writer.QueryRow(context.Background(),
		"SELECT count() FROM system.tables WHERE database = 'system' AND name LIKE '%\\_log' AND engine LIKE '%MergeTree'").Scan(&logs); err != nil {
		t.Fatal(err)
	}
	if logs != 0 {
		t.Errorf("the engine keeps %d log tables", logs)
	}
}
