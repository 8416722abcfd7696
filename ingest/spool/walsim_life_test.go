package spool

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// live lets goroutines do things until the life ends, and reports whether the
// power failed.
func (w *walsim) live() (power bool) {
	d := w.disk
	d.power = w.random.IntN(2) == 0
	if w.random.IntN(3) > 0 {
		d.dieAt = d.calls + 1 + w.random.IntN(60)
	}
	if w.rarity > 0 {
		d.budget, d.rarity = w.random.IntN(4), w.rarity
	}
	d.between = func(*simDisk) {
		if w.random.IntN(3) == 0 {
			w.step(actor(w.random.IntN(int(actors))))
		}
	}
	faults := d.faults
	for n := 5 + w.random.IntN(60); n > 0 && !d.dead; n-- {
		w.step(actor(w.random.IntN(int(actors))))
		w.checkCap()
	}
	d.between = nil
	if !d.dead && w.random.IntN(4) == 0 {
		w.close()
	}
	if !d.dead {
		if w.random.IntN(2) == 0 {
			w.tearAppend()
		}
		d.die()
	}
	w.seen.faults.Add(int64(d.faults - faults))
	w.trace("the life ended: power failure %v", d.power)
	return d.power
}

// step is one thing that one goroutine does, unless it is at something.
func (w *walsim) step(a actor) {
	if w.busy[a] || w.disk.dead {
		return
	}
	w.busy[a] = true
	defer delete(w.busy, a)
	switch a {
	case appender:
		for range 1 + w.random.IntN(8) {
			w.append()
		}
	case preparer:
		w.trace("prepare")
		w.spool.prepare()
		w.checkNumbers()
	case syncer:
		w.sync()
	case shipper:
		w.ship()
	}
	w.collect()
}

// payload makes bytes that nobody else makes, some of them meant to mislead.
func (w *walsim) payload() []byte {
	n := 8 + w.random.IntN(300)
	switch w.random.IntN(12) {
	case 0:
		n = 8 + w.random.IntN(6_000)
	case 1:
		n = 8 + w.random.IntN(8)
	}
	p := fmt.Appendf(make([]byte, 0, n), "%08d", len(w.records))
	forged := []byte("not an event")
	for w.random.IntN(6) == 0 && len(p)+frameSize(len(forged)) < n {
		p = p[:(len(p)+7)&^7] // where a scanner looks
		frame := make([]byte, frameSize(len(forged)))
		number := 1 + w.random.Uint32N(3) // of the next few in the segment
		if a := w.spool.active; a != nil {
			number += a.count
		}
		putFrame(frame, 0, number, forged, checksum(forged))
		p = append(p, frame...)
	}
	for len(p) < n {
		p = append(p, byte(w.random.Uint32()>>24)&byte(w.random.Uint32()))
	}
	return p
}

func (w *walsim) append() {
	s := w.spool
	p := w.payload()
	if s.active == nil || !s.active.fits(len(p)) && s.next == nil {
		if s.blocked == free {
			return // it would wait for the preparer
		}
	}
	r := &simRecord{payload: p}
	w.records = append(w.records, r)
	position, err := s.Append(p)
	switch {
	case err == nil:
		a := s.active
		r.taken, r.position, r.writer = true, position, a
		r.seq, r.off = a.seq, a.end-frameSize(len(p))
		w.used[a.seq] = true
		w.trace("append %d (%d bytes) to %x at %d", len(w.records)-1, len(p), r.seq, r.off)
	case errors.Is(err, ErrFull):
		w.trace("append %d: full", len(w.records)-1)
	default:
		w.fail("Append: %v", err)
	}
}

// tearAppend leaves an append as a kill in the middle of it does.
func (w *walsim) tearAppend() {
	a := w.spool.active
	p := w.payload()
	if a == nil || w.spool.closed || !a.fits(len(p)) {
		return
	}
	w.records = append(w.records, &simRecord{payload: p, seq: a.seq, off: a.end})
	w.used[a.seq] = true
	frame := make([]byte, frameSize(len(p)))
	putFrame(frame, a.salt, a.count, p, checksum(p))
	stage := w.random.IntN(5) // payload, length, number, checksum, magic
	mem := a.mem[a.end:]
	copy(mem[frameHeader:], frame[frameHeader:frameHeader+w.random.IntN(len(p)+1)])
	for i, field := range []int{8, 12, 4, 0} {
		if stage > i {
			copy(mem[frameHeader:], p)
			copy(mem[field:field+4], frame[field:])
		}
	}
	w.trace("append %d cut short at stage %d", len(w.records)-1, stage)
}

