package engine

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// look is one failed check: when, and what the child had done by then.
type look struct {
	at   time.Duration
	cpu  time.Duration
	disk bool
}

func TestHealthTellsHungFromBusy(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct {
		looks []look
		want  verdict
	}{
		"one failure":                  {[]look{{at: 0}}, silent},
		"two failures":                 {[]look{{at: 0}, {at: 5 * s}}, silent},
		"stopped":                      {[]look{{at: 0, cpu: s}, {at: 5 * s, cpu: s}, {at: 10 * s, cpu: s}}, hung},
		"idle but for its clockwork":   {[]look{{at: 0}, {at: 5 * s, cpu: s / 10}, {at: 10 * s, cpu: s / 2}}, hung},
		"a heavy merge":                {[]look{{at: 0}, {at: 5 * s, cpu: 4 * s}, {at: 10 * s, cpu: 8 * s}}, busy},
		"a merge on a tenth of a core": {[]look{{at: 0}, {at: 5 * s}, {at: 10 * s, cpu: s}}, busy},
		"waits for the disk":           {[]look{{at: 0}, {at: 5 * s, disk: true}, {at: 10 * s}}, busy},
		"busy for almost a minute":     {[]look{{at: 0}, {at: 30 * s, cpu: 30 * s}, {at: 59 * s, cpu: 59 * s}}, busy},
		"busy for a minute":            {[]look{{at: 0}, {at: 30 * s, cpu: 30 * s}, {at: 60 * s, cpu: 60 * s}}, hung},
	} {
		t.Run(name, func(t *testing.T) {
			var h health
			var got verdict
			began := time.Now()
			for _, l := range c.looks {
				got = h.failed(began.Add(l.at), effort{cpu: l.cpu, disk: l.disk, known: true})
			}
			if got != c.want {
				t.Errorf("verdict %v, want %v", got, c.want)
			}
			h.answered()
			if got := h.failed(began.Add(time.Hour), effort{known: true}); got != silent {
				t.Errorf("the first failure after an answer gives %v, want silent", got)
			}
		})
	}
}

func TestHealthOfAProcessThatCannotBeSeen(t *testing.T) {
	var h health
	var got verdict
	for i := range probeFailures {
		got = h.failed(time.Now().Add(time.Duration(i)*time.Second), effort{})
	}
	if got != hung {
		t.Errorf("verdict %v, want hung: nothing speaks for it", got)
	}
}

// TestEffort looks at processes that work, sleep and are stopped.
func TestEffort(t *testing.T) {
	run := func(name string, args ...string) *exec.Cmd {
		c := exec.Command(name, args...)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
		return c
	}
	worker, sleeper := run("sh", "-c", "while :; do :; done"), run("sleep", "1000")
	if err := sleeper.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	before, rest := effortOf(worker.Process.Pid), effortOf(sleeper.Process.Pid)
	if !before.known || !rest.known {
		t.Fatal("the processes cannot be seen")
	}
	for deadline := time.Now().Add(time.Minute); effortOf(worker.Process.Pid).cpu-before.cpu < 50*time.Millisecond; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a busy process seems to do nothing")
		}
	}
	if e := effortOf(sleeper.Process.Pid); e.cpu-rest.cpu > 0 || e.disk {
		t.Errorf("a stopped process seems to do something: %+v, before %+v", e, rest)
	}
	if e := effortOf(os.Getpid()); !e.known || e.cpu == 0 {
		t.Errorf("this process's effort is %+v", e)
	}
	if e := effortOf(1 << 30); e.known {
		t.Error("the effort of no process is known")
	}
}

func TestProgress(t *testing.T) {
	began := time.Now()
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	cpu := func(ms int) effort { return effort{cpu: time.Duration(ms) * time.Millisecond, known: true} }
	var p progress
	for i, c := range []struct {
		second int
		effort effort
		idle   int
	}{
		{0, cpu(0), 0}, {1, cpu(100), 0}, {2, cpu(100), 1}, {5, cpu(105), 4}, {6, cpu(120), 0}, {9, effort{cpu: 120 * time.Millisecond, disk: true, known: true}, 0}, {12, cpu(120), 3},
	} {
		if got := p.idle(at(c.second), c.effort); got != time.Duration(c.idle)*time.Second {
			t.Errorf("look %d: idle for %v, want %d s", i, got, c.idle)
		}
	}
}

func TestPacer(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	var p pacer
	now := time.Now()
	for i, want := range []time.Duration{0, 0, 0, ms(100), ms(200), ms(400), ms(800), ms(1600), ms(3200), backoffLast, backoffLast} {
		if got := p.ended(now); got != want {
			t.Errorf("end %d within a second: wait %v, want %v", i+1, got, want)
		}
		now = now.Add(ms(50))
	}
	for i := range 100 {
		now = now.Add(backoffLast + ms(300))
		if got := p.ended(now); got < time.Second {
			t.Errorf("end %d of a loop: wait %v only", i, got)
		}
	}
	if got := p.ended(now.Add(paceWindow)); got != 0 {
		t.Errorf("after a minute of life: wait %v, want none", got)
	}
}
