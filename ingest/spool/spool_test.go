package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// small makes segments fill quickly.
func small(dir string) Options {
	return Options{Dir: dir, SegmentBytes: minSegment, MaxBytes: 64 << 20}
}

func mustOpen(t *testing.T, o Options) *Spool {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func mustAppend(t *testing.T, s *Spool, payloads ...string) {
	t.Helper()
	for _, p := range payloads {
		if err := s.Append([]byte(p)); err != nil {
			t.Fatal(err)
		}
	}
}

// ended is a context that makes Next answer at once.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// all hands out what is sealed and returns its payloads.
func all(t *testing.T, s *Spool) (payloads []string, segments []*Segment) {
	t.Helper()
	for {
		g, err := s.Next(ended())
		if errors.Is(err, context.Canceled) {
			return payloads, segments
		}
		if err != nil {
			t.Fatal(err)
		}
		segments = append(segments, g)
		before := len(payloads)
		for p := range g.Records() {
			payloads = append(payloads, string(p))
		}
		if n := len(payloads) - before; n != g.Count {
			t.Errorf("segment %d: Count is %d, Records gave %d", g.Seq, g.Count, n)
		}
	}
}

func numbered(n int) []string {
	p := make([]string, n)
	for i := range p {
		p[i] = fmt.Sprintf("payload %d %s", i, strings.Repeat("x", i%300))
	}
	return p
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	m, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWhatGoesInComesOutInOrder(t *testing.T) {
	s := mustOpen(t, small(t.TempDir()))
	want := numbered(5000) // several segments
	mustAppend(t, s, want...)
	s.Seal()
	got, segments := all(t, s)
	if !slices.Equal(got, want) {
		t.Fatalf("got %d payloads, want %d in the same order", len(got), len(want))
	}
	if len(segments) < 3 {
		t.Fatalf("only %d segments: the test tests too little", len(segments))
	}
	for i, g := range segments {
		if g.Found {
			t.Error("a segment of this run says it was found at the start")
		}
		if i > 0 && g.Seq <= segments[i-1].Seq {
			t.Error("sequence numbers do not ascend")
		}
		if err := s.Settle(g.Seq); err != nil {
			t.Error(err)
		}
	}
	if events, _ := s.Pending(); events != 0 {
		t.Errorf("%d events pending after all was settled", events)
	}
}

func TestAppendConcurrently(t *testing.T) {
	s := mustOpen(t, small(t.TempDir()))
	const writers, each = 8, 2000
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			p := make([]byte, 100)
			binary.LittleEndian.PutUint32(p, uint32(w))
			for i := range each {
				binary.LittleEndian.PutUint32(p[4:], uint32(i))
				if err := s.Append(p); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	next := make([]uint32, writers)
	seen := 0
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for seen < writers*each {
			g, err := s.Next(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			for p := range g.Records() {
				w, i := binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:])
				if i != next[w] {
					t.Errorf("writer %d: got its record %d, want %d", w, i, next[w])
				}
				next[w] = i + 1
				seen++
			}
			if err := s.Settle(g.Seq); err != nil {
				t.Error(err)
			}
		}
	}()
	wg.Wait()
	s.Seal()
	<-done
	cancel()
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, small(dir))
	id := s.ID()
	want := numbered(1000)
	mustAppend(t, s, want...)
	_, segments := all(t, s)
	last := segments[len(segments)-1].Seq
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = mustOpen(t, small(dir))
	if s.ID() != id || id == 0 {
		t.Errorf("the spool's number is %x, was %x", s.ID(), id)
	}
	var backlog []string
	for g, err := range s.Backlog() {
		if err != nil {
			t.Fatal(err)
		}
		for p := range g.Records() {
			backlog = append(backlog, string(p))
		}
	}
	if !slices.Equal(backlog, want) {
		t.Errorf("the backlog has %d payloads, want %d", len(backlog), len(want))
	}
	mustAppend(t, s, "new")
	s.Seal()
	got, segments := all(t, s)
	if !slices.Equal(got, append(want, "new")) {
		t.Errorf("got %d payloads, want %d, found ones first", len(got), len(want)+1)
	}
	for i, g := range segments {
		if g.Found != (i < len(segments)-1) {
			t.Errorf("segment %d of %d: Found is %v", i, len(segments), g.Found)
		}
		if err := s.Settle(g.Seq); err != nil {
			t.Error(err)
		}
	}
	if got := segments[len(segments)-1].Seq; got <= last {
		t.Errorf("new segment has number %d, there was %d before", got, last)
	}
	last = segments[len(segments)-1].Seq
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if f := files(t, dir); len(f) != 0 {
		t.Errorf("after everything was settled and closed there is still %v", f)
	}

	// Nothing is left that could tell which numbers were used.
	s = mustOpen(t, small(dir))
	mustAppend(t, s, "newer")
	s.Seal()
	_, segments = all(t, s)
	if segments[0].Seq <= last {
		t.Errorf("number %d was used again after %d", segments[0].Seq, last)
	}
}

func TestNumbersAreNotUsedAgainWhenTheClockGoesBack(t *testing.T) {
	dir := t.TempDir()
	future := identity{id: 7, reserved: 1 << 50}
	if err := makeFolder(dir); err != nil {
		t.Fatal(err)
	}
	if err := future.write(dir); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, small(dir))
	mustAppend(t, s, "x")
	s.Seal()
	_, segments := all(t, s)
	if segments[0].Seq < 1<<50 {
		t.Errorf("number %d may have been used", segments[0].Seq)
	}
}

