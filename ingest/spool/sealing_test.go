package spool

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

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
				if _, err := s.Append(make([]byte, s.maxPayload)); err != nil {
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
