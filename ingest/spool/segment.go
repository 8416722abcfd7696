package spool

import (
	"errors"
	"io"
	"io/fs"
	"iter"
	"slices"
)

// Segment is a sealed part of the spool, read into memory. Its bytes stay valid
// as long as somebody refers to them, whatever happens to the spool or the
// file, and nobody needs to release them.
type Segment struct {
	Seq   uint64 // unique within the spool, ascending in time
	Count int    // intact records
	Bytes int64  // length of what was read
	// Found says that the segment was there when the spool was opened: an
	// earlier process may have shipped some or all of it.
	Found bool

	frames []byte
	salt   uint32
	bad    error // why not all of it could be read
}

// Records walks the payloads of the intact records, in the order in which they
// were appended. They must not be written to.
func (g *Segment) Records() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		c := scanner{frames: g.frames, salt: g.salt}
		for {
			payload, ok := c.next()
			if !ok || !yield(payload) {
				return
			}
		}
	}
}

// Backlog walks the segments that are sealed and not settled, oldest first,
// without handing them out. It is meant for the start, to learn what an earlier
// process had taken.
func (s *Spool) Backlog() iter.Seq2[*Segment, error] {
	return func(yield func(*Segment, error) bool) {
		s.mu.Lock()
		entries := slices.Clone(s.entries)
		s.mu.Unlock()
		for _, e := range entries {
			g, _, err := s.load(e)
			if errors.Is(err, fs.ErrNotExist) {
				continue // settled meanwhile
			}
			if !yield(g, err) {
				return
			}
		}
	}
}

// load reads a sealed segment. It reads into ordinary memory and not through a
// mapping, so that a disk error is an error and not a signal, and an insert
// that was given up can go on reading as long as it likes.
func (s *Spool) load(e *entry) (*Segment, damage, error) {
	file, err := s.disk.Open(s.path(e.seq))
	if err != nil {
		return nil, damage{}, err
	}
	defer file.Close()
	g := &Segment{
		Seq: e.seq, Found: e.found, salt: salt(s.identity.id, e.seq),
		frames: make([]byte, e.end-headerSize), Bytes: e.end,
	}
	if g.bad = readDamaged(file, g.frames); g.bad != nil {
		s.log.Error("cannot read all of a spool segment", "segment", e.seq, "error", g.bad)
	}
	c := scanner{frames: g.frames, salt: g.salt}
	for {
		if _, ok := c.next(); !ok {
			break
		}
		g.Count++
	}
	return g, c.end(e.count), nil
}

// readDamaged fills frames from file. What cannot be read, a bad sector or a
// missing end, is left zero; the scanner then counts what was there as lost. It
// returns the first error of the disk.
func readDamaged(file io.ReaderAt, frames []byte) error {
	n, failed := file.ReadAt(frames, headerSize)
	if failed == nil || errors.Is(failed, io.EOF) {
		return nil
	}
	const sector = 512
	for at := n &^ (sector - 1); at < len(frames); at += sector {
		part := frames[at:min(at+sector, len(frames))]
		if _, err := file.ReadAt(part, int64(headerSize+at)); err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			clear(part)
		}
	}
	return failed
}
