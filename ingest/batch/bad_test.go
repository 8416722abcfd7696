package batch

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/record"
)

// aside returns how many events were put aside for a reason.
func (r *rig) aside(t *testing.T, reason string) float64 {
	t.Helper()
	return r.value(t, "halfmask_batch_quarantined_events_total", reason)
}

func TestABadEventCostsNoOther(t *testing.T) {
	cases := map[string]struct {
		bad    []event.VisitID
		days   []int
		fates  []fate
		aside  float64
		stored int
	}{
		"one":                                 {bad: []event.VisitID{2}, aside: 1, stored: 8},
		"the first and the last":              {bad: []event.VisitID{1, 9}, aside: 2, stored: 7},
		"all of a day":                        {bad: []event.VisitID{3, 6, 9}, days: []int{0, 1, 2}, aside: 3, stored: 6},
		"all":                                 {bad: []event.VisitID{1, 2, 3, 4, 5, 6, 7, 8, 9}, days: []int{0, 1, 2}, aside: 9},
		"on another day than what is stored":  {bad: []event.VisitID{9}, days: []int{0, 1, 2}, aside: 1, stored: 8},
		"the answer without it is lost":       {bad: []event.VisitID{2}, fates: []fate{succeed, succeed, succeed, failAfter}, aside: 1, stored: 8},
		"the first day without it is stored":  {bad: []event.VisitID{2}, days: []int{0, 1, 2}, fates: []fate{succeed, succeed, succeed, failBetween}, aside: 1, stored: 8},
		"the rows without it come late":       {bad: []event.VisitID{2}, fates: []fate{succeed, succeed, succeed, slowToken}, aside: 1, stored: 8},
		"its token is spent":                  {bad: []event.VisitID{2}, fates: []fate{succeed, succeed, succeed, burnToken}, aside: 1, stored: 8},
		"the power fails after its rows came": {bad: []event.VisitID{2}, fates: []fate{succeed, succeed, succeed, powerAfter}, aside: 1, stored: 8},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, dir string) {
				r := newRig(t, dir, Options{})
				for _, visit := range c.bad {
					r.model.bad[visit] = true
				}
				r.model.fates = c.fates
				add(t, r.spool, 1, 9, c.days...)
				r.spool.Seal()
				add(t, r.spool, 10, 12)
				r.spool.Seal()
				r.run(t)
				pass(5 * time.Minute)
				for visit := event.VisitID(1); visit <= 12; visit++ {
					want := 1
					if r.model.bad[visit] {
						want = 0
					}
					if n := r.model.visits()[visit]; n != want {
						t.Errorf("event %d is stored %d times, want %d", visit, n, want)
					}
				}
				if n := r.aside(t, asideRefused); n != c.aside {
					t.Errorf("%v events put aside, want %v", n, c.aside)
				}
				if n := r.value(t, "halfmask_batch_stored_events_total"); n != float64(c.stored+3) {
					t.Errorf("%v events counted as stored, want %d", n, c.stored+3)
				}
				if n := r.value(t, "halfmask_batch_failures_total", failMismatch); n != 0 {
					t.Errorf("%v mismatches counted", n)
				}
				if r.pending() != 0 {
					t.Errorf("%d events are still pending", r.pending())
				}
				r.end(t)
				if err := r.spool.Close(); err != nil {
					t.Fatal(err)
				}
				kept := quarantined(t, dir)
				for _, visit := range c.bad {
					if !kept[visit] {
						t.Errorf("event %d is lost", visit)
					}
				}
			})
		})
	}
}

