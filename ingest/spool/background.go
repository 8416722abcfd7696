package spool

import (
	"errors"
	"time"
)

// diskRetry is how long prepareLoop waits after the disk refused a segment.
const diskRetry = time.Second

// prepareLoop keeps an empty segment ready, so that Append need not wait for
// the disk.
func (s *Spool) prepareLoop() {
	for {
		var again <-chan time.Time
		if s.prepare() == diskFull {
			// Nobody tells us when a disk has room again.
			again = time.After(diskRetry)
		}
		select {
		case <-s.stop:
			return
		case <-s.kick:
		case <-again:
		}
	}
}

// prepare makes segments until an active and a next one are there, or tells
// why it cannot.
func (s *Spool) prepare() reason {
	for {
		made, why, err := s.prepareOne()
		s.report(why, err)
		if !made {
			return why
		}
	}
}

// prepareOne makes one segment if one is wanted.
func (s *Spool) prepareOne() (made bool, why reason, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.next != nil {
		return false, free, nil
	}
	if s.bytes+s.opts.SegmentBytes > s.opts.MaxBytes {
		s.block(atCap)
		return false, atCap, nil
	}
	seq := s.nextSeq
	s.nextSeq++
	s.bytes += s.opts.SegmentBytes
	s.mu.Unlock()
	w, err := s.create(seq)
	s.mu.Lock()
	if err != nil {
		s.bytes -= s.opts.SegmentBytes
		s.block(diskFull)
		return false, diskFull, err
	}
	if s.active == nil {
		s.active = w
	} else {
		s.next = w
	}
	s.blocked = free
	s.broadcast()
	return true, free, nil
}

func (s *Spool) create(seq uint64) (*writer, error) {
	if err := s.identity.reserve(s.disk, s.opts.Dir, seq); err != nil {
		return nil, err
	}
	h := header{id: s.identity.id, seq: seq, created: s.now(), size: s.opts.SegmentBytes}
	return create(s.disk, s.opts.Dir, s.path(seq), h, s.opts.Durability == Power)
}

// block notes why there is no next segment. s.mu is held.
func (s *Spool) block(why reason) {
	s.blocked = why
	s.broadcast()
}

// report says once why there is no next segment, and once that there is. Only
// prepare calls it.
func (s *Spool) report(why reason, err error) {
	if s.reported == why {
		return
	}
	s.reported = why
	switch why {
	case atCap:
		s.log.Warn("the spool folder is at its cap: once the segment in use is full, events are refused until storage has caught up",
			"max_bytes", s.opts.MaxBytes)
	case diskFull:
		s.log.Error("cannot make a spool segment: once the one in use is full, events are refused; free some disk space", "error", err)
	default:
		s.log.Info("the spool has room again")
	}
}

// discard deletes a segment that holds nothing.
func (s *Spool) discard(w *writer) {
	_, err := w.close()
	if err = errors.Join(err, s.disk.Remove(s.path(w.seq))); err != nil {
		s.log.Warn("cannot delete an empty spool segment", "segment", w.seq, "error", err)
	}
}