func TestSealing(t *testing.T) {
	const after = 3 * time.Second
	run := func(name string, f func(t *testing.T, s *Spool)) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				o := small(dir)
				o.SealAfter = after
				s := mustOpen(t, o)
				f(t, s)
			})
		})
	}
	// next waits for a segment and returns how long that took.
	next := func(t *testing.T, s *Spool) (*Segment, time.Duration) {
		start := time.Now()
		g, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return g, time.Since(start)
	}
	run("a waiting reader gets the first record when it is old enough", func(t *testing.T, s *Spool) {
		go func() {
			time.Sleep(time.Minute)
			mustAppend(t, s, "a")
			time.Sleep(time.Second)
			mustAppend(t, s, "b")
		}()
		g, took := next(t, s)
		if took != time.Minute+after || g.Count != 2 {
			t.Errorf("got %d records after %v, want 2 after %v", g.Count, took, time.Minute+after)
		}
	})
	run("without a reader a segment grows", func(t *testing.T, s *Spool) {
		mustAppend(t, s, "a")
		time.Sleep(time.Hour)
		mustAppend(t, s, "b")
		if _, err := s.Next(ended()); !errors.Is(err, context.Canceled) {
			t.Errorf("somebody who only asks got %v, want context.Canceled", err)
		}
		g, took := next(t, s)
		if took != 0 || g.Count != 2 {
			t.Errorf("a late reader got %d records after %v, want 2 at once", g.Count, took)
		}
	})
	run("a reader that gave up does not count", func(t *testing.T, s *Spool) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		mustAppend(t, s, "a")
		if _, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want context.DeadlineExceeded", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if f := files(t, s.opts.Dir); len(f) != 2 {
			t.Errorf("%d files, want the active and the prepared one", len(f))
		}
	})
	run("a full segment goes at once", func(t *testing.T, s *Spool) {
		var appending sync.WaitGroup
		appending.Go(func() {
			for range 2 {
				if err := s.Append(make([]byte, s.maxPayload)); err != nil {
					t.Error(err)
				}
			}
		})
		if g, took := next(t, s); took != 0 || g.Count != 1 {
			t.Errorf("got %d records after %v, want 1 at once", g.Count, took)
		}
		appending.Wait()
	})
	run("Seal wakes the reader, an empty segment is not sealed", func(t *testing.T, s *Spool) {
		go func() {
			s.Seal()
			time.Sleep(time.Second)
			mustAppend(t, s, "a")
			s.Seal()
			s.Seal()
		}()
		if g, took := next(t, s); took != time.Second || g.Count != 1 {
			t.Errorf("got %d records after %v, want 1 after a second", g.Count, took)
		}
		if _, err := s.Next(ended()); !errors.Is(err, context.Canceled) {
			t.Errorf("an empty segment was handed out: %v", err)
		}
	})
}

// mustOpenSyncing opens a spool whose syncs go through sync.
func mustOpenSyncing(t *testing.T, o Options, sync func(*os.File) error) *Spool {
	t.Helper()
	s, err := open(o, sync)
	if err != nil {
		t.Fatal(err)
	}
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
		s := mustOpenSyncing(t, small(dir), func(f *os.File) error { syncs.Add(1); return fdatasync(f) })
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
		s := mustOpenSyncing(t, o, func(f *os.File) error { synced <- time.Now(); return fdatasync(f) })
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

func TestOptions(t *testing.T) {
	cases := map[string]Options{
		"no folder":         {},
		"tiny segments":     {Dir: "x", SegmentBytes: 100},
		"huge segments":     {Dir: "x", SegmentBytes: 2 << 30, MaxBytes: 16 << 30},
		"cap of 1 segment":  {Dir: "x", MaxBytes: 17 << 20},
		"folder is a file":  {Dir: "spool_test.go"},
		"folder cannot be":  {Dir: "/proc/nothing/here"},
		"negative segments": {Dir: "x", SegmentBytes: -1},
	}
	for name, o := range cases {
		if s, err := Open(o); err == nil {
			t.Errorf("%s: Open succeeded", name)
			_ = s.Close()
		}
	}
	if _, err := os.Stat("x"); err == nil {
		t.Error("a refused Open made a folder")
	}
}

func TestPayloadSize(t *testing.T) {
	s := mustOpen(t, Options{Dir: t.TempDir(), SegmentBytes: 2 << 20, MaxBytes: 64 << 20})
	for _, n := range []int{0, MaxPayload + 1} {
		if err := s.Append(make([]byte, n)); err != ErrSize {
			t.Errorf("%d bytes: got %v, want ErrSize", n, err)
		}
	}
	big := strings.Repeat("x", MaxPayload)
	mustAppend(t, s, "1", big, "12345678", big, "123456789")
	s.Seal()
	if got, _ := all(t, s); !slices.Equal(got, []string{"1", big, "12345678", big, "123456789"}) {
		t.Errorf("got %d payloads back", len(got))
	}
}

func TestFilesAreForTheOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "spool")
	s := mustOpen(t, small(dir))
	mustAppend(t, s, "a")
	s.Seal()
	_, segments := all(t, s)
	if err := s.Quarantine(segments[0].Seq); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	s := mustOpen(t, Options{Dir: t.TempDir()})
	p := make([]byte, 250)
	if n := testing.AllocsPerRun(1000, func() { _ = s.Append(p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
