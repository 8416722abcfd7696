package ledger

import "strings"

// Fate is what became of an event: the first part of a counter's name.
type Fate string

// The fates that are counted where they happen. Received is no fate but what
// they add up to.
const (
	Received   Fate = "received"
	Accepted   Fate = "accepted"
	Dropped    Fate = "dropped"
	Suppressed Fate = "suppressed"
	Rejected   Fate = "rejected"
	Refused    Fate = "refused"

	interrupted Fate = "interrupted"
	unexplained Fate = "unexplained" // received, and nobody knows more
	writtenOff  Fate = "written off"
	deleted     Fate = "deleted" // was stored, and storage has it no more
)

const (
	recovered = "recovered" // received: found in the spool, and in no book
	missing   = "missing"   // written off: events that are gone
	surplus   = "surplus"   // written off: events that are there twice
)

// name is how the file calls a counter.
func (f Fate) name(reason string) string {
	if reason == "" {
		return string(f)
	}
	return string(f) + "/" + reason
}

func parseName(name string) (Fate, string) {
	fate, reason, _ := strings.Cut(name, "/")
	return Fate(fate), reason
}
