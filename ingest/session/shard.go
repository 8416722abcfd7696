package session

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/halfmask/halfmask/event"
)

const timeout = int64(Timeout / time.Second)

// limits bound one shard.
type limits struct {
	visits   int
	texts    int // blocks
	visitors int
}

// key finds a visit. A pseudonym is made from the site's id too, so the site
// here only guards against a collision.
type key struct {
	site    event.SiteID
	visitor event.VisitorID
}

// hash spreads pseudonyms, which are hashes already where they are real.
func (k key) hash() uint64 { return uint64(k.visitor) * 0x9e3779b97f4a7c15 }

// shard holds the visits and the visitors of the pseudonyms that fall to it.
type shard struct {
	mu     sync.Mutex
	limits limits
	table  *Table // for its counters and its seed
	closed bool

	pool       pool
	byKey      index
	byText     index
	wheel      [buckets]bucket
	swept      int64 // the minute of the bucket to be looked at next
	latest     int64 // Unix seconds of the latest event: those that are restored are older
	live       int
	textBlocks int

	scratch []byte // strings that are in several blocks
	packed  []byte

	days     []dayVisitors // few: the days that it is now somewhere
	forgetAt int64         // Unix seconds when the first of them is over everywhere

	_ [64]byte // keeps the next shard's lock off this one's cache line
}

// init empties the shard. It leaves the lock alone.
func (s *shard) init() {
	s.pool = pool{arena: s.pool.arena, owner: s.pool.owner, free: none}
	s.byKey, s.byText = index{}, index{}
	for i := range s.wheel {
		s.wheel[i] = bucket{none, none}
	}
	s.swept, s.latest, s.live, s.textBlocks = 0, 0, 0, 0
	s.days, s.forgetAt = nil, math.MaxInt64
}

// alive tells whether a visit goes on at now. One whose last event lies as far
// ahead stems from a clock that was wrong.
func alive(last, now int64) bool { return now-last < timeout && last-now < timeout }

// find returns the visit of k that goes on at now, or none.
func (s *shard) find(k key, now int64) uint32 {
	i := s.locate(k)
	if i != none && !alive(s.pool.visit(i).last, now) {
		s.remove(i)
		return none
	}
	return i
}

// locate returns the visit of k, even one that is over, or none.
func (s *shard) locate(k key) uint32 {
	h := k.hash()
	for i, at := s.byKey.probe(h, s.byKey.home(h)); i != none; i, at = s.byKey.probe(h, at) {
		if v := s.pool.visit(i); v.visitor == k.visitor && v.site == k.site {
			return i
		}
	}
	return none
}

// course is what is to be written down of a visit.
type course struct {
	id     event.VisitID
	day    event.Day
	last   int64
	bounce bounce
	origin string // packed
	entry  string
	page   string
}

// insert adds a visit, to be looked at when one with an event at checked is,
// and ends others early where there are too many, but not the one that keeps,
// whose strings may be the new one's.
func (s *shard) insert(k key, f *course, checked int64, keeps uint32) uint32 {
	for s.live >= s.limits.visits && s.evict(keeps) {
	}
	i := s.pool.take()
	v := s.pool.visit(i)
	*v = visit{
		state: writing, bounce: f.bounce, day: f.day, site: k.site, visitor: k.visitor, id: f.id, last: f.last,
		origin: s.intern(f.origin), entry: s.intern(f.entry), page: s.intern(f.page),
	}
	atomic.StoreUint32(&v.state, living)
	s.byKey.add(k.hash(), i)
	s.enqueue(i, bucketOf(checked))
	s.live++
	s.shed(i)
	return i
}

// update writes down what an event changed. With path it was a pageview.
func (s *shard) update(i uint32, now int64, day event.Day, b bounce, path string) {
	v := s.pool.visit(i)
	page, old := v.page, none
	if path != "" && (page == none || !s.textIs(page, path)) {
		page, old = s.intern(path), page
	}
	atomic.StoreUint32(&v.state, writing)
	v.last, v.day, v.bounce, v.page = now, day, b, page
	atomic.StoreUint32(&v.state, living)
	if old != none {
		s.release(old)
	}
	s.shed(i)
}

// shed ends visits early while the strings take too much, but not i.
func (s *shard) shed(i uint32) {
	for s.textBlocks > s.limits.texts && s.evict(i) {
	}
}

// evict ends the eldest visit early, but not i.
func (s *shard) evict(i uint32) bool {
	eldest := s.eldest(i)
	if eldest == none {
		return false
	}
	s.remove(eldest)
	s.table.evicted.Inc()
	return true
}

func (s *shard) remove(i uint32) {
	v := s.pool.visit(i)
	s.byKey.drop(key{v.site, v.visitor}.hash(), i)
	s.dequeue(i)
	origin, entry, page := v.origin, v.entry, v.page
	s.pool.give(i)
	s.live--
	s.release(origin)
	s.release(entry)
	s.release(page)
}