// Killed between storing the good events and putting the segment aside, the next
// process finds a day that is short of the bad one, which it must keep.
func TestABadEventIsKeptAcrossAStop(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		r := newRig(t, dir, Options{})
		r.model.bad[2] = true
		add(t, r.spool, 1, 3)
		r.spool.Seal()
		r.run(t)
		for len(r.model.visits()) == 0 {
			pass(10 * time.Millisecond)
		}
		r.end(t)
		if err := r.spool.Close(); err != nil {
			t.Fatal(err)
		}
		m := r.model
		r = newRig(t, dir, Options{Sink: m})
		r.run(t)
		pass(time.Minute)
		r.end(t)
		if n := r.aside(t, asideIncomplete); n != 1 {
			t.Errorf("%v events put aside, want 1", n)
		}
		if err := r.spool.Close(); err != nil {
			t.Fatal(err)
		}
		if got := m.visits(); len(got) != 2 || got[1] != 1 || got[3] != 1 || !quarantined(t, dir)[2] {
			t.Errorf("stored %v, want 1 and 3 once each and 2 in quarantine", got)
		}
	})
}

// What cannot be told apart is put aside together, and can come back.
func TestABadBatchDoesNotDamTheRiver(t *testing.T) {
	for name, c := range map[string]struct {
		events, bad int
		vague       bool
		refusals    float64
	}{
		"nobody knows which": {events: 3, bad: 1, vague: true, refusals: badTries - 1},
		"too many":           {events: 100, bad: siftEvents + 1, refusals: siftTries},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, dir string) {
				r := newRig(t, dir, Options{})
				r.model.vague = c.vague
				for visit := range c.bad {
					r.model.bad[event.VisitID(visit+1)] = true
				}
				add(t, r.spool, 1, c.events)
				r.spool.Seal()
				add(t, r.spool, c.events+1, c.events+3)
				r.spool.Seal()
				r.run(t)
				pass(5 * time.Minute)
				if n := len(r.model.visits()); n != 3 {
					t.Errorf("%d events are stored, want the next batch's 3", n)
				}
				if n := r.aside(t, asideBatch); n != float64(c.events) {
					t.Errorf("%v events quarantined, want %d", n, c.events)
				}
				if n := r.value(t, "halfmask_batch_failures_total", failBadData); n != c.refusals {
					t.Errorf("%v failures counted, want %v before the last", n, c.refusals)
				}
				if r.pending() != 0 {
					t.Errorf("%d events are still pending", r.pending())
				}
				r.end(t)

				// Storage was repaired: the file is moved back and the program restarted.
				if err := r.spool.Close(); err != nil {
					t.Fatal(err)
				}
				restore(t, dir)
				m := r.model
				m.bad = nil
				r = newRig(t, dir, Options{Sink: m})
				r.run(t)
				pass(time.Minute)
				m.exactly(t, c.events+3)
				r.end(t)
			})
		})
	}
}

// restore moves quarantined segments back, as an operator would.
func restore(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "quarantine", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Rename(f, filepath.Join(dir, filepath.Base(f))); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRecordsThatDoNotDecode(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		r := newRig(t, dir, Options{})
		add(t, r.spool, 1, 1)
		e := event.Event{Kind: event.Pageview}
		newer := record.Append(nil, &e)
		newer[0]++
		for _, payload := range [][]byte{newer, []byte("\x01garbage"), newer} {
			if _, err := r.spool.Append(payload); err != nil {
				t.Fatal(err)
			}
		}
		add(t, r.spool, 2, 3)
		r.spool.Seal()
		if _, err := r.spool.Append(newer); err != nil { // a segment of nothing else
			t.Fatal(err)
		}
		r.spool.Seal()
		add(t, r.spool, 4, 4)
		r.spool.Seal()
		r.run(t)
		pass(time.Minute)
		r.model.exactly(t, 4)
		if v, m := r.value(t, "halfmask_batch_undecodable_records_total", "version"), r.value(t, "halfmask_batch_undecodable_records_total", "malformed"); v != 3 || m != 1 {
			t.Errorf("%v of another version and %v malformed counted, want 3 and 1", v, m)
		}
		if n := r.value(t, "halfmask_batch_quarantined_events_total"); n != 4 {
			t.Errorf("%v events quarantined, want 4", n)
		}
		if files, err := filepath.Glob(filepath.Join(dir, "quarantine", "*")); err != nil || len(files) != 2 {
			t.Errorf("quarantine holds %d segments, want 2 (%v)", len(files), err)
		}
		if r.pending() != 0 {
			t.Errorf("%d events are still pending", r.pending())
		}
		r.end(t)
	})
}

