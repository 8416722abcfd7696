package storage

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/batch"
	"github.com/halfmask/halfmask/ingest/record"
	"github.com/halfmask/halfmask/ingest/spool"
	"github.com/halfmask/halfmask/internal/testkit"
)

// renameDelay is how long every rename takes in the engine: the time between
// its noting a deduplication token and showing the rows.
const renameDelay = 2 * time.Second

// slowRenames makes every rename in a process take renameDelay, until it is
// called off.
func slowRenames(t *testing.T, pid int) (end func()) {
	t.Helper()
	const calls = "rename,renameat,renameat2"
	trace := exec.Command("strace", "-f", "-q", "-o", filepath.Join(t.TempDir(), "trace"), "-p", fmt.Sprint(pid),
		"-e", "trace="+calls, "-e", fmt.Sprintf("inject=%s:delay_enter=%d", calls, renameDelay.Microseconds()))
	var said bytes.Buffer
	trace.Stderr = &said
	if err := trace.Start(); err != nil {
		t.Fatalf("cannot trace the engine; `make strace` installs strace: %v", err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = trace.Process.Signal(os.Interrupt) // lets go of the engine
			_ = trace.Wait()
		}
	}
	t.Cleanup(end)
	status := fmt.Sprintf("/proc/%d/status", pid)
	eventually(t, "the engine is traced", func() bool {
		text, err := os.ReadFile(status)
		return err == nil && strings.Contains(string(text), "TracerPid:\t"+fmt.Sprint(trace.Process.Pid)+"\n")
	})
	return end
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// slowServer is an engine whose renames can be slowed down and whose
// connections can be broken.
type slowServer struct {
	*Store
	lines *fragile
	pid   int
	dir   string
}

func openSlow(t *testing.T) *slowServer {
	t.Helper()
	dir := t.TempDir()
	e := testkit.NewEngine(t, dir)
	s := &slowServer{lines: &fragile{dial: e.Dial}, pid: e.PID(), dir: dir}
	o := options(e, "halfmask")
	o.Dial = s.lines.Dial
	var err error
	if s.Store, err = Open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return s
}

// noted is how many bytes of deduplication tokens the engine has noted.
func (s *slowServer) noted(t *testing.T) (bytes int64) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(s.dir, "data", "store", "*", "*", "deduplication_logs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, log := range logs {
		if info, err := os.Stat(log); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}

// The server notes an insert's token, then shows its rows. A connection that
// breaks between the two leaves an insert at work of which nobody hears again:
// its rows must be found, and not be brought a second time. (This engine lets
// nobody look at the table meanwhile; for one that does, package batch asks
// whether it is still at work, and its tests have such a one.)
func TestAnInsertThatOutlivesItsConnectionIsNotRepeated(t *testing.T) {
	s := openSlow(t)
	segments, err := spool.Open(spool.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	const events = 50
	for _, e := range daysAgo(events, 1) {
		if err := segments.Append(record.Append(nil, e)); err != nil {
			t.Fatal(err)
		}
	}
	end := slowRenames(t, s.pid)
	before := s.noted(t)
	shipper := batch.New(batch.Options{Source: segments, Sink: s.Store})
	shipped := make(chan error, 1)
	go func() { shipped <- shipper.Drain(t.Context()) }()
	eventually(t, "the token is noted", func() bool { return s.noted(t) > before })
	s.lines.reset() // long before the rename
	if err := <-shipped; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server has ended all inserts", func() bool {
		return ask[uint64](t, s.Store, "SELECT count() FROM system.processes WHERE query_kind = 'Insert'") == 0
	})
	end()
	if n := ask[uint64](t, s.Store, "SELECT count() FROM events"); n != events {
		t.Errorf("%d rows are stored of %d events", n, events)
	}
	if err := segments.Close(); err != nil {
		t.Error(err)
	}
}

// The same for what is inserted once for all collectors: while the first one's
// row is on its way, a second adder must not bring its own.
func TestASecondAdderWaitsForTheFirst(t *testing.T) {
	s := openSlow(t)
	end := slowRenames(t, s.pid)
	before := s.noted(t)
	added := make(chan *event.Site, 2)
	add := func() {
		site, _ := s.AddSite(t.Context(), "example.com", "UTC")
		added <- site
	}
	go add()
	eventually(t, "the token is noted", func() bool { return s.noted(t) > before })
	s.lines.reset()
	add()
	winners := slices.DeleteFunc([]*event.Site{<-added, <-added}, func(site *event.Site) bool { return site == nil })
	eventually(t, "the server has ended all inserts", func() bool {
		return ask[uint64](t, s.Store, "SELECT count() FROM system.processes WHERE query_kind = 'Insert'") == 0
	})
	end()
	if len(winners) > 1 {
		t.Errorf("%d adders won", len(winners))
	}
	if n := ask[uint64](t, s.Store, "SELECT count() FROM sites"); n != 1 {
		t.Errorf("%d rows for one site", n)
	}
}
