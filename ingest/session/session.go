// Package session knows which visits are going on. It gives every event its
// visit and writes onto it, once and for all, what the event adds to the sums:
// the facts of event.Facts.
//
// It promises that state and facts agree: nothing changes unless the event was
// kept, and the events of one visitor are kept in the order in which they were
// decided. Memory is bounded; there is no clock, no timer and no goroutine:
// visits that are over leave as later events come in.
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
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
	"unique"

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

// Options bound a Table. A zero field takes its default.
type Options struct {
	// MaxVisits bounds the visits going on at one time; beyond it the one that
	// was silent longest is ended early. Default 1,048,576; each takes 118 bytes
	// (measured) beside the strings that it shares with others.
	MaxVisits int
	// MaxStrings bounds the bytes of the paths, referrers and campaigns that
	// visits going on hold, as if no two shared one. Default 256 MiB.
	MaxStrings int
	// MaxVisitors bounds the visitors remembered for one day; one beyond it
	// counts as new on each visit. Default 8,388,608; each takes up to 21 bytes.
	MaxVisitors int

	Registerer prometheus.Registerer // nil: no metrics
}

// shards is how many locks share the visits.
const shards = 128

// Table holds the visits going on and the visitors of the day. It is safe for
// concurrent use.
type Table struct {
	shards [shards]shard

	// known finds restored visits by their id; it goes with the first Apply.
	known atomic.Pointer[index]

	evicted   prometheus.Counter
	forgotten prometheus.Counter
}

// index is where restored visits are, so that those that were given another
// pseudonym at midnight are found.
type index struct {
	mu   sync.Mutex
	keys map[event.VisitID]key
}

// New returns an empty table.
func New(o Options) (*Table, error) {
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
		s.table = t
		s.limits = limits{
			visits:   uint32(max(1, min(o.MaxVisits/shards, 1<<31))),
			strings:  max(1, o.MaxStrings/shards),
			visitors: max(1, o.MaxVisitors/shards),
		}
		s.init()
	}
	if o.Registerer == nil {
		return t, nil
	}
	live := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "halfmask_session_live_visits",
		Help: "Visits going on.",
	}, func() float64 { return float64(t.Live(time.Now())) })
	if err := errors.Join(o.Registerer.Register(t.evicted), o.Registerer.Register(t.forgotten), o.Registerer.Register(live)); err != nil {
		return nil, fmt.Errorf("cannot register the sessions' metrics: %w", err)
	}
	return t, nil
}

// Live counts the visits going on at an instant and lets go of those that are
// over.
func (t *Table) Live(now time.Time) int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		s.expire(now.Unix(), s.live)
		n += s.live
		s.mu.Unlock()
	}
	return n
}

// Apply gives the event its Visit, Origin and Facts and has it kept. Until then
// e.Origin is how the visit came about if e should open one. day is the site's
// day at e.At; previous is the visitor's pseudonym of the day before, soon
// after midnight, or 0.
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

	var next visit
	known := false // counted among the day's visitors already
	if old == none {
		next = begin(e)
	} else {
		next = from.visits[old]
		known = next.day == day
		next.resume(e)
	}
	next.key, next.day, next.last = here, day, now
	if !known && !s.knows(day, e.Visitor) {
		e.Facts.NewVisitor = 1
	}
	if err := keep.Keep(e); err != nil {
		return event.RefusedSpoolFull, err
	}

	if !known {
		s.remember(day, e.Visitor, now)
	}
	if old != none && from == s && from.visits[old].key == here {
		s.update(old, next)
		return event.Accepted, nil
	}
	if old != none {
		from.remove(old)
	}
	s.insert(next)
	return event.Accepted, nil
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

// origins and paths are shared between all visits that have the same, and die
// with the last of them.
type (
	origin = unique.Handle[event.Origin]
	path   = unique.Handle[string]
)
