// Package session knows which visits are going on. It gives every event its
// visit and writes onto it, once and for all, what the event adds to the sums:
// the facts of event.Facts.
//
// It promises that state and facts agree: nothing changes unless the event was
// kept, and the events of one visitor are kept in the order in which they were
// decided. Memory is bounded; there is no clock, no timer and no goroutine:
// visits that are over leave as later events come in. With a file, which is
// mapped into memory, what was decided outlives the process however that ends,
// without a system call for an event: a kill costs nothing but what was under
// way, and that is in the spool.
//
// A visit ends after 30 minutes without an event, and only so: neither
// midnight nor another campaign or referrer in the middle of it opens a new
// one (as with Plausible, and unlike Matomo), because single-page sites repeat
// the landing page's referrer and parameters on every view. It never knows an
// address or a user agent.
package session

import (
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/halfmask/halfmask/event"
)

// Timeout is how long a visit lives without an event.
const Timeout = 30 * time.Minute

// Keeper takes events for good.
type Keeper interface {
	// Keep stores the event durably or says why not. It may not hold on to it.
	Keep(*event.Event) error
}

// Opener is a Keeper that finds out how a visit came about only for the events
// that open one: for all others the visit knows.
type Opener interface {
	Keeper
	// Open sets the event's Origin.
	Open(*event.Event)
}

// Options bound a Table. A zero field takes its default.
type Options struct {
	// MaxVisits bounds the visits going on at one time; beyond it the one that
	// was silent longest, to the minute, is ended early. Default 1,048,576; each
	// takes 75 to 85 bytes beside the strings that it shares with others.
	MaxVisits int
	// MaxStrings bounds the bytes of the paths, referrers and campaigns that
	// visits going on hold, each once in each of 128 parts of the table. Default
	// 256 MiB.
	MaxStrings int
	// MaxVisitors bounds the visitors remembered for one day; one beyond it
	// counts as new on each visit. Default 8,388,608; each takes up to 32 bytes.
	MaxVisitors int

	Logger     *slog.Logger          // nil: nothing is logged
	Registerer prometheus.Registerer // nil: no metrics

	boot string // which run of the machine this is; default: ask the kernel
}

// shards is how many locks share the visits.
const shards = 128

// Table holds the visits going on and the visitors of the day. It is safe for
// concurrent use.
type Table struct {
	shards [shards]shard
	seed   maphash.Seed
	arena  *arena // nil: nothing outlives the process
	killed bool

	// known finds restored visits by their id; it goes with the first Apply.
	known atomic.Pointer[moved]

	evicted   prometheus.Counter
	forgotten prometheus.Counter
}

// moved is where restored visits are, so that those that were given another
// pseudonym at midnight are found.
type moved struct {
	mu   sync.Mutex
	keys map[event.VisitID]key
}

var errClosed = errors.New("the table of visits is closed")

// New returns an empty table that nothing of outlives the process.
func New(o Options) (*Table, error) {
	t := build(&o)
	return t, t.register(o.Registerer)
}

// Open returns the table in a file, which is made if need be. What an earlier
// run wrote there is taken over, however that ended, unless the machine went
// down without it being closed; then, and if the file is damaged, the table is
// empty and not Complete. The file holds pseudonyms and paths: it is for its
// owner alone.
func Open(file string, o Options) (*Table, error) {
	t := build(&o)
	if o.boot == "" {
		o.boot = thisBoot()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	blocks := o.MaxVisits + o.MaxStrings/blockBytes + 2*o.MaxVisitors/len(list{}.visitors)
	a, left, clean, err := openArena(file, blocks/perChunk+4*shards, o.boot, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("cannot open the file of visits %s: %w", file, err)
	}
	t.arena, t.killed = a, left && !clean
	for i := range t.shards {
		t.shards[i].pool.arena = a
	}
	t.load()
	if err := t.register(o.Registerer); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func build(o *Options) *Table {
	if o.MaxVisits == 0 {
		o.MaxVisits = 1 << 20
	}
	if o.MaxStrings == 0 {
		o.MaxStrings = 256 << 20
	}
	if o.MaxVisitors == 0 {
		o.MaxVisitors = 8 << 20
	}
	t := &Table{
		seed: maphash.MakeSeed(),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "halfmask_session_evicted_visits_total",
			Help: "Visits that were ended early because there were too many at one time.",
		}),
		forgotten: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "halfmask_session_forgotten_visitors_total",
			Help: "Visitors that were not remembered because there were too many in one day; they count as new on each visit.",
		}),
	}
	for i := range t.shards {
		s := &t.shards[i]
		s.table, s.pool.owner = t, uint32(i)
		s.limits = limits{
			visits:   max(1, min(o.MaxVisits/shards, maxBlocks/4)),
			texts:    max(1, min(o.MaxStrings/shards/blockBytes, maxBlocks/4)),
			visitors: max(1, min(o.MaxVisitors/shards, maxBlocks/4)),
		}
		s.init()
	}
	return t
}

func (t *Table) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	live := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "halfmask_session_live_visits",
		Help: "Visits going on.",
	}, func() float64 { return float64(t.Live(time.Now())) })
	if err := errors.Join(r.Register(t.evicted), r.Register(t.forgotten), r.Register(live)); err != nil {
		return fmt.Errorf("cannot register the sessions' metrics: %w", err)
	}
	return nil
}

