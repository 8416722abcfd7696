package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// point is a system call in which to kill; at the first to the most-th time that
// it is made.
type point struct {
	call string
	most int
}

// reached is how long a call is waited for.
const reached = 1500 * time.Millisecond

var errTrace = errors.New("cannot trace")

// inject kills a process in a call: strace lets it enter, fails the call, and
// kills. It reports whether the call came about.
func inject(ctx context.Context, pid int, p point, random *rand.Rand, gone func() bool) (hit bool, err error) {
	n := 1 + random.IntN(p.most)
	c := exec.CommandContext(ctx, "strace", "-f", "-qq", "-o", "/dev/null", "-p", strconv.Itoa(pid), "-e", "trace="+p.call,
		"-e", fmt.Sprintf("inject=%s:error=EIO:signal=SIGKILL:when=%d", p.call, n))
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := c.Start(); err != nil {
		return false, fmt.Errorf("%w: %w", errTrace, err)
	}
	ended := make(chan struct{})
	go func() {
		_ = c.Wait() // it tells how the traced one ended
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(reached):
		_ = c.Process.Signal(syscall.SIGINT) // lets go of the process, which goes on
		select {
		case <-ended:
		case <-time.After(time.Second): // it can miss the end of a thread, and wait for it for ever
			_ = c.Process.Kill()
			<-ended
		}
	}
	// Strace ends when the last thread is gone, a moment before it is noticed here.
	for range 20 {
		if gone() {
			return true, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false, nil
}

// tracing tells why processes cannot be traced, or nil.
func tracing(ctx context.Context) error {
	if _, err := exec.LookPath("strace"); err != nil {
		return fmt.Errorf("%w: %w; on Debian: apt-get install strace", errTrace, err)
	}
	victim := exec.CommandContext(ctx, "sleep", "1000")
	if err := victim.Start(); err != nil {
		return err
	}
	defer func() { _ = victim.Process.Kill(); _ = victim.Wait() }()
	c := exec.CommandContext(ctx, "strace", "-f", "-qq", "-o", "/dev/null", "-p", strconv.Itoa(victim.Process.Pid), "-e", "trace=none")
	var said bytes.Buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		return fmt.Errorf("%w: %w", errTrace, err)
	}
	time.AfterFunc(200*time.Millisecond, func() { _ = c.Process.Signal(syscall.SIGINT) })
	_ = c.Wait()
	if text := strings.TrimSpace(said.String()); strings.Contains(text, "not permitted") || strings.Contains(text, "denied") {
		return fmt.Errorf("%w: %s", errTrace, text)
	}
	// Halfmask forbids tracing to all but root: a sleep that can be traced says little.
	if syscall.Geteuid() != 0 {
		return fmt.Errorf("%w: it needs root, because halfmask's processes cannot be traced by their own user", errTrace)
	}
	return nil
}

// sayCalls prints in which calls the kills fell.
func (r *rig) sayCalls() {
	if len(r.calls) == 0 {
		return
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(r.calls)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, r.calls[name]))
	}
	fmt.Fprintf(r.out, "  calls: %s\n", strings.Join(parts, ", "))
}
