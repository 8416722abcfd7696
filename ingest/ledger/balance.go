package ledger

import "github.com/halfmask/halfmask/event"

// Reasons are counts by reason.
type Reasons map[string]uint64

// Total adds them up.
func (r Reasons) Total() (n uint64) {
	for _, v := range r {
		n += v
	}
	return n
}

// Balance is a page of the books, in events.
type Balance struct {
	Received Reasons // by endpoint; "recovered" are those that only the spool knew

	Stored      uint64
	Spooled     uint64
	Dropped     Reasons
	Suppressed  Reasons
	Rejected    Reasons
	Refused     Reasons
	Quarantined uint64
	Interrupted uint64
	WrittenOff  int64 // negative: of events that were there twice

	Accepted uint64 // answered 202: stored, spooled or quarantined
	InFlight uint64 // received, and not answered yet

	// Residue is what does not add up: positive if events are gone, negative if
	// there are too many. While events are in flight it is what is proven all
	// the same.
	Residue int64
	// Deleted is what storage held once and has no more, although it is not too
	// old: of sites that were removed, or looked into and written off.
	Deleted uint64
	// Storage is what the last comparison with storage found.
	Storage Comparison

	unexplained uint64
}

// Off is how far the books are from balancing: 0, or the residue and what
// storage lacks or has too much, whichever way.
func (b *Balance) Off() uint64 { return abs(b.Residue) + abs(b.Storage.Missing) }

func abs(n int64) uint64 {
	if n < 0 {
		n = -n
	}
	return uint64(n)
}

// Balance draws up the books. It never reports a residue that is only due to
// events on their way.
func (l *Ledger) Balance() Balance {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return Balance{}
	}
	return l.balance()
}

// balance reads fates before the spool and the spool before what was received.
// So every event that has a fate is in the spool, or was, when that is looked
// at, and every one that is in the spool by then has been received when that is
// looked at.
func (l *Ledger) balance() Balance {
	b := Balance{Received: Reasons{}, Dropped: Reasons{}, Suppressed: Reasons{}, Rejected: Reasons{}, Refused: Reasons{}, Storage: l.storage}
	var fates uint64
	l.file.each(func(fate Fate, reason string, n uint64) {
		if fate != Received && fate != writtenOff && fate != deleted {
			fates += n
		}
		b.take(fate, reason, n)
	})
	b.Stored, b.Quarantined = l.state.stored, l.state.quarantined-l.state.released
	b.Spooled = l.spooled()
	l.file.each(func(fate Fate, reason string, n uint64) {
		if fate == Received {
			b.Received[reason] = n
		}
	})
	b.InFlight = b.Received.Total() - fates
	gap := l.gap(&b)
	if gap < 0 {
		gap = min(gap+int64(b.InFlight), 0)
	}
	b.Residue = gap
	return b
}

// take notes a counter.
func (b *Balance) take(fate Fate, reason string, n uint64) {
	switch fate {
	case Accepted:
		b.Accepted = n
	case Dropped:
		b.Dropped[reason] = n
	case Suppressed:
		b.Suppressed[reason] = n
	case Rejected:
		b.Rejected[reason] = n
	case Refused:
		b.Refused[reason] = n
	case interrupted:
		b.Interrupted = n
	case unexplained:
		b.unexplained = n
	case deleted:
		b.Deleted = n
	case writtenOff:
		if reason == surplus {
			b.WrittenOff -= int64(n)
		} else {
			b.WrittenOff += int64(n)
		}
	}
}

// gap is what was accepted and cannot be found (negative: what is found and was
// not accepted). An event whose sync failed was refused, because nobody can say
// whether it survives a power failure; it is mostly found all the same.
func (l *Ledger) gap(b *Balance) int64 {
	gap := int64(b.Accepted) + int64(b.unexplained) - int64(b.Stored) - int64(b.Quarantined) - int64(b.Spooled) - b.WrittenOff
	if gap < 0 {
		gap = min(gap+int64(b.Refused[event.RefusedUnsynced.String()]), 0)
	}
	return gap
}

// spooled counts what is in the spool and not booked yet. l.mu is held.
func (l *Ledger) spooled() uint64 {
	events, _ := l.opts.Spool.Pending()
	n := uint64(max(events, 0))
	for _, e := range l.again {
		n -= min(e.events(), n)
	}
	return n
}
