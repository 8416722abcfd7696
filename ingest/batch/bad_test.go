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

func TestABadBatchDoesNotDamTheRiver(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		r := newRig(t, dir, Options{})
		r.model.bad[2] = true
		add(t, r.spool, 1, 3)
		r.spool.Seal()
		add(t, r.spool, 4, 6)
		r.spool.Seal()
		r.run(t)
		pass(5 * time.Minute)
		if got := slices.Sorted(maps.Keys(r.model.visits())); !slices.Equal(got, []event.VisitID{4, 5, 6}) {
			t.Errorf("stored %v, want 4 to 6", got)
		}
		if n := r.value(t, "halfmask_batch_quarantined_events_total"); n != 3 {
			t.Errorf("%v events quarantined, want 3", n)
		}
		if n := r.value(t, "halfmask_batch_failures_total", failBadData); n != badTries-1 {
			t.Errorf("%v failures counted, want %d before the last", n, badTries-1)
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
		m.exactly(t, 6)
		r.end(t)
	})
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
			if err := r.spool.Append(payload); err != nil {
				t.Fatal(err)
			}
		}
		add(t, r.spool, 2, 3)
		r.spool.Seal()
		if err := r.spool.Append(newer); err != nil { // a segment of nothing else
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
