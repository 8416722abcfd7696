package session

import (
	"math/bits"

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

// add returns whether v is in the set now; it is not if that would make more
// than limit.
func (s *visitors) add(v event.VisitorID, limit int) bool {
	if s.has(v) {
		return true
	}
	if s.count >= limit {
		return false
	}
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
	return true
}

// slot is where v is or would be.
func (s *visitors) slot(v event.VisitorID) int {
	i := int(uint64(v) >> (64 - bits.TrailingZeros(uint(len(s.slots)))))
	for s.slots[i] != 0 && s.slots[i] != v {
		i = (i + 1) & (len(s.slots) - 1)
	}
	return i
}
