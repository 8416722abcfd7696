package spool

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// childDir makes the test binary play the process that is killed.
const childDir = "HALFMASK_SPOOL_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir, os.Getenv(childDir+"_FROM")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child appends numbered payloads until it is killed, and acknowledges each on
// standard output.
func child(dir, from string) error {
	var n uint64
	if _, err := fmt.Sscan(from, &n); err != nil {
		return err
	}
	s, err := Open(small(dir))
	if err != nil {
		return err
	}
	go func() { // a reader, so that segments are sealed and settled as in life
		for {
			if _, err := s.Next(context.Background()); err != nil {
				return
			}
		}
	}()
	payload := make([]byte, 250)
	var ack [8]byte
	for ; ; n++ {
		binary.LittleEndian.PutUint64(payload, n)
		if err := s.Append(payload[:50+n%200]); err != nil {
			return err
		}
		binary.LittleEndian.PutUint64(ack[:], n)
		if _, err := os.Stdout.Write(ack[:]); err != nil {
			return err
		}
	}
}

func startChild(t *testing.T, dir string, from uint64) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprintf("%s_FROM=%d", childDir, from))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if stderr.Len() > 0 {
			t.Error(stderr.String())
		}
	})
	return cmd, bufio.NewReader(out)
}

func TestKill(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	var from, acked uint64
	var first []uint64 // of each run
	for range 20 {
		first = append(first, from)
		cmd, out := startChild(t, dir, from)
		run := 1 + random.IntN(3000)
		var ack [8]byte
		for range run {
			if _, err := out.Read(ack[:1]); err != nil {
				t.Fatal(err)
			}
			if _, err := readFull(out, ack[1:]); err != nil {
				t.Fatal(err)
			}
			acked = binary.LittleEndian.Uint64(ack[:]) + 1
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		// What it could still say before it died counts too.
		for {
			if _, err := readFull(out, ack[:]); err != nil {
				break
			}
			acked = binary.LittleEndian.Uint64(ack[:]) + 1
		}
		_ = cmd.Wait()
		// One append may have been complete and not acknowledged; leave its
		// number out.
		from = acked + 1
	}

	metrics := prometheus.NewRegistry()
	o := small(dir)
	o.Registerer = metrics
	s := mustOpen(t, o)
	got, _ := all(t, s)
	next, run := uint64(0), 0
	for _, p := range got {
		n := binary.LittleEndian.Uint64([]byte(p))
		if len(p) != 50+int(n%200) {
			t.Fatalf("payload %d has %d bytes", n, len(p))
		}
		if run+1 < len(first) && n == first[run+1] {
			// The number before it may be there or not.
			if run++; next == n-1 {
				next = n
			}
		}
		if n != next {
			t.Fatalf("got payload %d, want %d (run %d)", n, next, run)
		}
		next++
	}
	if next < acked || next > acked+1 {
		t.Errorf("payloads up to %d, acknowledged up to %d", next, acked)
	}
	if n := metric(t, metrics, "halfmask_spool_damaged_records_total"); n != 0 {
		t.Errorf("%v records counted as damaged: a kill damages nothing", n)
	}
}

func readFull(r *bufio.Reader, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		m, err := r.Read(b[n:])
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

func TestTwoProcessesCannotShareAFolder(t *testing.T) {
	dir := t.TempDir()
	cmd, out := startChild(t, dir, 0)
	if _, err := out.ReadByte(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(small(dir))
	if err == nil {
		_ = s.Close()
		t.Fatal("the folder of a living process was opened")
	}
	if !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("the error does not say what is wrong: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	s = mustOpen(t, small(dir))
	if _, err := Open(small(dir)); err == nil {
		t.Error("the same process opened the folder twice")
	}
	if got, _ := all(t, s); len(got) == 0 {
		t.Error("nothing of what the other process took is there")
	}
}

func TestCap(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		metrics := prometheus.NewRegistry()
		s := mustOpen(t, Options{Dir: dir, SegmentBytes: minSegment, MaxBytes: 4*minSegment + 1000, Registerer: metrics})
		payload := make([]byte, 1000)
		taken := 0
		fill := func() {
			t.Helper()
			for {
				synctest.Wait() // so that every segment that may be made is made
				err := s.Append(payload)
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
			if err := s.Append(payload); err != ErrFull {
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
	two := int64(2 * minSegment) // the active and the prepared one
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
			if err := os.Truncate(path, minSegment); err != nil { // as a kill leaves it
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
			err := s.Append(payload)
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
			if err := s.Append(payload); err != nil {
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

func TestQuarantine(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		// The file's time is the real one, the bubble's clock is not.
		time.Sleep(time.Until(time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)))
		o := small(dir)
		o.QuarantineAge = 24 * time.Hour
		s := mustOpen(t, o)
		mustAppend(t, s, "bad")
		s.Seal()
		mustAppend(t, s, "good")
		s.Seal()
		_, segments := all(t, s)
		if err := os.Chtimes(s.path(segments[0].Seq), time.Time{}, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := s.Quarantine(segments[0].Seq); err != nil {
			t.Fatal(err)
		}
		if err := s.Quarantine(segments[0].Seq); err == nil {
			t.Error("a segment was quarantined twice")
		}
		quarantined := strings.Replace(s.path(segments[0].Seq), dir, dir+"/"+quarantineName, 1)
		if events, _ := s.Pending(); events != 1 {
			t.Errorf("%d events pending, want 1", events)
		}
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		if _, err := os.Stat(quarantined); err != nil {
			t.Errorf("the quarantined segment is gone before its time: %v", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, err := os.Stat(quarantined); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the quarantined segment is still there after its time: %v", err)
		}
	})
}
