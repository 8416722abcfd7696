package engine_test

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/halfmask/halfmask/internal/testkit"
	"github.com/halfmask/halfmask/storage/engine"
)

// holding is what a process holds that it could fail to give back.
type holding struct {
	goroutines, files int
	heap              uint64
	threads, children int
}

func holdings(t *testing.T) holding {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return holding{runtime.NumGoroutine(), len(files), m.HeapInuse, len(threads), children(t)}
}

// TestRestartsLeakNothing kills the engine again and again, HALFMASK_SOAK times,
// and looks at what this process has open afterwards.
func TestRestartsLeakNothing(t *testing.T) {
	kills := 8
	if text := os.Getenv("HALFMASK_SOAK"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	library, err := testkit.Library()
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Tuned(t.Context(), engine.Options{Library: library, Dir: t.TempDir()}, engine.Clock{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(context.Background())
	restart := func() {
		pid := 0
		eventually(t, "an engine", func() bool { pid = e.PID(); return pid != 0 })
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another engine", func() bool { now := e.PID(); return now != 0 && now != pid })
	}
	for range 3 { // what is made once is there now
		restart()
	}
	before := holdings(t)
	for range kills {
		restart()
	}
	var after holding
	eventually(t, "goroutines and files as before:", func() bool {
		after = holdings(t)
		return after.goroutines <= before.goroutines+4 && after.files <= before.files+4
	})
	t.Logf("before %+v, after %d restarts %+v", before, kills, after)
	if after.heap > before.heap+16<<20 || after.threads > before.threads+8 {
		t.Errorf("memory or threads grew over %d restarts from %+v to %+v", kills, before, after)
	}
	if n := children(t); n > before.children {
		t.Errorf("%d children are left of %d", n, before.children)
	}
}

// children counts this process's children, zombies included.
func children(t *testing.T) (n int) {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if b, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children"); err == nil {
			n += len(strings.Fields(string(b)))
		}
	}
	return n
}
