package batch

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/spool"
)

// rig is a spool, a storage and a shipper that runs.
type rig struct {
	dir     string
	spool   *spool.Spool
	model   *model
	shipper *Shipper
	metrics *prometheus.Registry
	stop    context.CancelFunc
	stopped chan error
}

func newRig(t *testing.T, dir string, o Options) *rig {
	t.Helper()
	r := &rig{dir: dir, spool: openSpool(t, dir), model: newModel(t), metrics: prometheus.NewRegistry(), stopped: make(chan error, 1)}
	o.Source, o.Registerer = r.spool, r.metrics
	if o.Sink == nil {
		o.Sink = r.model
	}
	r.shipper = New(o)
	return r
}

func (r *rig) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	go func() { r.stopped <- r.shipper.Run(ctx) }()
	t.Cleanup(cancel)
}

func (r *rig) end(t *testing.T) {
	t.Helper()
	r.stop()
	if err := <-r.stopped; err != nil {
		t.Error(err)
	}
}

func (r *rig) pending() int {
	events, _ := r.spool.Pending()
	return events
}

// value sums a metric's series, those with the label value only if given.
func (r *rig) value(t *testing.T, name string, label ...string) float64 {
	t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum, found := 0.0, false
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if len(label) > 0 && (len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() != label[0]) {
				continue
			}
			found = true
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	if !found {
		t.Fatalf("there is no metric %s %v", name, label)
	}
	return sum
}

// bubble runs f in a bubble, with a folder made outside of it.
func bubble(t *testing.T, f func(t *testing.T, dir string)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { f(t, dir) })
}

// pass lets time pass, and everybody finish what they do then.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAFreshBatchIsInsertedAtOnceAndSettledAfterAFlush(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		r := newRig(t, dir, Options{})
		r.run(t)
		start := time.Now()
		add(t, r.spool, 1, 5, 0, 1)
		pass(time.Second + 20*time.Millisecond) // sealed after a second, inserted in 11 ms
		r.model.exactly(t, 5)
		calls, inserts := r.model.seen()
		if got := strings.Join(calls, " "); got != "epoch insert" {
			t.Errorf("storage was asked %q, want one insert and no questions", got)
		}
		if r.pending() != 5 {
			t.Errorf("%d events pending before any flush, want 5", r.pending())
		}
		pass(flushAfter)
		if r.pending() != 0 || r.model.flushes != 1 {
			t.Errorf("%d events pending after %d flushes", r.pending(), r.model.flushes)
		}
		call := inserts[0]
		want := fmt.Sprintf("%016x-%016x-1", r.spool.ID(), call.b.Seq)
		if call.b.Token != want || call.b.Spool != r.spool.ID() || call.only != nil || call.b.Count != 5 {
			t.Errorf("inserted %d events of spool %x under %q, want 5 under %q", call.b.Count, call.b.Spool, call.b.Token, want)
		}
		if took := call.at.Sub(start); took != time.Second {
			t.Errorf("inserted after %v", took)
		}
		for name, want := range map[string]float64{
			"halfmask_batch_stored_events_total":            5,
			"halfmask_batch_size_events":                    1,
			"halfmask_batch_insert_duration_seconds":        1,
			"halfmask_batch_failures_total":                 0,
			"halfmask_batch_reconciled_days_total":          0,
			"halfmask_batch_quarantined_events_total":       0,
			"halfmask_batch_undecodable_records_total":      0,
			"halfmask_batch_last_success_timestamp_seconds": float64(call.at.Add(11 * time.Millisecond).Unix()),
		} {
			if got := r.value(t, name); int64(got) != int64(want) {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		calls, _ = r.model.seen()
		pass(24 * time.Hour)
		if later, _ := r.model.seen(); len(later) != len(calls) {
			t.Errorf("storage was called %d times in an idle day", len(later)-len(calls))
		}
		r.end(t)
	})
}

