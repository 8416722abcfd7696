package spool

import (
	"bytes"
	"errors"
	"hash/crc32"
	"time"
)

func checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// reopen opens the spool once, on what the last death left. It returns how the
// machine died of it: "", "kill" or "power".
func (w *walsim) reopen(dangerous bool) string {
	d := w.disk
	faults := d.faults
	d.power = w.random.IntN(2) == 0
	if dangerous {
		d.dieAt = d.calls + 1 + w.random.IntN(40)
	}
	if w.rarity > 0 && w.id != 0 && !w.perfect {
		d.budget, d.rarity = w.random.IntN(2), w.rarity
	}
	if w.random.IntN(4) == 0 {
		w.looks -= w.random.Int64N(100_000) // the clock was put back
	}
	s, err := open(w.opts, outside{d, simRandom{w}, w.now})
	d.dieAt, d.budget = 0, 0
	w.seen.faults.Add(int64(d.faults - faults))
	if d.dead {
		if s != nil {
			s.sealTimer.Stop()
			s.sweepTimer.Stop()
		}
		w.seen.recoveryDeaths.Add(1)
		w.trace("died while recovering, of a power failure: %v", d.power)
		w.disk = d.next
		if d.power {
			return "power"
		}
		return "kill"
	}
	if err != nil && d.faults != faults {
		w.trace("Open: %v", err)
		return w.reopen(false)
	}
	if err != nil {
		w.fail("Open on a disk that works: %v", err)
		return "failure"
	}
	if w.id != 0 && s.ID() != w.id && d.faults == faults {
		w.fail("the spool's number %x became %x", w.id, s.ID())
	}
	w.spool, w.id = s, s.ID()
	w.checkNumbers()
	w.trace("open")
	return ""
}

// now is a clock that ticks when it is looked at.
func (w *walsim) now() time.Time {
	w.looks++
	return time.Unix(1_800_000_000, w.looks*int64(time.Millisecond))
}

// simRandom draws from the seed.
type simRandom struct{ w *walsim }

func (r simRandom) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r.w.random.Uint32())
	}
	return len(b), nil
}

// reopenAfter opens the spool after a death, dying a few more times on the way,
// and compares what is there with what must be.
func (w *walsim) reopenAfter(power bool) {
	w.disk = w.disk.next
	w.count(power)
	for w.random.IntN(4) == 0 {
		died := w.reopen(true)
		if died == "" {
			// It opened before its time had come: that life ends at once.
			w.stopTimers()
			w.disk.power = w.random.IntN(2) == 0
			w.disk.die()
			power = power || w.disk.power
			w.disk = w.disk.next
		}
		power = power || died == "power"
	}
	faults := w.disk.faults
	if w.reopen(false) == "" {
		w.checkRecovered(power, w.disk.faults != faults)
	}
}

func (w *walsim) count(power bool) {
	if power {
		w.seen.powerCuts.Add(1)
	} else {
		w.seen.kills.Add(1)
	}
}

// checkRecovered compares the backlog with the model: what was promised is in
// what was recovered, which is in what was sent, in order and once.
func (w *walsim) checkRecovered(power, faulty bool) {
	found := make([]bool, len(w.records))
	last := -1
	for g, err := range w.spool.Backlog() {
		if err != nil {
			w.fail("Backlog: %v", err)
			return
		}
		for p := range g.Records() {
			n := w.find(p)
			if n < 0 {
				return
			}
			if n <= last {
				w.fail("record %d comes after record %d", n, last)
			}
			last = n
			r := w.records[n]
			if r.seq != g.Seq {
				w.fail("record %d of segment %x is in %x", n, r.seq, g.Seq)
			}
			if r.gone && !(power && r.away) {
				w.fail("record %d is back", n)
			}
			found[n] = true
		}
	}
	for n, r := range w.records {
		must := r.taken && !r.away && !r.gone && (!power || r.promised)
		if must && !found[n] {
			w.fail("record %d is lost: it was promised to survive; segment %x, power failure %v", n, r.seq, power)
		}
		if r.taken && !r.gone && !found[n] {
			w.seen.lost.Add(1)
		}
		r.doomed = r.doomed || faulty || r.writer != nil && r.writer.failed.Load()
		r.writer, r.position = nil, Position{}
		r.taken, r.gone = found[n], !found[n]
		r.away = r.away && !found[n] // its deletion was undone
		r.promised = found[n] && (r.promised || !r.doomed || power)
	}
	w.cut = w.cut || power
	if lost := w.lostCount(); !w.cut && !faulty && lost != 0 {
		w.fail("%d records counted as damaged after nothing but kills", lost)
	}
	w.trace("recovered %v", bytes.Count(boolBytes(found), []byte{1}))
}

