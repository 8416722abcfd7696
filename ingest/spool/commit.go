package spool

import (
	"runtime"
	"time"
)

// Durability is what an event survives once it was taken.
type Durability uint8

const (
	// Process: a killed process. A machine that loses power loses the events of
	// the last Options.SyncInterval.
	Process Durability = iota
	// Power: a machine that loses power, from the moment at which Wait returns.
	Power
)

// Position is where an appended event lies, for Wait. The zero Position needs
// no waiting.
type Position struct {
	w *writer
	n uint32 // records of its segment up to and including it
}

// position returns where the record that was just put lies. s.mu is held.
func (s *Spool) position(w *writer) Position {
	if s.opts.Durability == Process {
		return Position{}
	}
	return Position{w, w.count}
}

// Wait returns when the event at p survives what Options.Durability says: at
// once under Process, after a sync under Power. Those who wait at the same time
// share one; nobody should hold a lock here that an appender needs.
//
// It returns ErrUnsafe if the disk failed that sync. It allocates nothing.
func (s *Spool) Wait(p Position) error {
	if p.w == nil || p.w.synced.Load() >= p.n {
		return nil
	}
	s.waiters.RLock()
	for p.w.synced.Load() < p.n && !p.w.failed.Load() {
		s.safe.Wait()
	}
	s.waiters.RUnlock()
	if p.w.synced.Load() >= p.n {
		return nil
	}
	s.mu.Lock()
	s.counts.refused[refusedSync]++
	s.mu.Unlock()
	return ErrUnsafe
}

// committed wakes those whose events are among a segment's first n. Only the
// syncing goroutine calls it and syncFailed.
func (s *Spool) committed(w *writer, n uint32) {
	if s.opts.Durability == Process {
		w.synced.Store(n)
		return
	}
	// Whoever has looked before this and found nothing is asleep by now.
	s.waiters.Lock()
	w.synced.Store(n)
	s.waiters.Unlock()
	s.safe.Broadcast()
}

// syncFailed gives a segment up: after a failed sync the kernel may have
// dropped the pages and calls them clean, so asking again would be answered
// with success. The segment is still read, but takes no more.
func (s *Spool) syncFailed(w *writer, err error) {
	s.log.Error("cannot sync a spool segment; it takes no more events", "segment", w.seq, "error", err)
	s.waiters.Lock()
	w.failed.Store(true)
	s.waiters.Unlock()
	s.safe.Broadcast()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.syncErrors++
	s.abandon(w)
}

// syncLoop writes what was appended to disk: at most SyncInterval later, or,
// while somebody waits for it, one sync after the other. It sleeps while
// nothing is appended.
func (s *Spool) syncLoop() {
	for {
		select {
		case <-s.stop:
			return
		case <-s.dirty:
		}
		if s.opts.Durability == Power {
			// Whoever is about to append, on a machine that is busy, comes along
			// with this sync instead of waiting for this one and the next.
			runtime.Gosched()
		} else {
			select {
			case <-s.stop:
				return
			case <-time.After(s.opts.SyncInterval):
			}
		}
		s.syncAll()
	}
}

// syncAll syncs what was appended until now. Only one goroutine at a time may
// call it.
func (s *Spool) syncAll() {
	s.mu.Lock()
	sealing := s.sealing
	s.sealing = nil
	s.unsynced = false
	w := s.active
	var count uint32
	var end int
	if w != nil {
		count, end = w.count, w.end
	}
	s.mu.Unlock()

	for _, w := range sealing {
		s.finish(w)
	}
	if w == nil || count == w.synced.Load() {
		return
	}
	if err := w.file.Sync(); err != nil {
		s.syncFailed(w, err)
		return
	}
	s.committed(w, count)
	// The sync made the kernel watch for writes to these pages again. As much as
	// came since the last sync will come until the next.
	grown := end - w.syncedEnd
	w.syncedEnd = end
	w.populate(end, grown)
}

// finish syncs a sealed segment and gives back the blocks it did not use.
func (s *Spool) finish(w *writer) {
	if w.faulted {
		s.log.Error("a spool segment's memory failed under a write; it takes no more events", "segment", w.seq)
	}
	if w.count == 0 {
		s.discard(w)
		s.mu.Lock()
		s.bytes -= s.opts.SegmentBytes
		s.mu.Unlock()
		notify(s.kick)
		return
	}
	if !w.failed.Load() {
		if err := w.file.Sync(); err != nil {
			s.syncFailed(w, err)
		} else {
			s.committed(w, w.count)
		}
	}
	size, err := w.close()
	if err != nil {
		s.log.Warn("cannot shorten a sealed spool segment", "segment", w.seq, "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.seq == w.seq { // not settled meanwhile
			s.bytes -= e.bytes - size
			e.bytes = size
			notify(s.kick)
		}
	}
}