// Each of these leaves one batch of three days in a state of its own; the
// shipper must bring it to the same end.
func TestEveryFate(t *testing.T) {
	cases := map[string]struct {
		fates   []fate
		found   bool // by a second process; the first one was stopped in between
		inserts int
		days    float64 // inserted after asking
	}{
		"stored":                                {nil, false, 1, 0},
		"refused, nothing stored":               {[]fate{failBefore}, false, 2, 3},
		"answer lost":                           {[]fate{failAfter}, false, 1, 0},
		"first day stored":                      {[]fate{failBetween}, false, 2, 2},
		"first day stored, twice":               {[]fate{failBetween, failBetween}, false, 3, 1},
		"token recorded, rows not":              {[]fate{crashToken}, false, 2, 3},
		"half stored, then token without rows":  {[]fate{failBetween, crashToken}, false, 3, 2},
		"token spent, rows not":                 {[]fate{burnToken}, false, 3, 4},
		"tokens spent again and again":          {[]fate{burnToken, burnToken, burnToken}, false, 5, 6},
		"token recorded, rows late":             {[]fate{slowToken}, false, 2, 3},
		"found, token recorded, rows late":      {[]fate{slowToken}, true, 2, 3},
		"token recorded, rows late, twice":      {[]fate{slowToken, slowToken}, false, 3, 3},
		"killed after all days":                 {[]fate{crashAfter}, false, 1, 0},
		"loses power after all days":            {[]fate{powerAfter}, false, 2, 3},
		"late, after a retry":                   {[]fate{hangBefore}, false, 2, 3},
		"stored, answered late":                 {[]fate{hangAfter}, false, 1, 0},
		"found, nothing stored":                 {[]fate{failBefore}, true, 2, 3},
		"found, all stored":                     {[]fate{failAfter}, true, 1, 0},
		"found, first day stored":               {[]fate{failBetween}, true, 2, 2},
		"found, token without rows":             {[]fate{crashToken}, true, 2, 3},
		"found, token spent, rows not":          {[]fate{burnToken}, true, 3, 4},
		"found, late insert of the old process": {[]fate{hangBefore}, true, 2, 3},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, dir string) {
				r := newRig(t, dir, Options{})
				r.model.fates = c.fates
				add(t, r.spool, 1, 9, 0, 1, 2)
				r.spool.Seal()
				r.run(t)
				if c.found {
					pass(25 * time.Millisecond) // after the answer, before the retry
					r.end(t)
					if err := r.spool.Close(); err != nil {
						t.Fatal(err)
					}
					m := r.model
					r = newRig(t, dir, Options{Sink: m})
					r.model = m
					r.run(t)
				}
				pass(2 * time.Minute)
				r.model.exactly(t, 9)
				pass(10 * time.Minute)
				r.model.exactly(t, 9)
				if r.pending() != 0 {
					t.Errorf("%d events are still pending", r.pending())
				}
				if _, inserts := r.model.seen(); len(inserts) != c.inserts {
					t.Errorf("%d inserts, want %d", len(inserts), c.inserts)
				}
				if n := r.value(t, "halfmask_batch_reconciled_days_total"); n != c.days {
					t.Errorf("%v days inserted after asking, want %v", n, c.days)
				}
				if n := r.value(t, "halfmask_batch_stored_events_total"); n != 9 {
					t.Errorf("%v events counted as stored, want 9", n)
				}
				r.end(t)
			})
		})
	}
}

func TestALossBetweenAcknowledgementAndFlushIsRepaired(t *testing.T) {
	for name, c := range map[string]struct{ power, torn bool }{
		"crash": {}, "power": {power: true}, "power, and a part that cannot be read is left": {power: true, torn: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, dir string) {
				r := newRig(t, dir, Options{})
				add(t, r.spool, 1, 3)
				r.spool.Seal()
				r.run(t)
				pass(100 * time.Millisecond)
				r.model.exactly(t, 3)
				r.model.mu.Lock()
				r.model.torn = c.torn
				r.model.crash(c.power)
				r.model.mu.Unlock()
				pass(10 * time.Second)
				r.model.exactly(t, 3)
				if r.pending() != 0 {
					t.Errorf("%d events are still pending", r.pending())
				}
				r.end(t)
			})
		})
	}
}

