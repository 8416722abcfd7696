package ledger

import (
	"time"

	"github.com/halfmask/halfmask/event"
)

// reconcile settles what the last run left open, while nothing is under way.
// An event that was received and has no fate yet is in the spool, and then it
// was accepted, or it was interrupted. Whatever else differs is left as it is:
// that is the residue.
func (l *Ledger) reconcile(how trust) {
	sealed := l.opts.Spool.Sealed()
	l.adopt(how, sealed)
	l.again = map[uint64]entry{}
	for seq := range sealed {
		if e, ok := l.state.left(seq); ok {
			l.again[seq] = e
		}
	}
	b := l.balance()
	open := b.InFlight
	unbooked := uint64(max(-l.gap(&b), 0)) // in the spool and in no book
	found := min(unbooked, open)
	if how != all {
		// The books are older than the spool, or there were none: the spool says
		// what was accepted since.
		l.count(Received, recovered).value.Add(unbooked - found)
		found = unbooked
	}
	l.count(Accepted, "").value.Add(found)
	lost := open - min(found, open)
	if lost > l.opts.MaxInFlight {
		l.count(unexplained, "").value.Add(lost - l.opts.MaxInFlight)
		lost = l.opts.MaxInFlight
	}
	l.count(interrupted, "").value.Add(lost)
	if how == copied || lost > 0 {
		l.log.Info("the ledger is settled after a stop that was none", "interrupted", lost, "in_spool", found, "machine_went_down", how == copied)
	}
	if b = l.balance(); b.Residue != 0 {
		l.log.Error("the books do not balance: run 'halfmask ledger'", "residue", b.Residue)
	}
}

// adopt makes sure that the state is about this spool.
func (l *Ledger) adopt(how trust, sealed map[uint64]int) {
	id := l.opts.Spool.ID()
	if l.state.spool == id {
		return
	}
	fresh := l.state.spool == 0 && len(sealed) == 0
	l.state.spool, l.state.last = id, 0
	l.state.entries, l.state.days = [remembered]entry{}, [dayCount]dayStored{}
	l.state.since = 0
	if how != nothing || !fresh {
		// Storage may hold events of this spool that these books know nothing of.
		l.state.since = event.DayOf(time.Now(), time.UTC) + 1
	}
}
