package spool

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func powerful(dir string) Options {
	o := small(dir)
	o.Durability = Power
	return o
}

// gate holds every sync up until it is told how it ends.
type gate struct {
	asked  chan file
	answer chan error
}

func newGate() gate { return gate{make(chan file), make(chan error)} }

func (g gate) sync(f file) error {
	g.asked <- f
	if err := <-g.answer; err != nil {
		return err
	}
	return f.Sync()
}

// put appends and starts to wait; the channel says what came of it.
func put(t *testing.T, s *Spool, payload string) <-chan error {
	t.Helper()
	p, err := s.Append([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- s.Wait(p) }()
	return waited
}

func TestWaitReturnsAfterTheSyncThatHoldsTheEvent(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		s := mustOpenSyncing(t, powerful(dir), g.sync)
		early := put(t, s, "early")
		<-g.asked
		late := put(t, s, "late") // this sync may have passed it by
		time.Sleep(time.Hour)
		if len(early)+len(late) > 0 {
			t.Error("an event was called safe before a sync returned")
		}
		g.answer <- nil
		<-g.asked
		synctest.Wait()
		if len(early) != 1 || len(late) != 0 {
			t.Errorf("after the first sync %d early and %d late events are safe, want 1 and 0", len(early), len(late))
		}
		g.answer <- nil
		if err := errors.Join(<-early, <-late); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		select {
		case <-g.asked:
			t.Error("a sync that nobody waits for")
		default:
		}
		close(g.answer) // for what Close syncs
		go func() {
			for range g.asked {
			}
		}()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		close(g.asked)
	})
}

func TestAFailedSyncRefusesWhoWaits(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		metrics := prometheus.NewRegistry()
		o := powerful(dir)
		o.Registerer = metrics
		s := mustOpenSyncing(t, o, g.sync)
		safe := put(t, s, "safe")
		<-g.asked
		g.answer <- nil
		if err := <-safe; err != nil {
			t.Fatal(err)
		}
		doubtful := put(t, s, "doubtful")
		bad := <-g.asked
		meanwhile := put(t, s, "appended while the sync failed")
		g.answer <- errors.New("disk says no")
		for _, waited := range []<-chan error{doubtful, meanwhile} {
			if err := <-waited; err != ErrUnsafe {
				t.Errorf("got %v, want ErrUnsafe", err)
			}
		}
		if n := metric(t, metrics, "halfmask_spool_refused_events_total"); n != 2 {
			t.Errorf("%v refusals counted, want 2", n)
		}
		go func() {
			for f := range g.asked {
				if f == bad {
					t.Error("a segment was synced again after its sync had failed")
				}
				g.answer <- nil
			}
		}()
		if err := <-put(t, s, "after"); err != nil {
			t.Errorf("on a fresh segment: %v", err)
		}
		s.Seal()
		if got, _ := all(t, s); !slices.Equal(got, []string{"safe", "doubtful", "appended while the sync failed", "after"}) {
			t.Errorf("got %q: what was not called safe is handed out all the same", got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		close(g.asked)
	})
}

// Many wait for one sync, whatever segment they are in, and whoever waits while
// the spool closes hears how it went.
func TestManyShareASync(t *testing.T) {
	var syncs atomic.Int64
	s := mustOpenSyncing(t, powerful(t.TempDir()), func(f file) error { syncs.Add(1); return f.Sync() })
	var wg sync.WaitGroup
	var safe atomic.Int64
	for range 64 {
		wg.Go(func() {
			for range 50 {
				p, err := s.Append(make([]byte, 300))
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Wait(p); err != nil {
					t.Error(err)
				}
				safe.Add(1)
			}
		})
	}
	wg.Wait()
	if n := syncs.Load(); n >= safe.Load() {
		t.Errorf("%d syncs for %d events", n, safe.Load())
	}
	p, err := s.Append([]byte("last"))
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		if err := s.Wait(p); err != nil {
			t.Errorf("while the spool closes: %v", err)
		}
	})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestWaitAllocatesNothing(t *testing.T) {
	o := Options{Dir: t.TempDir(), Durability: Power}
	s := mustOpen(t, o)
	payload := make([]byte, 250)
	if n := testing.AllocsPerRun(200, func() {
		p, _ := s.Append(payload)
		_ = s.Wait(p)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNobodyWaitsUnderProcess(t *testing.T) {
	s := mustOpenSyncing(t, small(t.TempDir()), func(file) error { return errors.New("disk says no") })
	for range 100 {
		p, err := s.Append([]byte("a"))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Wait(p); err != nil {
			t.Fatal(err)
		}
	}
}
