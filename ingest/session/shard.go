package session

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/halfmask/halfmask/event"
)

const (
	none    = ^uint32(0)
	timeout = int64(Timeout / time.Second)
)

// limits bound one shard.
type limits struct {
	visits   uint32
	strings  int
	visitors int
}

// shard holds the visits and the visitors of the pseudonyms that fall to it.
// Its visits lie in one slice, threaded on a list from the one that was silent
// longest to the latest, so that ending them never searches.
type shard struct {
	mu     sync.Mutex
	limits limits
	table  *Table // for its counters

	byKey  map[key]uint32
	visits []visit
	free   uint32 // first unused visit, threaded on newer; none
	oldest uint32
	newest uint32
	live   int
	bytes  int // of strings

	days     []dayVisitors // few: the days that it is now somewhere
	forgetAt int64         // Unix seconds when the first of them is over everywhere

	_ [64]byte // keeps the next shard's lock off this one's cache line
}

// init empties the shard. It leaves the lock alone.
func (s *shard) init() {
	s.byKey = make(map[key]uint32)
	s.visits, s.free, s.oldest, s.newest = nil, none, none, none
	s.live, s.bytes = 0, 0
	s.days, s.forgetAt = nil, math.MaxInt64
}

// alive tells whether a visit goes on at now. One whose last event lies as far
// ahead stems from a clock that was wrong.
func alive(last, now int64) bool { return now-last < timeout && last-now < timeout }

// find returns the visit of k that goes on at now, or none.
func (s *shard) find(k key, now int64) uint32 {
	i, ok := s.byKey[k]
	if !ok {
		return none
	}
	if !alive(s.visits[i].last, now) {
		s.remove(i)
		return none
	}
	return i
}

// expire ends up to limit visits that are over. Two for each event that comes
// in keep pace with the visits that begin.
func (s *shard) expire(now int64, limit int) {
	for ; limit > 0 && s.oldest != none && !alive(s.visits[s.oldest].last, now); limit-- {
		s.remove(s.oldest)
	}
}

// insert adds a visit as the latest, and ends others early where there are too
// many.
func (s *shard) insert(v visit) {
	i := s.free
	switch {
	case i != none:
		s.free = s.visits[i].newer
		s.visits[i] = v
	case uint32(len(s.visits)) < s.limits.visits:
		i = uint32(len(s.visits))
		s.visits = append(s.visits, v)
	default:
		s.remove(s.oldest)
		s.table.evicted.Inc()
		s.insert(v)
		return
	}
	s.byKey[v.key] = i
	s.live++
	s.bytes += v.strings()
	s.link(i)
	s.shed()
}

// update replaces a visit by what has become of it.
func (s *shard) update(i uint32, v visit) {
	old := &s.visits[i]
	if v.page != old.page || v.origin != old.origin {
		s.bytes += v.strings() - old.strings()
	}
	s.unlink(i)
	*old = v
	s.link(i)
	s.shed()
}

// shed ends visits early while their strings take too much, but never the
// latest.
func (s *shard) shed() {
	for s.bytes > s.limits.strings && s.oldest != s.newest {
		s.remove(s.oldest)
		s.table.evicted.Inc()
	}
}

func (s *shard) remove(i uint32) {
	v := &s.visits[i]
	delete(s.byKey, v.key)
	s.bytes -= v.strings()
	s.live--
	s.unlink(i)
	*v = visit{newer: s.free} // lets go of the strings
	s.free = i
}

func (s *shard) link(i uint32) {
	v := &s.visits[i]
	v.older, v.newer = s.newest, none
	if s.newest == none {
		s.oldest = i
	} else {
		s.visits[s.newest].newer = i
	}
	s.newest = i
}

func (s *shard) unlink(i uint32) {
	v := &s.visits[i]
	if v.older == none {
		s.oldest = v.newer
	} else {
		s.visits[v.older].newer = v.newer
	}
	if v.newer == none {
		s.newest = v.older
	} else {
		s.visits[v.newer].older = v.older
	}
}

// dayVisitors are the pseudonyms of one day.
type dayVisitors struct {
	day      event.Day
	visitors visitors
}

func (s *shard) knows(day event.Day, v event.VisitorID) bool {
	for i := range s.days {
		if s.days[i].day == day {
			return s.days[i].visitors.has(v)
		}
	}
	return false
}

// remember adds a visitor to a day.
func (s *shard) remember(day event.Day, v event.VisitorID, now int64) {
	if now >= s.forgetAt {
		s.forget(now)
	}
	i := slices.IndexFunc(s.days, func(d dayVisitors) bool { return d.day == day })
	if i < 0 {
		s.forget(now)
		i = len(s.days)
		s.days = append(s.days, dayVisitors{day: day})
		s.forgetAt = min(s.forgetAt, over(day))
	}
	if !s.days[i].visitors.add(v, s.limits.visitors) {
		s.table.forgotten.Inc()
	}
}

// forget drops the days that are over everywhere, or that a clock which was
// wrong once made up.
func (s *shard) forget(now int64) {
	s.days = slices.DeleteFunc(s.days, func(d dayVisitors) bool {
		return now >= over(d.day) || over(d.day)-now > 4*86400
	})
	s.forgetAt = math.MaxInt64
	for _, d := range s.days {
		s.forgetAt = min(s.forgetAt, over(d.day))
	}
}

// over is the Unix second when a day is over in the last time zone, 12 hours
// behind UTC.
func over(day event.Day) int64 { return (int64(day)+1)*86400 + 12*3600 }
