package spool

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

const suffix = ".seg"

// path returns where segment seq lives. Its name alone says its number, so that
// a damaged header loses nothing.
func (s *Spool) path(seq uint64) string { return segmentPath(s.opts.Dir, seq) }

func segmentPath(dir string, seq uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x", seq)+suffix)
}

func parseName(name string) (seq uint64, ok bool) {
	if len(name) != 16+len(suffix) || name[16:] != suffix {
		return 0, false
	}
	seq, err := strconv.ParseUint(name[:16], 16, 64)
	return seq, err == nil
}

// leftover is a segment file that was there at Open.
type leftover struct {
	seq      uint64
	size     int64
	modified time.Time
	page     []byte // the header page, zero where it cannot be read
	header   header
	version  uint32
	intact   bool // the header is
}

// recover takes stock of the folder: it finds out who the spool is, seals what
// a killed process left open and deletes what is empty.
func (s *Spool) recover() error {
	left, last, err := readFolder(s.disk, s.opts.Dir)
	if err != nil {
		return err
	}
	if err := s.identify(left); err != nil {
		return err
	}
	for _, l := range left {
		s.adopt(l)
	}
	// Settled segments leave no trace, so a number is never reused only if
	// more than the listing is asked: the reserved bound, and the clock in case
	// the whole folder was put back from a copy.
	s.nextSeq = max(last+1, s.identity.reserved, uint64(max(s.now().UnixMilli(), 0)))
	return nil
}

// readFolder lists the segments by sequence.
func readFolder(d disk, dir string) (left []leftover, last uint64, err error) {
	files, err := d.List(dir)
	if err != nil {
		return nil, 0, err
	}
	for _, i := range files {
		seq, ok := parseName(i.name)
		if !ok {
			continue
		}
		last = max(last, seq)
		if !i.regular {
			continue
		}
		l := leftover{seq: seq, size: i.size, modified: i.modified, page: make([]byte, headerSize)}
		if f, err := d.Open(filepath.Join(dir, i.name)); err == nil {
			_, _ = f.ReadAt(l.page, 0) // a short or unreadable page is a damaged header
			_ = f.Close()
		}
		l.header, l.version, l.intact = parseHeader(l.page)
		left = append(left, l)
	}
	slices.SortFunc(left, func(a, b leftover) int { return cmp.Compare(a.seq, b.seq) })
	return left, last, nil
}

// identify reads the identity file. If it is lost, any segment knows the
// spool's number; if there is none either, the spool is a new one.
func (s *Spool) identify(left []leftover) (err error) {
	for range readTries {
		s.identity, err = readIdentity(s.disk, s.opts.Dir)
		if err == nil {
			return nil
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errIdentity) {
			break // asking again helps only if the disk failed
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		s.log.Error("cannot read the spool's identity; it is made anew", "error", err)
	}
	if s.identity, err = newIdentity(s.random); err != nil {
		return err
	}
	for _, l := range left {
		if l.intact {
			s.identity.id = l.header.id
			break
		}
	}
	return s.identity.write(s.disk, s.opts.Dir)
}

// adopt makes a leftover an entry. Nothing that is wrong with it is an error:
// one bad file must not keep the program from starting.
func (s *Spool) adopt(l leftover) {
	log := s.log.With("segment", l.seq)
	if l.intact && (l.version != formatVer || l.header.id != s.identity.id || l.header.seq != l.seq) {
		log.Error("a segment in the spool folder belongs to another spool or version; it is left alone. " +
			"Move it to the folder it came from, or delete it")
		return
	}
	if !l.intact {
		log.Error("a spool segment's header is damaged; its records are still used")
	}
	e := &entry{seq: l.seq, found: true, first: l.header.created, bytes: l.size}
	if !l.intact {
		e.first = l.modified
	}
	f, err := s.disk.Edit(s.path(l.seq))
	if err != nil {
		log.Error("cannot open a spool segment that was found; it is tried again", "error", err)
		e.end = max(l.size, headerSize)
		s.keep(e)
		return
	}
	m, ok := parseMark(l.page, salt(s.identity.id, l.seq))
	if ok && m.end >= headerSize && m.end <= maxSegment {
		e.count, e.end, e.first = int(m.count), m.end, m.first
		// Blocks that a sealed segment did not use are still there if the
		// process was killed right after sealing.
		if l.size > pages(m.end) && f.Truncate(pages(m.end)) == nil {
			e.bytes = pages(m.end)
		}
	} else if empty, err := s.sealLeftover(f, l, e); err != nil {
		log.Error("cannot seal a spool segment that was found open; its records are still used", "error", err)
	} else if empty {
		_ = f.Close()
		if err := s.disk.Remove(s.path(l.seq)); err != nil {
			log.Warn("cannot delete an empty spool segment", "error", err)
		}
		return
	} else if e.count == 0 {
		_ = f.Close()
		log.Error("no record of a spool segment can be read; it is put into quarantine")
		if err := s.putAside(s.path(l.seq)); err != nil {
			log.Warn("cannot put a spool segment into quarantine", "error", err)
		}
		return
	}
	// A process that was killed had no time to sync its last records.
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		log.Error("cannot sync a spool segment that was found; its records are still used", "error", err)
	}
	s.keep(e)
}

func (s *Spool) keep(e *entry) {
	s.entries = append(s.entries, e)
	s.bytes += e.bytes
}

func pages(n int64) int64 { return (n + headerSize - 1) &^ (headerSize - 1) }

// sealLeftover finds out what an open segment holds and seals it, so that a
// crash loop does not collect whole segments. It reports whether the file is
// empty; e.count is 0 too if it is not and holds nothing that can be read. One
// that cannot be read now is left as it is: it may be read later.
func (s *Spool) sealLeftover(f file, l leftover, e *entry) (empty bool, err error) {
	frames := make([]byte, max(l.size-headerSize, 0))
	unreadable := readDamaged(f, frames)
	key := salt(s.identity.id, l.seq)
	c := scanner{frames: frames, salt: key}
	last := 0
	for {
		p, ok := c.next()
		if !ok {
			break
		}
		last = c.pos - frameSize(len(p))
	}
	e.count = int(c.seq)
	e.end = int64(headerSize + c.pos)
	if hasMagic(frames, c.pos) {
		// The magic is written last: this record was complete once.
		e.count++
		e.end = l.size
	}
	if unreadable != nil {
		e.end = max(l.size, headerSize)
		return false, unreadable
	}
	if e.count == 0 {
		for off := 0; off < len(frames); off += align {
			if hasMagic(frames, off) {
				return false, nil // there were some once
			}
		}
		return true, nil
	}
	if c.seq > 0 && !hasMagic(frames, last) {
		// All of it was written but the magic, which it will need once the
		// record before it is damaged.
		if _, err := f.WriteAt(binary.LittleEndian.AppendUint32(nil, frameMagic), int64(headerSize+last)); err != nil {
			return false, err
		}
	}
	m := mark{count: uint32(e.count), end: e.end, first: e.first, sealed: s.now()}
	m.put(l.page, key)
	if _, err := f.WriteAt(l.page[markOffset:markOffset+64], markOffset); err != nil {
		return false, err
	}
	if err := f.Truncate(pages(e.end)); err != nil {
		return false, err
	}
	e.bytes = pages(e.end)
	return false, nil
}
