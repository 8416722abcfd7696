package spool

import (
	"errors"
	"iter"
	"os"
	"slices"
)

// Sealed counts the records of each sealed segment that was not settled or
// quarantined, by sequence number; those that are damaged count too.
func (s *Spool) Sealed() map[uint64]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := make(map[uint64]int, len(s.entries))
	for _, e := range s.entries {
		counts[e.seq] = e.count
	}
	return counts
}

// Latest walks the n segments sealed last, oldest of them first, without
// handing them out. It is Backlog for those who know the rest.
func (s *Spool) Latest(n int) iter.Seq2[*Segment, error] {
	return func(yield func(*Segment, error) bool) {
		s.mu.Lock()
		entries := slices.Clone(s.entries[max(0, len(s.entries)-n):])
		s.mu.Unlock()
		for _, e := range entries {
			g, _, err := s.load(e)
			if errors.Is(err, os.ErrNotExist) {
				continue // settled meanwhile
			}
			if !yield(g, err) {
				return
			}
		}
	}
}
