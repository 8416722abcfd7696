package spool

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// syncing is the host, but for its syncs.
type syncing struct {
	host
	sync func(file) error
}

func (d syncing) Create(path string) (file, error) {
	f, err := d.host.Create(path)
	if err != nil {
		return nil, err
	}
	return &syncingFile{file: f, sync: d.sync}, nil
}

// syncingFile leaves those syncs alone that make a segment.
type syncingFile struct {
	file
	sync  func(file) error
	inUse bool
}

func (f *syncingFile) Map(size int64) ([]byte, error) {
	f.inUse = true
	return f.file.Map(size)
}

func (f *syncingFile) Sync() error {
	if !f.inUse {
		return f.file.Sync()
	}
	return f.sync(f.file)
}

// mustOpenSyncing opens a spool whose syncs of segments in use go through sync.
func mustOpenSyncing(t *testing.T, o Options, sync func(file) error) *Spool {
	t.Helper()
	s, err := open(o, outside{syncing{sync: sync}, rand.Reader, time.Now})
	if err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestIdleMeansIdle(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int32
		s := mustOpenSyncing(t, small(dir), func(f file) error { syncs.Add(1); return f.Sync() })
		go func() { _, _ = s.Next(t.Context()) }()
		mustAppend(t, s, "a")
		time.Sleep(time.Minute)
		if syncs.Swap(0) == 0 {
			t.Error("nothing was ever synced")
		}
		time.Sleep(24 * time.Hour)
		if n := syncs.Load(); n != 0 {
			t.Errorf("%d syncs in an idle day", n)
		}
	})
}

func TestDataIsSyncedInTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := small(dir)
		o.SyncInterval = 50 * time.Millisecond
		synced := make(chan time.Time, 10)
		s := mustOpenSyncing(t, o, func(f file) error { synced <- time.Now(); return f.Sync() })
		for range 10 {
			at := time.Now()
			mustAppend(t, s, "a", "b")
			if late := (<-synced).Sub(at); late > o.SyncInterval {
				t.Errorf("synced after %v", late)
			}
			time.Sleep(time.Second)
			if len(synced) != 0 {
				t.Error("synced again without need")
			}
		}
	})
}

func TestFailedSyncEndsTheSegment(t *testing.T) {
	failed := errors.New("disk says no")
	metrics := prometheus.NewRegistry()
	o := small(t.TempDir())
	o.Registerer = metrics
	o.SealAfter = time.Hour // only the failed sync can seal
	fail := make(chan bool, 100)
	s := mustOpenSyncing(t, o, func(f file) error {
		select {
		case <-fail:
			return failed
		default:
			return f.Sync()
		}
	})
	fail <- true
	mustAppend(t, s, "before")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	first, err := s.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, s, "after")
	s.Seal()
	got, segments := all(t, s)
	if !slices.Equal(got, []string{"after"}) || first.Count != 1 || segments[0].Seq == first.Seq {
		t.Errorf("got %q after a segment with %d records", got, first.Count)
	}
	if n := metric(t, metrics, "halfmask_spool_sync_errors_total"); n != 1 {
		t.Errorf("%v sync errors counted, want 1", n)
	}
}
