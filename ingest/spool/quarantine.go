package spool

import (
	"errors"
	"path/filepath"
	"time"
)

const quarantineName = "quarantine"

// Quarantine takes a segment out of the spool without deleting it: its file
// moves to the folder quarantine/ beside the others, where nothing reads it,
// and is deleted QuarantineAge after it was written. Moved back by hand, it is
// found at the next Open.
func (s *Spool) Quarantine(seq uint64) error {
	err := s.release("quarantine", seq, s.putAside)
	if err == nil {
		s.sweepQuarantine()
	}
	return err
}

func (s *Spool) putAside(path string) error {
	dir := filepath.Join(s.opts.Dir, quarantineName)
	if err := s.disk.MakeFolder(dir); err != nil {
		return err
	}
	if err := s.disk.Rename(path, filepath.Join(dir, filepath.Base(path))); err != nil {
		return err
	}
	return errors.Join(s.disk.SyncFolder(dir), s.disk.SyncFolder(s.opts.Dir))
}

// sweepQuarantine deletes what is too old and comes back when the next file
// is. An empty quarantine needs no timer.
func (s *Spool) sweepQuarantine() {
	dir := filepath.Join(s.opts.Dir, quarantineName)
	files, err := s.disk.List(dir)
	if err != nil {
		return // there is none
	}
	var next time.Duration
	for _, f := range files {
		if _, ok := parseName(f.name); !ok {
			continue
		}
		left := s.opts.QuarantineAge - time.Since(f.modified)
		if left <= 0 {
			if err := s.disk.Remove(filepath.Join(dir, f.name)); err == nil {
				s.log.Warn("a quarantined spool segment was too old and is deleted", "file", f.name)
				continue
			}
			left = time.Hour // cannot be deleted now
		}
		if next == 0 || left < next {
			next = left
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if next > 0 && !s.closed {
		s.sweepTimer.Reset(next)
	}
}
