package session

import (
	"math/bits"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/halfmask/halfmask/event"
)

// visitors is a set of pseudonyms: open addressing with linear probing, 8
// bytes a slot, between three eighths and three quarters full. A map takes
// twice that. Pseudonyms are hashes already, so they need no other; their low
// bits chose the shard, so the high ones choose the slot.
type visitors struct {
	slots []event.VisitorID // 0 is an empty slot; a power of two of them
	count int
}

func (s *visitors) has(v event.VisitorID) bool {
	if len(s.slots) == 0 {
		return false
	}
	return s.slots[s.slot(v)] == v
}

// add adds v, which is not in the set.
func (s *visitors) add(v event.VisitorID) {
	if s.count >= len(s.slots)/4*3 {
		old := s.slots
		s.slots = make([]event.VisitorID, max(8, 2*len(old)))
		for _, v := range old {
			if v != 0 {
				s.slots[s.slot(v)] = v
			}
		}
	}
	s.slots[s.slot(v)] = v
	s.count++
}

// slot is where v is or would be.
func (s *visitors) slot(v event.VisitorID) int {
	i := int(uint64(v) >> (64 - bits.TrailingZeros(uint(len(s.slots)))))
	for s.slots[i] != 0 && s.slots[i] != v {
		i = (i + 1) & (len(s.slots) - 1)
	}
	return i
}

// dayVisitors are the pseudonyms of one day: a set to ask, and lists of them
// that outlive the process.
type dayVisitors struct {
	day      event.Day
	visitors visitors
	lists    uint32 // the list that may have room, threaded on the full ones; none
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
	d := s.today(day)
	if d == nil {
		s.forget(now)
		d = s.newDay(day)
	}
	switch {
	case d.visitors.has(v):
	case d.visitors.count >= s.limits.visitors:
		s.table.forgotten.Inc()
	default:
		d.visitors.add(v)
		s.note(d, v)
	}
}

func (s *shard) today(day event.Day) *dayVisitors {
	for i := range s.days {
		if s.days[i].day == day {
			return &s.days[i]
		}
	}
	return nil
}

func (s *shard) newDay(day event.Day) *dayVisitors {
	s.days = append(s.days, dayVisitors{day: day, lists: none})
	s.forgetAt = min(s.forgetAt, over(day))
	return &s.days[len(s.days)-1]
}

// note writes a visitor down.
func (s *shard) note(d *dayVisitors, v event.VisitorID) {
	if d.lists != none {
		l := s.pool.list(d.lists)
		for i := range l.visitors {
			if l.visitors[i] == 0 {
				atomic.StoreUint64((*uint64)(unsafe.Pointer(&l.visitors[i])), uint64(v))
				return
			}
		}
	}
	i := s.pool.take()
	l := s.pool.list(i)
	*l = list{day: d.day, next: d.lists, visitors: [6]event.VisitorID{v}}
	atomic.StoreUint32(&l.state, listing)
	d.lists = i
}

// forget drops the days that are over everywhere, or that a clock which was
// wrong once made up.
func (s *shard) forget(now int64) {
	s.days = slices.DeleteFunc(s.days, func(d dayVisitors) bool {
		if now < over(d.day) && over(d.day)-now <= 4*86400 {
			return false
		}
		for i := d.lists; i != none; {
			next := s.pool.list(i).next
			s.pool.give(i)
			i = next
		}
		return true
	})
	s.forgetAt = over(event.Day(1 << 30))
	for _, d := range s.days {
		s.forgetAt = min(s.forgetAt, over(d.day))
	}
}

// over is the Unix second when a day is over in the last time zone, 12 hours
// behind UTC.
func over(day event.Day) int64 { return (int64(day)+1)*86400 + 12*3600 }
