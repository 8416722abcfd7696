package batch

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/record"
)

// How the shipper paces itself: what overlaps, what waits, what grows.

func TestTheNextBatchIsReadWhileOneIsInserted(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		var decoded atomic.Int32
		r := newRig(t, dir, Options{Decode: func(b []byte, e *event.Event) error {
			err := record.Decode(b, e)
			if e.Visit > 3 {
				decoded.Add(1)
			}
			return err
		}})
		r.model.fates = []fate{hangAfter}
		add(t, r.spool, 1, 3)
		r.spool.Seal()
		add(t, r.spool, 4, 6)
		r.spool.Seal()
		r.run(t)
		pass(30 * time.Second)
		if decoded.Load() != 3 {
			t.Errorf("%d of the next batch's 3 events were read while storage was busy", decoded.Load())
		}
		if _, inserts := r.model.seen(); len(inserts) != 1 {
			t.Errorf("%d inserts, want 1: order must be kept", len(inserts))
		}
		pass(10 * time.Minute)
		r.model.exactly(t, 6)
		r.end(t)
	})
}

func TestBatchesGrowWhileAnInsertIsUnderWay(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		r := newRig(t, dir, Options{InsertTimeout: time.Hour})
		r.model.fates = []fate{hangAfter}
		add(t, r.spool, 1, 1)
		r.spool.Seal()
		r.run(t)
		for v := 2; v <= 100; v++ {
			pass(time.Second)
			add(t, r.spool, v, v)
		}
		pass(10 * time.Minute)
		r.model.exactly(t, 100)
		if _, inserts := r.model.seen(); len(inserts) != 2 {
			t.Errorf("%d inserts: what came during the first should be one batch", len(inserts))
		}
		r.end(t)
	})
}

// An acknowledged batch keeps its segment in memory until it is settled.
func TestAcknowledgedBatchesDoNotPileUp(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		r := newRig(t, dir, Options{})
		for v := 1; v <= 5*flushBatches; v++ {
			add(t, r.spool, v, v)
			r.spool.Seal()
		}
		r.run(t)
		pass(500 * time.Millisecond) // less than flushAfter
		if r.pending() > flushBatches {
			t.Errorf("%d batches are not settled, want at most %d", r.pending(), flushBatches)
		}
		r.model.exactly(t, 5*flushBatches)
		r.end(t)
	})
}