// stubborn is a storage whose first insert outlives the server it was sent to.
type stubborn struct {
	*model
	release chan struct{}
	first   bool
}

func (s *stubborn) Insert(ctx context.Context, b Batch, only map[event.Day]bool) error {
	s.mu.Lock()
	first := !s.first
	s.first = true
	s.mu.Unlock()
	if first {
		<-s.release
		return errModel
	}
	return s.model.Insert(ctx, b, only)
}

func TestNoNewTokenWhileAnInsertUnderTheOldOneMayStillArrive(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		s := &stubborn{model: newModel(t), release: make(chan struct{})}
		r := newRig(t, dir, Options{Sink: s, InsertTimeout: time.Second})
		add(t, r.spool, 1, 3)
		r.spool.Seal()
		r.run(t)
		pass(500 * time.Millisecond)
		s.mu.Lock()
		s.crash(false)
		s.mu.Unlock()
		pass(time.Hour)
		if _, inserts := s.seen(); len(inserts) != 0 {
			t.Errorf("%d inserts while one under another token may still arrive", len(inserts))
		}
		close(s.release)
		pass(10 * time.Second)
		s.exactly(t, 3)
		r.end(t)
	})
}

func TestWhileStorageIsAwaySegmentsGrowAndItIsNotHammered(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		r := newRig(t, dir, Options{})
		r.run(t)
		r.model.mu.Lock()
		r.model.away(time.Hour)
		r.model.mu.Unlock()
		const events = 3000
		for v := range events {
			add(t, r.spool, v+1, v+1)
			pass(time.Second)
		}
		calls, _ := r.model.seen()
		if n := len(calls); n > 1300 || n < 600 {
			t.Errorf("%d calls in 50 minutes, want one in about 4 seconds", n)
		}
		segments, err := filepath.Glob(filepath.Join(dir, "*.seg"))
		if err != nil || len(segments) > 12 {
			t.Errorf("%d segments for %d small events (%v)", len(segments), events, err)
		}
		pass(11 * time.Minute)
		r.model.exactly(t, events)
		if r.pending() != 0 {
			t.Errorf("%d events are still pending", r.pending())
		}
		seqs := []uint64{}
		_, inserts := r.model.seen()
		for _, call := range inserts {
			seqs = append(seqs, call.b.Seq)
		}
		if !slices.IsSorted(seqs) {
			t.Errorf("batches were inserted out of order: %d", seqs)
		}
		r.end(t)
	})
}

func TestBackoff(t *testing.T) {
	bounds := map[int]time.Duration{1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 6: 3200 * time.Millisecond, 7: 5 * time.Second, 1000: 5 * time.Second}
	for tries, bound := range bounds {
		seen := map[time.Duration]bool{}
		for range 200 {
			d := backoff(tries)
			if d < bound/2 || d > bound {
				t.Errorf("after %d failures: %v, want %v to %v", tries, d, bound/2, bound)
			}
			seen[d] = true
		}
		if len(seen) < 100 {
			t.Errorf("after %d failures: no jitter", tries)
		}
	}
}

func TestOneInsertAtATime(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		r := newRig(t, dir, Options{})
		for i := range 10 {
			add(t, r.spool, i*10+1, i*10+10)
			r.spool.Seal()
		}
		r.run(t)
		pass(time.Minute)
		r.model.exactly(t, 100)
		if r.model.most != 1 {
			t.Errorf("%d inserts at once", r.model.most)
		}
		r.end(t)
	})
}

// Only the clock says that a day is too old, and the clock may be wrong: what
// storage lacks is sent, and storage drops what is past its time.
func TestNoEventIsLeftOutForItsAge(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		r := newRig(t, dir, Options{})
		add(t, r.spool, 1, 3, 0, 89, 93)
		if err := r.spool.Close(); err != nil {
			t.Fatal(err)
		}
		pass(400 * 24 * time.Hour) // or so the clock says after the restart
		r = newRig(t, dir, Options{})
		r.run(t)
		pass(time.Minute)
		r.model.exactly(t, 3)
		if r.pending() != 0 {
			t.Errorf("%d events are still pending", r.pending())
		}
		r.end(t)
	})
}
