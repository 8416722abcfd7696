package spool

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestWalsim takes the spool through lives that end in kills and power
// failures, on a disk that fails, tears and forgets. WALSIM_SEEDS is how many
// seeds it tries, WALSIM_SEED the one that it repeats step by step.
func TestWalsim(t *testing.T) {
	if text := os.Getenv("WALSIM_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("WALSIM_SEED: %v", err)
		}
		w := newWalsim(seed, honest)
		w.trace = t.Logf
		w.opts.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		t.Log(w.describe())
		if err := w.run(); err != nil {
			t.Error(err)
		}
		return
	}
	count, first := uint64(walsimSeeds), uint64(time.Now().UnixNano())
	if text := os.Getenv("WALSIM_SEEDS"); text != "" {
		var err error
		if count, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("WALSIM_SEEDS: %v", err)
		}
	}
	var seen tally
	for w := range walsims(first, count, honest, &seen) {
		t.Errorf("%v\n\t%s\n\trepeat with WALSIM_SEED=%d go test -run TestWalsim -v ./ingest/spool", w.failure, w.describe(), w.seed)
	}
	t.Logf("seeds %d to %d: %v", first, first+count-1, &seen)
	if seen.powerCuts.Load() == 0 || seen.lost.Load() == 0 || seen.faults.Load() == 0 || seen.damaged.Load() == 0 {
		t.Error("nothing ever went wrong: the test tests too little")
	}
}

// A disk that lies costs acknowledged events. If that goes unnoticed, so would
// a spool that forgets to sync.
func TestWalsimNoticesLies(t *testing.T) {
	for name, l := range map[string]lie{"syncs nothing": syncsNothing, "syncs no folder": syncsNoFolder, "forgets a sector": forgetsOneSector} {
		t.Run(name, func(t *testing.T) {
			var seen tally
			for range walsims(1, 300, l, &seen) {
				return
			}
			t.Error("nobody noticed")
		})
	}
}

// walsims runs seeds on all cores and yields those that fail, until the first
// few have.
func walsims(first, count uint64, l lie, seen *tally) func(func(*walsim) bool) {
	return func(yield func(*walsim) bool) {
		var next atomic.Uint64
		failed := make(chan *walsim)
		stop := make(chan struct{})
		var workers sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			workers.Go(func() {
				for {
					n := next.Add(1) - 1
					if n >= count {
						return
					}
					w := newWalsim(first+n, l)
					w.seen = seen
					if w.run() == nil {
						continue
					}
					select {
					case failed <- w:
					case <-stop:
						return
					}
				}
			})
		}
		go func() { workers.Wait(); close(failed) }()
		few := 5
		for w := range failed {
			if few--; few == 0 || !yield(w) {
				close(stop)
				workers.Wait()
				return
			}
		}
	}
}

// tally is what happened in all lives, to see that enough did.
type tally struct {
	lives, kills, powerCuts, recoveryDeaths, records, lost, faults, damaged, refused atomic.Int64
}

func (t *tally) String() string {
	return fmt.Sprintf("%d lives, ended by %d kills and %d power cuts, and %d more while recovering; %d records, of them %d lost before they were promised, "+
		"%d refused after a failed sync; %d faults; %d records damaged on purpose",
		t.lives.Load(), t.kills.Load(), t.powerCuts.Load(), t.recoveryDeaths.Load(), t.records.Load(), t.lost.Load(), t.refused.Load(), t.faults.Load(), t.damaged.Load())
}

// walsim is one seed: a spool, its disk, and the model of what must be there.
type walsim struct {
	seed   uint64
	random *rand.Rand
	opts   Options
	rarity int // of faults; 0: the disk never fails
	lives  int
	looks  int64 // at the clock

	disk  *simDisk
	spool *Spool
	id    uint64
	busy  map[actor]bool
	cut   bool // the power failed once

	perfect bool // the disk has stopped to fail

	records []*simRecord
	used    map[uint64]bool // sequence numbers that held records

	seen    *tally
	trace   func(format string, args ...any)
	failure error
}

// simRecord is what the model knows of an appended event.
type simRecord struct {
	payload  []byte
	seq      uint64 // its segment
	off      int    // of its frame in the file
	writer   *writer
	position Position
	taken    bool // Append said yes
	promised bool // it survives a power failure
	doomed   bool // a sync of it failed: the kernel takes it for stored, and no other sync will help
	away     bool // settled or quarantined, or somebody was at it
	gone     bool // settled or quarantined for sure, or lost for good
}

// actor is a goroutine of the spool's life.
type actor uint8

const (
	appender actor = iota
	preparer
	syncer
	shipper
	actors
)

func newWalsim(seed uint64, l lie) *walsim {
	random := rand.New(rand.NewPCG(seed, 0x5ec0))
	w := &walsim{
		seed: seed, random: random, used: map[uint64]bool{}, busy: map[actor]bool{},
		seen: &tally{}, trace: func(string, ...any) {},
	}
	w.opts = Options{
		Dir: "/spool", SegmentBytes: minSegment * int64(1+random.IntN(3)), SealAfter: time.Hour,
		Durability: Durability(random.IntN(2)),
	}
	w.opts.MaxBytes = w.opts.SegmentBytes * int64(2+random.IntN(8))
	if random.IntN(3) == 0 {
		w.rarity = 5 + random.IntN(60)
	}
	w.lives = 1 + random.IntN(4)
	w.disk = newSimDisk(random, 512<<(3*random.IntN(2)))
	w.disk.lies = l
	return w
}

func (w *walsim) describe() string {
	return fmt.Sprintf("seed %d: durability %d, segments of %d, cap %d, %d lives, sectors of %d, one call in %d fails (0: none)",
		w.seed, w.opts.Durability, w.opts.SegmentBytes, w.opts.MaxBytes, w.lives, w.disk.sector, w.rarity)
}

// fail notes that a promise was broken, and ends the machine: the spool may be
// in the middle of something.
func (w *walsim) fail(format string, args ...any) {
	if w.failure == nil {
		w.failure = fmt.Errorf(format, args...)
		w.trace("FAILED: %v", w.failure)
	}
	if !w.disk.dead {
		w.disk.die()
	}
}

// run returns the first promise that was broken.
func (w *walsim) run() error {
	defer func() { w.seen.records.Add(int64(len(w.records))) }()
	w.reopen(false)
	for range w.lives {
		if w.failure != nil {
			return w.failure
		}
		w.seen.lives.Add(1)
		power := w.live()
		w.stopTimers()
		if w.failure == nil {
			w.reopenAfter(power)
		}
	}
	if w.failure == nil {
		w.damage()
	}
	return w.failure
}

func (w *walsim) stopTimers() {
	w.spool.sealTimer.Stop()
	w.spool.sweepTimer.Stop()
}

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
		putFrame(frame, w.random.Uint32(), uint32(len(w.records)+1), forged, 0)
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

// A seed is worth nothing if it does not do the same again.
func TestWalsimRepeatsItself(t *testing.T) {
	for seed := range uint64(100) {
		var end [2]uint64
		for i := range end {
			w := newWalsim(seed, honest)
			if err := w.run(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			end[i] = w.random.Uint64()
		}
		if end[0] != end[1] {
			t.Errorf("seed %d did something else when repeated", seed)
		}
	}
}
