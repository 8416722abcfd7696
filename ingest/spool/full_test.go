package spool

import (
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

func TestCap(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		metrics := prometheus.NewRegistry()
		s := mustOpen(t, Options{Dir: dir, SegmentBytes: smallSegment, MaxBytes: 4*smallSegment + 1000, Registerer: metrics})
		payload := make([]byte, 1000)
		taken := 0
		fill := func() {
			t.Helper()
			for {
				synctest.Wait() // so that every segment that may be made is made
				_, err := s.Append(payload)
				if err == ErrFull {
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if taken++; taken > 1000 {
					t.Fatal("the cap is not kept")
				}
			}
		}
		fill()
		if _, bytes := s.Pending(); bytes > s.opts.MaxBytes {
			t.Errorf("%d bytes, the cap is %d", bytes, s.opts.MaxBytes)
		}
		if taken < 3*60 {
			t.Errorf("full after %d events", taken)
		}
		if n := metric(t, metrics, "halfmask_spool_refused_events_total"); n != 1 {
			t.Errorf("%v refusals counted, want 1", n)
		}
		for range 3 { // refusing again and again changes nothing
			if _, err := s.Append(payload); err != ErrFull {
				t.Errorf("got %v, want ErrFull", err)
			}
		}
		if s.Writable() {
			t.Error("a full spool calls itself writable")
		}
		g, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before := taken
		if err := s.Settle(g.Seq); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !s.Writable() {
			t.Error("there is room again, but the spool does not call itself writable")
		}
		fill()
		if taken == before {
			t.Error("there is room again, but nothing is taken")
		}
		s.Seal()
		got, _ := all(t, s)
		if len(got)+g.Count != taken {
			t.Errorf("%d events taken, %d handed out", taken, len(got)+g.Count)
		}
	})
}

func TestSealedSegmentsGiveBackWhatTheyDoNotUse(t *testing.T) {
	two := int64(2 * smallSegment) // the active and the prepared one
	check := func(t *testing.T, s *Spool) {
		t.Helper()
		info, err := os.Stat(s.path(s.entries[0].seq))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() != 2*headerSize {
			t.Errorf("one small record occupies %d bytes", info.Size())
		}
		if _, bytes := s.Pending(); bytes != two+info.Size() {
			t.Errorf("Pending says %d bytes, want %d", bytes, two+info.Size())
		}
	}
	t.Run("sealed now", func(t *testing.T) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			s := mustOpen(t, small(dir))
			mustAppend(t, s, "a")
			s.Seal()
			time.Sleep(time.Second)
			synctest.Wait()
			check(t, s)
		})
	})
	for _, sealed := range []bool{true, false} {
		t.Run(fmt.Sprintf("found, sealed %v", sealed), func(t *testing.T) {
			dir, path := written(t, sealed, []string{"a"})
			if err := os.Truncate(path, smallSegment); err != nil { // as a kill leaves it
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				s := mustOpen(t, small(dir))
				synctest.Wait()
				check(t, s)
			})
		})
	}
}

func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	const size = 1 << 20
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("needs the right to mount a small tmpfs (root in a mount namespace that allows it): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		o := small(dir)
		s := mustOpen(t, o)
		payload := make([]byte, 1000)
		taken := 0
		for {
			synctest.Wait()
			_, err := s.Append(payload)
			if err == ErrFull {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if taken++; taken > size/1000 {
				t.Fatal("more was taken than the disk has room for")
			}
		}
		if taken < size/1000/2 {
			t.Errorf("full after %d events of 1000 bytes on a disk of %d", taken, size)
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err != nil {
			t.Fatal(err)
		}
		if free := int64(fs.Bavail) * fs.Bsize; free >= o.SegmentBytes {
			t.Errorf("%d bytes are still free", free)
		}
		time.Sleep(time.Hour)
		// Somebody makes room without telling the spool.
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", 2*size)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(diskRetry)
		synctest.Wait()
		for range 300 {
			synctest.Wait()
			if _, err := s.Append(payload); err != nil {
				t.Fatalf("there is room again: %v", err)
			}
			taken++
		}
		s.Seal()
		if got, _ := all(t, s); len(got) != taken {
			t.Errorf("%d events taken, %d handed out", taken, len(got))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