// A segment that was kept for what an older version could not read comes back
// to a newer one. Its other events are stored already, so its days match no
// more: nothing of it may be lost, and nothing doubled.
func TestWhatAnOlderVersionCouldNotReadIsNotLost(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		old := func(payload []byte, e *event.Event) error {
			if err := record.Decode(payload, e); err != nil {
				return err
			}
			if e.Visit == 2 || e.Visit == 6 {
				return record.ErrVersion
			}
			return nil
		}
		r := newRig(t, dir, Options{Decode: old})
		add(t, r.spool, 1, 3)
		add(t, r.spool, 6, 6, 1) // all that there is of its day
		r.spool.Seal()
		add(t, r.spool, 4, 5)
		r.spool.Seal()
		r.run(t)
		pass(time.Minute)
		r.end(t)
		if err := r.spool.Close(); err != nil {
			t.Fatal(err)
		}
		restore(t, dir)
		m := r.model
		r = newRig(t, dir, Options{Sink: m})
		r.run(t)
		pass(time.Minute)
		if got := slices.Sorted(maps.Keys(m.visits())); !slices.Equal(got, []event.VisitID{1, 3, 4, 5, 6}) {
			t.Errorf("stored %v, want all but 2", got)
		}
		for visit, n := range m.visits() {
			if n != 1 {
				t.Errorf("event %d is stored %d times", visit, n)
			}
		}
		if n := r.value(t, "halfmask_batch_failures_total", failMismatch); n == 0 {
			t.Error("the mismatch is not counted")
		}
		if n := r.value(t, "halfmask_batch_quarantined_events_total"); n != 1 {
			t.Errorf("%v events quarantined, want 1", n)
		}
		if n := r.value(t, "halfmask_batch_stored_events_total"); n != 3 {
			t.Errorf("%v events counted as stored, want the 3 of the segment that are", n)
		}
		if r.pending() != 0 {
			t.Errorf("%d events are still pending", r.pending())
		}
		r.end(t)
		if err := r.spool.Close(); err != nil {
			t.Fatal(err)
		}
		if aside := quarantined(t, dir); !aside[2] {
			t.Error("event 2 is lost")
		}
	})
}

// What storage acknowledges and does not keep does not dam the river: what is too
// old is let go, what is not is kept aside.
func TestWhatStorageDoesNotKeepIsLetGo(t *testing.T)   { testNotKept(t, 93, 0) }
func TestWhatStorageShouldKeepIsPutAside(t *testing.T) { testNotKept(t, 80, 3) }

func testNotKept(t *testing.T, age, aside int) {
	bubble(t, func(t *testing.T, dir string) {
		r := newRig(t, dir, Options{})
		r.model.fates, r.model.sieve = []fate{failBefore}, true
		add(t, r.spool, 1, 3, age)
		r.spool.Seal()
		r.run(t)
		pass(time.Minute)
		r.model.mu.Lock()
		r.model.sieve = false
		r.model.mu.Unlock()
		if r.pending() != 0 {
			t.Errorf("%d events are still pending", r.pending())
		}
		add(t, r.spool, 4, 6)
		pass(time.Minute)
		if n := len(r.model.visits()); n != 3 || r.pending() != 0 {
			t.Errorf("of the next 3 events %d are stored, %d pending", n, r.pending())
		}
		kept, err := filepath.Glob(filepath.Join(dir, "quarantine", "*"))
		if err != nil || (len(kept) > 0) != (aside > 0) {
			t.Errorf("%d events should be aside, there are %v (%v)", aside, kept, err)
		}
		r.end(t)
	})
}
