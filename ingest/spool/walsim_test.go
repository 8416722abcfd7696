package spool

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
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
	defer func() {
		w.seen.records.Add(int64(len(w.records)))
		w.stopTimers()
	}()
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

// stopTimers lets go of the spool: a timer of its quarantine would hold on to
// it, and to its disk, for a month.
func (w *walsim) stopTimers() {
	if w.spool == nil {
		return
	}
	w.spool.sealTimer.Stop()
	w.spool.sweepTimer.Stop()
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