// sync is what the syncing goroutine does. What was appended before it began
// is safe when it returns, if nothing failed.
func (w *walsim) sync() {
	before, faults := len(w.records), w.disk.faults
	w.trace("sync begins")
	w.spool.syncAll()
	w.trace("sync ended")
	if w.disk.dead || w.disk.faults != faults {
		return
	}
	for _, r := range w.records[:before] {
		if r.taken && r.writer != nil && !r.writer.failed.Load() {
			w.promise(r)
			if err := w.spool.Wait(r.position); err != nil { // must not block either
				w.fail("Wait after a sync: %v", err)
			}
		}
	}
}

func (w *walsim) promise(r *simRecord) { r.promised = true }

// collect hears what Wait says of those events that it has an answer for.
func (w *walsim) collect() {
	if w.disk.dead || w.opts.Durability == Process {
		return
	}
	for _, r := range w.records {
		if r.writer == nil || r.promised || r.position.w == nil {
			continue
		}
		if r.writer.synced.Load() < r.position.n && !r.writer.failed.Load() {
			continue // it would wait
		}
		switch err := w.spool.Wait(r.position); {
		case err == nil:
			w.promise(r)
		case errors.Is(err, ErrUnsafe):
			w.seen.refused.Add(1)
			r.position = Position{}
		default:
			w.fail("Wait: %v", err)
		}
	}
}

// ship is what the shipper does: it takes a segment, looks at it, and settles
// or quarantines it, or keeps it.
func (w *walsim) ship() {
	if w.random.IntN(3) == 0 {
		w.trace("seal")
		w.spool.Seal()
	}
	g, err := w.spool.Next(ended())
	if err != nil || w.disk.dead {
		return // none there, or the disk failed
	}
	w.checkSegment(g)
	leave, verb := w.spool.Settle, "settle"
	switch w.random.IntN(6) {
	case 0:
		return
	case 1:
		leave, verb = w.spool.Quarantine, "quarantine"
	}
	var held []*simRecord
	for _, r := range w.records {
		if r.seq == g.Seq {
			r.away = true
			held = append(held, r)
		}
	}
	err = leave(g.Seq)
	w.trace("%s %x: %v", verb, g.Seq, err)
	if err == nil && !w.disk.dead {
		for _, r := range held {
			r.gone = true
		}
	}
}

// checkSegment compares what was handed out with what was appended there in
// this life, or found at its start.
func (w *walsim) checkSegment(g *Segment) {
	var want [][]byte
	for _, r := range w.records {
		if r.seq == g.Seq && r.taken && !r.gone {
			want = append(want, r.payload)
		}
	}
	if got := slices.Collect(g.Records()); !slices.EqualFunc(got, want, bytes.Equal) {
		w.fail("segment %x was handed out with %d records, want %d", g.Seq, len(got), len(want))
	}
	w.trace("handed out %x with %d records", g.Seq, len(want))
}

func (w *walsim) close() {
	faults := w.disk.faults
	err := w.spool.Close()
	w.trace("close: %v", err)
	if w.disk.dead || w.disk.faults != faults {
		return
	}
	if err != nil {
		w.fail("Close: %v", err)
	}
	for _, r := range w.records {
		if r.writer != nil && !r.writer.failed.Load() {
			w.promise(r)
		}
	}
}

// checkNumbers sees that no sequence number is used twice: storage knows
// batches by it.
func (w *walsim) checkNumbers() {
	for _, n := range []*writer{w.spool.active, w.spool.next} {
		if n != nil && n.count == 0 && w.used[n.seq] {
			w.fail("sequence number %x is used again", n.seq)
		}
	}
}

func (w *walsim) checkCap() {
	if n := w.disk.segmentBytes(w.opts.Dir); n > w.opts.MaxBytes && w.disk.faults == 0 && !w.disk.dead {
		w.fail("the folder holds %d bytes, the cap is %d", n, w.opts.MaxBytes)
	}
}
