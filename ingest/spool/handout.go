package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// readTries is how often a segment that cannot be read is tried again before
// what can be is all there is: settling it deletes the rest.
const readTries = 5

// Seal ends the active segment now, so that Next hands it out. An empty one
// goes on.
func (s *Spool) Seal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.seal()
	}
}

// sealDue seals the active segment once its first record is SealAfter old, if
// a reader waits: while none does, segments grow.
func (s *Spool) sealDue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.waiting > 0 {
		s.sealIfDue()
	}
}

// sealIfDue seals the active segment if it is due, or sees to being called
// again when it is. s.mu is held.
func (s *Spool) sealIfDue() bool {
	if s.active == nil || s.active.count == 0 {
		return false
	}
	if left := s.opts.SealAfter - time.Since(s.active.first); left > 0 {
		s.sealTimer.Reset(left)
		return false
	}
	s.seal()
	return true
}

// Next waits for the oldest sealed segment that was not handed out since Open
// and hands it out. One that is there already is returned even if ctx has
// ended, so that a caller can ask without waiting. While somebody waits here,
// the active segment is sealed as soon as its first record is SealAfter old.
//
// Next returns ctx's error, ErrClosed, or why the segment cannot be read; then
// a later call tries that segment again. What still cannot be read after several
// is lost and counted.
func (s *Spool) Next(ctx context.Context) (*Segment, error) {
	for {
		e, err := s.nextEntry(ctx)
		if err != nil {
			return nil, err
		}
		g, lost, err := s.load(e)
		if err == nil && g.bad != nil && e.unread < readTries {
			e.unread++
			err = g.bad
		}
		if errors.Is(err, fs.ErrNotExist) {
			lost = damage{int64(e.count), e.end - headerSize}
		}
		s.mu.Lock()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			s.remove(e)
		case err != nil:
			e.out, lost = false, damage{}
		}
		s.counts.damagedRecords += lost.records
		s.counts.damagedBytes += lost.bytes
		s.mu.Unlock()
		if lost.bytes > 0 {
			s.log.Error("a spool segment is damaged or gone; what is left of it is used",
				"segment", e.seq, "lost_events", lost.records, "lost_bytes", lost.bytes)
		}
		switch {
		case err == nil:
			return g, nil
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("cannot read spool segment: %w", err)
		}
	}
}

func (s *Spool) nextEntry(ctx context.Context) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting++
	defer func() { s.waiting-- }()
	for {
		if s.closed {
			return nil, ErrClosed
		}
		for _, e := range s.entries {
			if !e.out && !e.leaving {
				e.out = true
				return e, nil
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if s.sealIfDue() {
			continue
		}
		changed := s.listen()
		s.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-changed:
		}
		s.mu.Lock()
	}
}

// Settle deletes a segment for good: what it held is stored elsewhere.
//
// The deletion is not synced. If a power failure undoes it, the segment is
// found at the next Open, and whoever ships found segments must ask first what
// of them is stored.
func (s *Spool) Settle(seq uint64) error {
	return s.release("settle", seq, s.disk.Remove)
}

// release takes a sealed segment out of the spool; away does so on disk. It
// does that without the mutex, so that no Append waits for it.
func (s *Spool) release(verb string, seq uint64, away func(path string) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	e := s.entry(seq)
	if e == nil {
		return fmt.Errorf("cannot %s spool segment %d: it is not in the spool", verb, seq)
	}
	e.leaving = true
	s.loops.Add(1) // Close waits
	s.mu.Unlock()
	err := away(s.path(seq))
	s.loops.Done()
	s.mu.Lock()
	e.leaving = false
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot %s spool segment: %w", verb, err)
	}
	s.remove(e)
	return nil
}

// entry finds a sealed segment that nobody is taking out. s.mu is held.
func (s *Spool) entry(seq uint64) *entry {
	for _, e := range s.entries {
		if e.seq == seq && !e.leaving {
			return e
		}
	}
	return nil
}

// remove forgets a segment whose file is gone. s.mu is held.
func (s *Spool) remove(e *entry) {
	s.entries = slices.DeleteFunc(s.entries, func(other *entry) bool { return other == e })
	s.bytes -= e.bytes
	notify(s.kick)
	s.broadcast()
}
