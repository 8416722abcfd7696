package engine_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/halfmask/halfmask/internal/testkit"
	"github.com/halfmask/halfmask/storage/engine"
)

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// stopProcess freezes a process, as a machine out of memory would.
func stopProcess(t *testing.T, pid int) {
	t.Helper()
	if pid <= 0 {
		t.Fatalf("no process to stop: %d", pid) // 0 would be this one and its group
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}

func TestKilledChildComesBack(t *testing.T) {
	registry := prometheus.NewRegistry()
	library, err := testkit.Library()
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(t.Context(), engine.Options{Library: library, Dir: t.TempDir(), Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(context.Background())
	writer := connect(t, e, e.Writer(), "halfmask")
	exec(t, writer, "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")
	as := e.Writer()
	for i := range 3 {
		exec(t, writer, fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
		epoch, pid := e.Epoch(), e.PID()
		if pid == 0 {
			t.Fatal("no child")
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a new epoch", func() bool { return e.Up() && e.Epoch() != epoch })
		if e.PID() == pid {
			t.Error("the dead child's number is still told")
		}
		if e.Writer() != as {
			t.Error("the credentials have changed")
		}
		eventually(t, "the pool has dropped the dead connections", func() bool { return writer.Ping(context.Background()) == nil })
		if n := count(t, writer, "t"); n != uint64(i+1) {
			t.Errorf("%d rows after kill %d, want %d", n, i, i+1)
		}
	}
	want := "# HELP halfmask_engine_restarts_total Times the local engine was started again after it died or hung.\n" +
		"# TYPE halfmask_engine_restarts_total counter\nhalfmask_engine_restarts_total 3\n" +
		"# HELP halfmask_engine_up Whether the local ClickHouse engine runs and has answered.\n" +
		"# TYPE halfmask_engine_up gauge\nhalfmask_engine_up 1\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "halfmask_engine_restarts_total", "halfmask_engine_up"); err != nil {
		t.Error(err)
	}
	if e.Restarts() != 3 {
		t.Errorf("%d restarts told, want 3", e.Restarts())
	}
	writer.Close()
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if n, _ := testutil.GatherAndCount(registry); n != 0 {
		t.Errorf("%d metrics left after Close", n)
	}
}

func TestHungChildIsReplaced(t *testing.T) {
	library, err := testkit.Library()
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Tuned(t.Context(), engine.Options{Library: library, Dir: t.TempDir()}, engine.Clock{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(context.Background())
	var pid int
	eventually(t, "a child", func() bool { pid = e.PID(); return pid != 0 })
	stopProcess(t, pid)
	eventually(t, "the hung child's end", func() bool { return !alive(pid) })
	eventually(t, "a new child", func() bool { return e.Up() && e.PID() != pid })
}

// TestAStartThatHangsIsGivenUp: an engine that neither ends nor does anything must
// not be waited for without end.
func TestAStartThatHangsIsGivenUp(t *testing.T) {
	program := t.TempDir() + "/clickhouse"
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Tuned(t.Context(), engine.Options{Library: program, Dir: t.TempDir()}, engine.Clock{})
	if err == nil {
		_ = e.Close(t.Context())
		t.Fatal("started")
	}
	if !strings.Contains(err.Error(), "has done nothing for") {
		t.Errorf("error %q does not say why", err)
	}
}

// TestStartKeepsTrying: what keeps a first start in the background from coming
// about is told, and once it is gone the engine comes.
func TestStartKeepsTrying(t *testing.T) {
	library, err := testkit.Library()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "libchdb.so")
	if err := os.WriteFile(link, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Start(engine.Options{Library: link, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(context.Background())
	if err := e.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot load the engine's library") {
		t.Errorf("the first start's failure is told as %v", err)
	}
	if e.Up() || e.Epoch() != "" {
		t.Error("it says that it is up")
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(library, link); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the engine comes", e.Up)
	exec(t, connect(t, e, e.Writer(), "halfmask"), "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")
}

func TestStartIsClosedWhileItTries(t *testing.T) {
	library := filepath.Join(t.TempDir(), "libchdb.so")
	if err := os.WriteFile(library, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Start(engine.Options{Library: library, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

const parentCommand = "parent-of-an-engine"

// parent is a small program that opens an engine, tells its child's number, and
// never closes it.
func parent(library, dir string) {
	e, err := engine.Open(context.Background(), engine.Options{Library: library, Dir: dir})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(e.PID())
	select {}
}

func TestKilledParentLeavesNoChild(t *testing.T) {
	library, err := testkit.Library()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := osexec.Command(os.Args[0], parentCommand, library, dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || !alive(pid) {
		t.Fatalf("the parent said %q", line)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "the orphan's end", func() bool { return !alive(pid) })
	testkit.NewEngine(t, dir) // the folder is free at once
}

func TestChildOutlivesTheGroupsSignals(t *testing.T) {
	e := testkit.NewEngine(t, t.TempDir())
	pid := e.PID()
	if pid == 0 {
		t.Fatal("no child")
	}
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := connect(t, e, e.Writer(), "").Ping(context.Background()); err != nil || e.PID() != pid {
		t.Errorf("a service manager's SIGTERM ended the child before its parent: %v", err)
	}
	group, err := syscall.Getpgid(pid)
	if err != nil || group != pid {
		t.Errorf("the child is in group %d, want one of its own (%d): %v", group, pid, err)
	}
}
