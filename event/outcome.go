package event

// Outcome is what became of a Hit. Its String is a metric label and, for what
// was dropped, the value of the x-halfmask-dropped header: a closed set.
type Outcome uint8

// The outcomes. Those from DroppedBot to before RefusedSpoolFull were dropped
// on purpose; those from RefusedSpoolFull on were not stored through no fault
// of the sender, who may try again.
const (
	Accepted         Outcome = iota // in the spool: will be stored
	DroppedBot                      // the user agent belongs to a robot
	DroppedNoVisit                  // an engagement without a visit to add it to
	RefusedSpoolFull                // the spool reached its cap or the disk is full
	RefusedStopping                 // the process is shutting down
	RefusedUnsynced                 // in the spool, but the disk failed to make it safe: may be stored or lost
	outcomes
)

var outcomeNames = [outcomes]string{
	Accepted:         "accepted",
	DroppedBot:       "bot",
	DroppedNoVisit:   "no_visit_for_engagement",
	RefusedSpoolFull: "spool_full",
	RefusedStopping:  "stopping",
	RefusedUnsynced:  "not_synced",
}

// String returns the outcome's name.
func (o Outcome) String() string {
	if o < outcomes {
		return outcomeNames[o]
	}
	return "unknown"
}

// Dropped reports whether the hit was dropped on purpose.
func (o Outcome) Dropped() bool { return o > Accepted && o < RefusedSpoolFull }

// Refused reports whether the hit could not be taken now.
func (o Outcome) Refused() bool { return o >= RefusedSpoolFull }

// Outcomes lists every outcome, for metrics that must exist before they move.
func Outcomes() []Outcome {
	all := make([]Outcome, outcomes)
	for i := range all {
		all[i] = Outcome(i)
	}
	return all
}
