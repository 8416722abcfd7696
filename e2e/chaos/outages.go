package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// runStopped stops every engine that comes up, for the outage's time.
func (r *rig) runStopped(ctx context.Context) error {
	stopped, replaced := 0, 0
	for end := time.Now().Add(r.outage); time.Now().Before(end); {
		if pid := r.engine(); pid != 0 && pid != stopped && r.storageUp() {
			if stopped != 0 {
				replaced++
			}
			if stopped = r.signalEngine(syscall.SIGSTOP); stopped == 0 {
				return errors.New("cannot stop the engine")
			}
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	if pid := r.engine(); pid == stopped {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	fmt.Fprintf(r.out, "  %d hung engines were replaced meanwhile\n", replaced)
	return r.recovers(ctx)
}

// runKilled takes the library away, so that no engine comes back.
func (r *rig) runKilled(ctx context.Context) error {
	if err := r.withhold(); err != nil {
		return err
	}
	if err := pause(ctx, r.outage); err != nil {
		return err
	}
	if err := r.giveBack(); err != nil {
		return err
	}
	return r.recovers(ctx)
}

func (r *rig) withhold() error {
	if err := os.Remove(r.link); err != nil {
		return err
	}
	if r.signalEngine(syscall.SIGKILL) == 0 {
		return errors.New("there is no engine to kill")
	}
	return nil
}

func (r *rig) giveBack() error { return os.Symlink(r.options.library, r.link) }

// runFull fills the disk under halfmask and its engine, frees it after the
// outage's time, and expects events to be accepted again.
func (r *rig) runFull(ctx context.Context) error {
	balloon := filepath.Join(filepath.Dir(r.data), "balloon")
	if err := inflate(balloon); err != nil {
		return err
	}
	r.load.fat.Store(true) // fills what the spool has set aside
	r.load.at(0)
	if err := r.refusing(ctx); err != nil {
		return err
	}
	if err := pause(ctx, r.outage); err != nil {
		return err
	}
	r.load.fat.Store(false)
	r.load.at(r.rate)
	if err := os.Remove(balloon); err != nil {
		return err
	}
	return r.recovers(ctx)
}

// inflate takes all the room there is.
func inflate(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for size := len(block); size >= 512; {
		if _, err := f.Write(block[:size]); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

// runCap withholds the engine until the spool is full.
func (r *rig) runCap(ctx context.Context) error {
	if err := r.withhold(); err != nil {
		return err
	}
	r.load.fat.Store(true)
	r.load.at(0)
	if err := r.refusing(ctx); err != nil {
		return err
	}
	if err := pause(ctx, r.outage/2); err != nil {
		return err
	}
	r.load.fat.Store(false)
	r.load.at(r.rate)
	if err := r.giveBack(); err != nil {
		return err
	}
	return r.recovers(ctx)
}

// refusing waits until events are refused.
func (r *rig) refusing(ctx context.Context) error {
	began := time.Now()
	if err := eventually(ctx, "events are refused", func() bool { return r.load.tally().refused > 100 }); err != nil {
		return err
	}
	t := r.load.tally()
	fmt.Fprintf(r.out, "  full after %v, with %d events accepted; from here on they are answered 503\n", time.Since(began).Round(time.Millisecond), t.accepted)
	return nil
}

// recovery is what is seen after an outage, as times since its end.
type recovery struct {
	accepts, storage, stores, done time.Duration
	waiting                        float64 // in the spool at the end of the outage
	stored                         float64 // from the first to the last
	live                           int     // accepted meanwhile
}

// recovers waits until what waited is stored while the load goes on, and measures
// that.
func (r *rig) recovers(ctx context.Context) error {
	began, v := time.Now(), recovery{}
	before := r.load.tally().accepted
	waiting, first, err := r.flow()
	if err != nil {
		return err
	}
	v.waiting = waiting
	few := 2 * float64(r.rate) // some always wait: for the batch interval, and for the next flush
	start := before            // accepted when the first was stored
	if err := eventually(ctx, "it has caught up", func() bool {
		pending, stored, err := r.flow()
		now, accepted := time.Since(began), r.load.tally().accepted
		if v.accepts == 0 && accepted > before+100 {
			v.accepts = now
		}
		if v.storage == 0 && r.storageUp() {
			v.storage = now
		}
		if v.stores == 0 && err == nil {
			if stored <= first {
				v.stored, start = stored, accepted
				v.done = now // the latest look at which none was stored
				return false
			}
			v.stores = v.done
		}
		v.done = now
		if err != nil || pending >= few || v.accepts == 0 {
			return false
		}
		v.stored, v.live = stored-first, accepted-start
		return true
	}); err != nil {
		return err
	}
	r.sayRecovery(&v)
	return nil
}

func (r *rig) sayRecovery(v *recovery) {
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	took := max((v.done - v.stores).Seconds(), 0.001)
	rate, live := v.stored/took, float64(v.live)/took
	fmt.Fprintf(r.out, "  after its end: events accepted within %v, storage answers after %v, stores after %v\n", round(v.accepts), round(v.storage), round(v.stores))
	fmt.Fprintf(r.out, "  %.0f events had waited; %.0f were stored in %.2f s: %.0f/s while %.0f/s came in, which is %.1f times as fast\n",
		v.waiting, v.stored, took, rate, live, rate/max(live, 1))
	if v.accepts > acceptWithin {
		r.slow = true
		fmt.Fprintf(r.out, "  MISSED: accepting within %v\n", acceptWithin)
	}
	if rate < catchUp*live {
		r.slow = true
		fmt.Fprintf(r.out, "  MISSED: catching up at %d times the live rate\n", catchUp)
	}
}
