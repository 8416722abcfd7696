package spool

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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
		if _, err := s.Append(payload[:50+n%200]); err != nil {
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
