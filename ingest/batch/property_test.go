package batch

import (
	"context"
	"flag"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/spool"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run the exactly-once test with this seed only")
	seedCount = flag.Int("seeds", 30, "run the exactly-once test with that many random seeds")
)

// Whatever goes wrong in whatever order, at the end every event is stored once.
func TestExactlyOnceUnderRandomFailures(t *testing.T) {
	seeds := []uint64{*seedFlag}
	if *seedFlag == 0 {
		seeds = nil
		for range *seedCount {
			seeds = append(seeds, rand.Uint64())
		}
	}
	for _, seed := range seeds {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) { exactlyOnce(t, seed, dir) })
		if t.Failed() {
			t.Fatalf("repeat with -seed=%d", seed)
		}
	}
}

func exactlyOnce(t *testing.T, seed uint64, dir string) {
	random := rand.New(rand.NewPCG(seed, 1))
	m := newModel(t)
	m.random = rand.New(rand.NewPCG(seed, 2))
	for range random.IntN(4) {
		m.bad[event.VisitID(1+random.IntN(500))] = true // may never be taken
	}
	taken := 0
	lives := 2 + random.IntN(4)
	for life := range lives {
		last := life == lives-1
		s := openSpool(t, dir)
		shipper := New(Options{Source: s, Sink: m, Registerer: prometheus.NewRegistry()})
		ctx, kill := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- shipper.Run(ctx) }()
		for range random.IntN(12) {
			n := 1 + random.IntN(40)
			add(t, s, taken+1, taken+n, 0, 1, 2)
			taken += n
			switch random.IntN(8) {
			case 0:
				s.Seal()
			case 1:
				m.mu.Lock()
				m.crash(random.IntN(3) == 0)
				m.away(time.Duration(random.IntN(60)) * time.Second)
				m.mu.Unlock()
			}
			time.Sleep(time.Duration(random.Int64N(int64(20 * time.Second))))
		}
		switch {
		case last:
			m.mu.Lock()
			m.random = nil
			m.mu.Unlock()
			if err := shipper.Drain(t.Context()); err != nil {
				t.Error(err)
			}
		case random.IntN(2) == 0: // a graceful stop with little time
			deadline, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(10_000))*time.Millisecond)
			_ = shipper.Drain(deadline)
			cancel()
		}
		kill()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if events, _ := s.Pending(); last && events != 0 {
			t.Errorf("%d events are still in the spool", events)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	got := m.visits()
	aside := quarantined(t, dir)
	for v := 1; v <= taken; v++ {
		n := got[event.VisitID(v)]
		switch bad := m.bad[event.VisitID(v)]; {
		case bad && (n != 0 || !aside[event.VisitID(v)]):
			t.Errorf("event %d, which storage refuses, is stored %d times; kept: %v", v, n, aside[event.VisitID(v)])
		case !bad && n != 1 && !(n == 0 && aside[event.VisitID(v)]): // put aside if tokens were spent several times in one run
			t.Errorf("seed %d: event %d of %d is stored %d times", seed, v, taken, n)
		}
	}
	time.Sleep(10 * time.Minute) // late inserts must come to their end
}

// quarantined returns what the spool put aside: whoever moves the files back
// finds it again.
func quarantined(t *testing.T, dir string) map[event.VisitID]bool {
	t.Helper()
	aside := map[event.VisitID]bool{}
	restore(t, dir)
	s := openSpool(t, dir)
	for g, err := range s.Backlog() {
		if err != nil {
			t.Fatal(err)
		}
		for e := range New(Options{}).events(g, nil) {
			aside[e.Visit] = true
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return aside
}

var _ Source = (*spool.Spool)(nil)