// Killed tells that the table was taken over from a process that was killed.
// Then it lacks at most what was under way: Restore the events that were
// spooled last, before the first Apply.
func (t *Table) Killed() bool { return t.killed }

// Complete tells whether the table knows all visits that are going on. If not,
// Restore them from elsewhere.
func (t *Table) Complete() bool { return t.arena != nil && t.arena.header(completeAt).Load() == 1 }

// Completed says that what was going on is restored.
func (t *Table) Completed() {
	if t.arena != nil && !t.arena.lacking.Load() {
		t.arena.header(completeAt).Store(1)
	}
}

// Close writes the file to disk, where it outlives the machine's run too. After
// it Apply returns an error. A second Close does nothing.
func (t *Table) Close() error {
	for i := range t.shards {
		t.shards[i].mu.Lock()
		defer t.shards[i].mu.Unlock()
	}
	if t.shards[0].closed {
		return nil
	}
	for i := range t.shards {
		t.shards[i].closed = true
	}
	if t.arena == nil {
		return nil
	}
	return t.arena.close()
}

// Live counts the visits going on at an instant and lets go of those that are
// over.
func (t *Table) Live(now time.Time) int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		if !s.closed {
			s.expire(now.Unix(), 2*s.live)
			n += s.live
		}
		s.mu.Unlock()
	}
	return n
}

// Apply gives the event its Visit, Origin and Facts and has it kept. If e opens a
// visit, e.Origin is how that came about, unless keep is an Opener. day is the site's
// day at e.At; previous is the visitor's pseudonym of the day before, soon
// after midnight, or 0. The strings that Apply sets last until keep returns.
//
// The outcome is Accepted, or DroppedNoVisit for an engagement when no visit is
// going on. If keep returns an error, Apply returns it and nothing has changed;
// the outcome means nothing then.
func (t *Table) Apply(e *event.Event, previous event.VisitorID, day event.Day, keep Keeper) (event.Outcome, error) {
	if t.known.Load() != nil {
		t.known.Store(nil)
	}
	now := e.At.Unix()
	here := key{e.Site, e.Visitor}
	before := key{e.Site, previous}
	if previous == 0 {
		before = here
	}
	s, from := t.lock(here, before)
	defer unlock(s, from)
	if s.closed {
		return event.RefusedStopping, errClosed
	}
	s.begin(from)
	s.latest = max(s.latest, now)
	s.expire(now, 2)

	old := s.find(here, now)
	if old == none && before != here {
		old = from.find(before, now)
	} else {
		from = s
	}
	if old == none && e.Kind == event.Engagement {
		return event.DroppedNoVisit, nil
	}

	var b bounce
	known := false // counted among the day's visitors already
	if old == none {
		if opener, ok := keep.(Opener); ok {
			opener.Open(e)
		}
		b = begin(e)
	} else {
		known = from.pool.visit(old).day == day
		b = from.resume(old, e)
	}
	if !known && !s.knows(day, e.Visitor) {
		e.Facts.NewVisitor = 1
	}
	if err := keep.Keep(e); err != nil {
		return event.RefusedSpoolFull, err
	}

	if !known {
		s.remember(day, e.Visitor, now)
	}
	if old != none && from == s && s.pool.visit(old).visitor == here.visitor {
		s.update(old, now, day, b, pagePath(e))
		return event.Accepted, nil
	}
	f := course{id: e.Visit, day: day, last: now, bounce: b, origin: s.pack(&e.Origin), entry: e.Origin.EntryPath, page: pagePath(e)}
	if old != none && f.page == "" {
		f.page = from.string(from.pool.visit(old).page)
	}
	// In this order, so that a kill in between leaves it twice and not at all.
	keeps := none
	if from == s {
		keeps = old
	}
	s.insert(here, &f, now, keeps)
	if old != none {
		from.leave(old, before, f.id)
	}
	return event.Accepted, nil
}

// begin starts to use the memory for strings anew, in one shard or two.
func (s *shard) begin(other *shard) {
	s.scratch, other.scratch = s.scratch[:0], other.scratch[:0]
}

// leave removes a visit that goes on elsewhere, unless it had to go already.
func (s *shard) leave(i uint32, k key, id event.VisitID) {
	if s.locate(k) == i && s.pool.visit(i).id == id {
		s.remove(i)
	}
}

// newVisitID draws an id from a source that needs no lock and cannot be
// guessed.
func newVisitID() event.VisitID {
	for {
		if id := event.VisitID(rand.Uint64()); id != 0 {
			return id
		}
	}
}

func (t *Table) shard(k key) *shard { return &t.shards[k.visitor%shards] }

// lock locks the shards of two keys, always in the same order.
func (t *Table) lock(a, b key) (sa, sb *shard) {
	sa, sb = t.shard(a), t.shard(b)
	switch {
	case sa == sb:
		sa.mu.Lock()
	case a.visitor%shards < b.visitor%shards:
		sa.mu.Lock()
		sb.mu.Lock()
	default:
		sb.mu.Lock()
		sa.mu.Lock()
	}
	return sa, sb
}

func unlock(a, b *shard) {
	a.mu.Unlock()
	if a != b {
		b.mu.Unlock()
	}
}
