// Package ledger keeps the books: how many events came in, and what became of
// each. The books are a small file beside the spool that outlives the process,
// and they must balance:
//
//	received = stored + spooled + dropped + suppressed + rejected + refused
//	         + quarantined + interrupted + written off
//
// Residue is what is missing from the right side (negative: what is too much).
// It is 0 unless an event was lost or stored twice, and never anything else
// just because events are on their way: Balance says what is proven.
//
// How each is counted:
//
//   - received: the door knows that a request brings an event. A body that does
//     not parse is one event, a beacon for two sites is two.
//   - dropped, suppressed, rejected, refused: the door answered so.
//   - accepted: the door answered 202 because the spool took it. Its events are
//     now stored, spooled or quarantined.
//   - spooled: records really in the spool.
//   - stored: in storage, on storage's disk, and booked before they leave the
//     spool.
//   - quarantined: put aside because storage refuses or nobody can read them.
//   - interrupted: received when a kill ended the process, and not in the
//     spool; their senders got no answer.
//   - written off: a residue that somebody has looked into.
//
// A counter is eight bytes of a mapped file: counting is one atomic addition,
// without a system call, and the page cache outlives a killed process. What
// leaves the spool is written beside that, twice in turn, with a checksum and
// synced, so that it also outlives a power failure; then what was mapped is not
// believed and the rest is taken from the last such copy and from the spool.
//
// It never knows what an event says or whose it is, only how many there are and
// of which UTC day.
package ledger

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/halfmask/halfmask/event"
)

// Spool tells what it holds: *spool.Spool.
type Spool interface {
	// ID is the number of the spool.
	ID() uint64
	// Pending counts the records that were not settled or quarantined.
	Pending() (events int, bytes int64)
	// Sealed counts the records of each sealed segment among them.
	Sealed() map[uint64]int
}

// Options say where the books lie and what they are about. File and Spool must
// be given.
type Options struct {
	File  string
	Spool Spool
	// MaxInFlight bounds how many events a kill can interrupt: those of all
	// connections at once. More than that is residue. Default 1,048,576.
	MaxInFlight uint64

	Logger     *slog.Logger          // nil: nothing is logged
	Registerer prometheus.Registerer // nil: no metrics

	boot string // which run of the machine this is; default: ask the kernel
}

// checkpointInterval is how old the copy for a power failure may be.
const checkpointInterval = 10 * time.Second

// Ledger is an open book. It is safe for concurrent use.
type Ledger struct {
	opts Options
	log  *slog.Logger
	file *file

	mu      sync.Mutex // guards what follows, and that it agrees with the spool
	state   state
	again   map[uint64]entry // booked already and in the spool all the same
	lines   []line
	storage Comparison // of the last audit
	closed  bool

	stop chan struct{}
	loop sync.WaitGroup
}

// line is a counter that is shown as a metric.
type line struct {
	cell   *Cell
	desc   *prometheus.Desc
	labels []string
}

// Open opens the books, making them if there are none, and settles what a kill
// left open: nothing may be appended to the spool or counted meanwhile.
func Open(o Options) (*Ledger, error) {
	if o.MaxInFlight == 0 {
		o.MaxInFlight = 1 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.boot == "" {
		o.boot = thisBoot()
	}
	l := &Ledger{opts: o, log: o.Logger, stop: make(chan struct{})}
	trust, err := l.open()
	if err != nil {
		return nil, fmt.Errorf("cannot open the ledger %s: %w", o.File, err)
	}
	l.reconcile(trust)
	if err := l.checkpoint(); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot write the ledger %s: %w", o.File, err), l.file.close())
	}
	if err := l.register(); err != nil {
		return nil, errors.Join(err, l.file.close())
	}
	l.loop.Go(l.checkpoints)
	return l, nil
}

// checkpoints writes a copy of the counters now and then.
func (l *Ledger) checkpoints() {
	ticker := time.NewTicker(checkpointInterval)
	defer ticker.Stop()
	var last uint64
	for {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
		}
		sum := l.file.sum()
		if sum == last {
			continue
		}
		last = sum
		l.mu.Lock()
		err := l.checkpoint()
		l.mu.Unlock()
		if err != nil {
			l.log.Warn("cannot write the ledger's copy; after a power failure its counters would be older than usual", "error", err)
		}
	}
}

// checkpoint writes the present state beside the one before. l.mu is held, or
// nobody else knows l yet.
func (l *Ledger) checkpoint() error {
	l.state.generation++
	return l.file.write(&l.state)
}

// Counter returns the counter of a fate, and of a reason for it if that is not
// "". It is made if need be, with what earlier runs have counted. If desc is
// given the counter is shown as that metric, whose only variable label, if
// there is a reason, has it as its value.
func (l *Ledger) Counter(fate Fate, reason string, desc *prometheus.Desc) *Cell {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.file.cell(fate.name(reason))
	if c == nil {
		l.log.Error("the ledger has no room for another counter: it is not shown and forgotten at the end; please report it", "counter", fate.name(reason))
		c = new(Cell)
	}
	if desc != nil {
		n := line{cell: c, desc: desc}
		if reason != "" {
			n.labels = []string{reason}
		}
		if found := l.count(Received, recovered); fate == Received && !slices.ContainsFunc(l.lines, func(n line) bool { return n.cell == found }) {
			l.lines = append(l.lines, line{found, desc, []string{recovered}})
		}
		l.lines = append(l.lines, n)
	}
	return c
}

// count is a counter without a metric of its own.
func (l *Ledger) count(fate Fate, reason string) *Cell {
	if c := l.file.cell(fate.name(reason)); c != nil {
		return c
	}
	return new(Cell)
}

// Settled books the events of a segment as stored, by UTC day, and those of its
// records that nobody can read as quarantined; then it has the segment leave
// the spool. If it returns an error it may be called again for that segment.
func (l *Ledger) Settled(seq uint64, days map[event.Day]uint64, unread uint64, leave func() error) error {
	var stored uint64
	for _, n := range days {
		stored += n
	}
	return l.book(entry{seq: seq, stored: stored, quarantined: unread}, days, leave)
}

// Quarantined books the events of a segment as quarantined, likewise.
func (l *Ledger) Quarantined(seq, events uint64, leave func() error) error {
	return l.book(entry{seq: seq, quarantined: events}, nil, leave)
}

// book does the counting before the leaving: a segment that is booked and there
// all the same is recognised, one that is gone unbooked would be a loss.
func (l *Ledger) book(e entry, days map[event.Day]uint64, leave func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.state
	if old, booked := l.again[e.seq]; !booked || old != e {
		if booked { // it came back, perhaps out of quarantine
			l.state.cancel(old)
		}
		l.state.add(e, days, old.stored > 0)
		if err := l.checkpoint(); err != nil {
			before.generation = l.state.generation
			l.state = before
			return fmt.Errorf("cannot write the ledger: %w", err)
		}
		l.again[e.seq] = e
	}
	if err := leave(); err != nil {
		return err
	}
	delete(l.again, e.seq)
	return nil
}

// Close writes the books and closes them; counting must have ended. A second
// Close does nothing.
func (l *Ledger) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	l.loop.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(l.checkpoint(), l.file.close()); err != nil {
		return fmt.Errorf("cannot close the ledger: %w", err)
	}
	return nil
}
