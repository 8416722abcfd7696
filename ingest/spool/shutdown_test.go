package spool

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

func TestShutdown(t *testing.T) {
	t.Run("everything refuses after Close", func(t *testing.T) {
		s := mustOpen(t, small(t.TempDir()))
		mustAppend(t, s, "a", "b")
		s.Seal()
		_, segments := all(t, s)
		mustAppend(t, s, "c")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Append([]byte("d")); err != ErrClosed {
			t.Errorf("Append: got %v, want ErrClosed", err)
		}
		if _, err := s.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Next: got %v, want ErrClosed", err)
		}
		if err := s.Settle(segments[0].Seq); !errors.Is(err, ErrClosed) {
			t.Errorf("Settle: got %v, want ErrClosed", err)
		}
		if err := s.Quarantine(segments[0].Seq); !errors.Is(err, ErrClosed) {
			t.Errorf("Quarantine: got %v, want ErrClosed", err)
		}
		s.Seal()
		if err := s.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		if events, _ := s.Pending(); events != 3 {
			t.Errorf("%d events pending, want 3", events)
		}
		s = mustOpen(t, s.opts)
		if got, _ := all(t, s); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("the next Open found %q", got)
		}
	})
	t.Run("Close while Next waits", func(t *testing.T) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			s := mustOpen(t, small(dir))
			got := make(chan error)
			go func() { _, err := s.Next(t.Context()); got <- err }()
			synctest.Wait()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := <-got; !errors.Is(err, ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
		})
	})
	t.Run("Close while appending", func(t *testing.T) {
		dir := t.TempDir()
		s := mustOpen(t, small(dir))
		var wg sync.WaitGroup
		var mu sync.Mutex
		taken := 0
		started := make(chan struct{})
		for range 4 {
			wg.Go(func() {
				for n := 0; ; n++ {
					if n == 100 {
						select {
						case started <- struct{}{}:
						default:
						}
					}
					if _, err := s.Append(make([]byte, 50)); err != nil {
						if err != ErrClosed {
							t.Error(err)
						}
						mu.Lock()
						taken += n
						mu.Unlock()
						return
					}
				}
			})
		}
		<-started
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		s = mustOpen(t, small(dir))
		if got, _ := all(t, s); len(got) != taken {
			t.Errorf("%d events were taken, %d are there", taken, len(got))
		}
	})
}
