package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/halfmask/halfmask/event"
)

// Storage tells what it holds: *storage.Store.
type Storage interface {
	// Kept counts by UTC day the rows of a spool's batches up to last, those in
	// except aside.
	Kept(ctx context.Context, spool, last uint64, except []uint64) (map[event.Day]uint64, error)
	// RemovedSince tells whether any site's events were deleted since then.
	RemovedSince(ctx context.Context, since time.Time) (bool, error)
}

// Comparison is what storage was found to hold of what was stored there.
type Comparison struct {
	At       time.Time // zero: never compared
	Expected uint64    // on the days that are not about to be dropped for their age
	Found    uint64
	Missing  int64 // negative: too many
}

// Retention is how long storage is expected to keep a day, a little less than
// it really does.
const Retention = 88 * 24 * time.Hour

// Audit compares what was stored, day by day, with what storage has. Days on
// which a site was removed are expected to have less: what they lack is booked
// as deleted.
func (l *Ledger) Audit(ctx context.Context, s Storage) (Comparison, error) {
	began := time.Now()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return Comparison{}, nil
	}
	expected, before, rows := l.expected(began), l.state.compared, l.rows()
	l.mu.Unlock()

	kept, err := rows(ctx, s)
	if err != nil {
		return Comparison{}, err
	}
	removed, err := s.RemovedSince(ctx, time.Unix(before, 0))
	if err != nil {
		return Comparison{}, fmt.Errorf("cannot compare the ledger with storage: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return Comparison{}, nil
	}
	c := Comparison{At: began}
	for day, want := range expected {
		have := kept[day]
		if removed && have < want {
			l.delete(day, want-have)
			want = have
		}
		c.Expected += want
		c.Found += have
		c.Missing += int64(want) - int64(have)
	}
	l.storage, l.state.compared = c, began.Unix()
	if err := l.checkpoint(); err != nil {
		return c, fmt.Errorf("cannot write the ledger: %w", err)
	}
	return c, nil
}

// rows asks storage for the rows of what is booked as stored now. l.mu is held;
// the asking is done without it.
func (l *Ledger) rows() func(context.Context, Storage) (map[event.Day]uint64, error) {
	spool, last := l.state.spool, l.state.last
	except := l.state.doubtful()
	for seq := range l.opts.Spool.Sealed() {
		if _, booked := l.again[seq]; !booked {
			except = append(except, seq)
		}
	}
	slices.Sort(except)
	return func(ctx context.Context, s Storage) (map[event.Day]uint64, error) {
		kept, err := s.Kept(ctx, spool, last, slices.Compact(except))
		if err != nil {
			return nil, fmt.Errorf("cannot compare the ledger with storage: %w", err)
		}
		return kept, nil
	}
}

// expected is what storage should hold of each day that is compared.
func (l *Ledger) expected(now time.Time) map[event.Day]uint64 {
	first := max(l.state.since, event.DayOf(now.Add(-Retention), time.UTC))
	days := map[event.Day]uint64{}
	for _, d := range l.state.days {
		if d.stored > 0 && d.stored != unsure && d.day >= first {
			days[d.day] = d.stored
		}
	}
	return days
}

// delete takes events off a day for good.
func (l *Ledger) delete(day event.Day, n uint64) {
	if slot := l.state.slot(day); slot.day == day && slot.stored != unsure {
		slot.stored -= min(n, slot.stored)
		l.count(deleted, "").value.Add(n)
	}
}

// WriteOff books the present residue, and what storage was just found to lack
// or to have too much of, so that the books balance again and the next loss
// shows. It returns the page as it was before.
func (l *Ledger) WriteOff(ctx context.Context, s Storage) (Balance, error) {
	if s != nil {
		if _, err := l.Audit(ctx, s); err != nil {
			return Balance{}, err
		}
	}
	b := l.Balance()
	if s != nil && b.Storage.Missing != 0 {
		if err := l.rebase(ctx, s); err != nil {
			return Balance{}, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return b, nil
	}
	if b.Residue > 0 {
		l.count(writtenOff, missing).value.Add(uint64(b.Residue))
	} else if b.Residue < 0 {
		l.count(writtenOff, surplus).value.Add(uint64(-b.Residue))
	}
	if err := l.checkpoint(); err != nil {
		return b, fmt.Errorf("cannot write the ledger: %w", err)
	}
	return b, nil
}

// rebase makes what storage has what it should have.
func (l *Ledger) rebase(ctx context.Context, s Storage) error {
	l.mu.Lock()
	expected, rows := l.expected(time.Now()), l.rows()
	l.mu.Unlock()
	kept, err := rows(ctx, s)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	for day, want := range expected {
		if have := kept[day]; have < want {
			l.delete(day, want-have)
		} else if slot := l.state.slot(day); slot.day == day && slot.stored != unsure {
			slot.stored += have - want
		}
	}
	l.storage = Comparison{}
	return nil
}
