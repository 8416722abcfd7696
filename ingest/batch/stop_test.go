package batch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/halfmask/halfmask/ingest/spool"
)

func TestStop(t *testing.T) {
	t.Run("Drain ships what is not sealed", func(t *testing.T) {
		bubble(t, func(t *testing.T, dir string) {
			r := newRig(t, dir, Options{})
			r.run(t)
			pass(time.Minute)
			add(t, r.spool, 1, 500) // several segments
			start := time.Now()
			if err := r.shipper.Drain(t.Context()); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("took %v", took)
			}
			if err := <-r.stopped; err != nil {
				t.Errorf("Run returned %v", err)
			}
			r.model.exactly(t, 500)
			if r.pending() != 0 {
				t.Errorf("%d events are still pending", r.pending())
			}
			if err := r.shipper.Drain(t.Context()); err != nil {
				t.Errorf("second Drain: %v", err)
			}
			if err := r.shipper.Run(t.Context()); err != nil {
				t.Errorf("Run after Drain: %v", err)
			}
		})
	})
	t.Run("Drain without Run", func(t *testing.T) {
		bubble(t, func(t *testing.T, dir string) {
			r := newRig(t, dir, Options{})
			add(t, r.spool, 1, 5)
			if err := r.shipper.Drain(t.Context()); err != nil {
				t.Error(err)
			}
			r.model.exactly(t, 5)
		})
	})
	t.Run("an insert under way when Run ends is waited for by Drain", func(t *testing.T) {
		bubble(t, func(t *testing.T, dir string) {
			r := newRig(t, dir, Options{InsertTimeout: 10 * time.Minute})
			r.model.fates = []fate{hangAfter}
			add(t, r.spool, 1, 5)
			r.spool.Seal()
			r.run(t)
			pass(time.Minute)
			r.end(t)
			if err := r.shipper.Drain(t.Context()); err != nil {
				t.Error(err)
			}
			if _, inserts := r.model.seen(); len(inserts) != 1 {
				t.Errorf("%d inserts, want the one", len(inserts))
			}
			r.model.exactly(t, 5)
		})
	})
	t.Run("what the deadline cuts off stays in the spool", func(t *testing.T) {
		bubble(t, func(t *testing.T, dir string) {
			r := newRig(t, dir, Options{})
			r.run(t)
			r.model.mu.Lock()
			r.model.away(time.Hour)
			r.model.mu.Unlock()
			add(t, r.spool, 1, 500)
			deadline, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			start := time.Now()
			if err := r.shipper.Drain(deadline); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want context.DeadlineExceeded", err)
			}
			if took := time.Since(start); took != 5*time.Second {
				t.Errorf("took %v", took)
			}
			if r.pending() != 500 {
				t.Errorf("%d events pending, want 500", r.pending())
			}
			pass(2 * time.Hour)
			if err := r.shipper.Drain(t.Context()); err != nil {
				t.Error(err)
			}
			r.model.exactly(t, 500)
		})
	})
	t.Run("the source is closed under Run", func(t *testing.T) {
		bubble(t, func(t *testing.T, dir string) {
			r := newRig(t, dir, Options{})
			r.run(t)
			synctest.Wait()
			if err := r.spool.Close(); err != nil {
				t.Error(err)
			}
			if err := <-r.stopped; !errors.Is(err, spool.ErrClosed) {
				t.Errorf("Run returned %v, want spool.ErrClosed", err)
			}
		})
	})
}

// Tokens spent in one run of the server are not counted in the next: a process
// that takes over would begin with the first and find it unused, while rows
// under a later one are on their way.
func TestAnotherProcessBeginsWithATokenThatIsUsed(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		r := newRig(t, dir, Options{})
		r.model.fates = []fate{burnToken, succeed, crashToken, slowToken}
		add(t, r.spool, 1, 3)
		r.spool.Seal()
		r.run(t)
		for inserts := 0; inserts < 4; {
			pass(5 * time.Millisecond)
			_, seen := r.model.seen()
			inserts = len(seen)
		}
		pass(20 * time.Millisecond)
		r.end(t)
		if err := r.spool.Close(); err != nil {
			t.Fatal(err)
		}
		m := r.model
		r = newRig(t, dir, Options{Sink: m})
		r.run(t)
		pass(5 * time.Minute)
		m.exactly(t, 3)
		if r.pending() != 0 {
			t.Errorf("%d events are still pending", r.pending())
		}
		r.end(t)
	})
}