func boolBytes(b []bool) []byte {
	out := make([]byte, len(b))
	for i, v := range b {
		if v {
			out[i] = 1
		}
	}
	return out
}

// lostCount is how many records a reader of everything would count as damaged.
func (w *walsim) lostCount() (lost int64) {
	for _, e := range w.spool.entries {
		_, d, err := w.spool.load(e)
		if err != nil {
			w.fail("load: %v", err)
			break
		}
		lost += d.records
	}
	return lost
}

// find says which record a payload is.
func (w *walsim) find(p []byte) int {
	n := 0
	for _, c := range p[:min(8, len(p))] {
		n = n*10 + int(c-'0')
	}
	if len(p) < 8 || n < 0 || n >= len(w.records) || !bytes.Equal(w.records[n].payload, p) {
		w.fail("a record of %d bytes that was never sent", len(p))
		return -1
	}
	return n
}

// damage flips a bit or tears a sector of one segment that is whole, after a
// kill, and sees that it costs the records that it touches and no other, and
// that they are counted.
func (w *walsim) damage() {
	w.perfect = true
	for range 2 { // so that every segment is sealed, whatever failed before
		w.stopTimers()
		w.disk.power = false
		w.disk.die()
		w.disk = w.disk.next
		if len(w.spool.entries) == 0 || w.disk.lies != honest {
			return
		}
		if w.reopen(false) != "" || w.lostCount() > 0 {
			return
		}
	}
	w.stopTimers()
	w.disk.power = false
	w.disk.die()
	w.disk = w.disk.next
	names := sortedKeys(w.disk.folders[w.opts.Dir].names)
	var path string
	for _, name := range names {
		if _, ok := parseName(name); ok && w.disk.folders[w.opts.Dir].names[name].size > headerSize {
			path = name
			if w.random.IntN(2) == 0 {
				break
			}
		}
	}
	seq, ok := parseName(path)
	if !ok {
		return
	}
	from, to := w.harm(w.disk.folders[w.opts.Dir].names[path])
	w.trace("segment %x is damaged from %d to %d", seq, from, to)
	if w.reopen(false) == "" {
		w.checkDamage(seq, from, to)
	}
}

// harm changes some bytes of a file and says which.
func (w *walsim) harm(i *simInode) (from, to int) {
	if w.random.IntN(2) == 0 {
		from = w.random.IntN(int(i.size))
		i.cache[from] ^= 1 << w.random.IntN(8)
		return from, from + 1
	}
	from = w.random.IntN(int(i.size)) &^ (w.disk.sector - 1)
	to = min(from+w.disk.sector, int(i.size))
	for at := from; at < to; at++ {
		i.cache[at] = byte(w.random.Uint32())
	}
	if w.random.IntN(2) == 0 {
		clear(i.cache[from:to])
	}
	return from, to
}

func (w *walsim) checkDamage(seq uint64, from, to int) {
	found := make([]bool, len(w.records))
	for {
		g, err := w.spool.Next(ended())
		if errors.Is(err, errEnded) {
			break
		}
		if err != nil {
			w.fail("Next: %v", err)
			return
		}
		for p := range g.Records() {
			n := w.find(p)
			if n < 0 {
				return
			}
			found[n] = true
		}
	}
	lost := int64(0)
	for n, r := range w.records {
		if !r.taken || found[n] {
			continue
		}
		lost++
		if touched := r.seq == seq && r.off < to && from < r.off+frameHeader+len(r.payload); !touched {
			w.fail("record %d is lost, which the damage did not touch", n)
		}
	}
	w.seen.damaged.Add(lost)
	if counted := w.spool.counts.damagedRecords; counted != lost {
		w.fail("%d records lost, %d counted", lost, counted)
	}
}
