// Package e2e tests the whole: the binary that people run, with its real
// engine, over its real listeners, in a real browser. What is not in test files
// starts, stops, kills and questions it for the tests; it knows of Halfmask
// only what its command line, its output and its interfaces tell.
package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds how late a broken test fails; nothing is measured with it.
const patience = time.Minute

// StopWithin is how long Halfmask may take to stop after SIGTERM.
const StopWithin = 10 * time.Second

// Server is a Halfmask that serves. Its methods fail the test that they are
// given, and are for one goroutine at a time unless they say otherwise.
type Server struct {
	Data string // its data folder; it outlives Kill and Stop

	// Where its listeners are, as http://HOST:PORT. They stay the same over
	// Restart.
	Collector, Dashboard, Operations, Demo string

	options Options
	process *exec.Cmd
	output  *output
	exited  chan struct{} // closed when the process is gone
	exit    error
}

// Options change how a Server starts.
type Options struct {
	Data string   // the data folder; default: a new one
	Args []string // more arguments of `halfmask serve`
	Env  []string // more of the environment, as NAME=VALUE
	Demo bool     // serve the demo site too
	Race bool     // with the race detector, which is fatal: exit status 66
}

// Start starts a Server and waits until all its listeners serve. When t ends it
// is stopped, and its output shown if t failed.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := prepare(t, o)
	s.Restart(t)
	return s
}

// Launch is Start that does not wait until anything is served.
func Launch(t testing.TB, o Options) *Server {
	t.Helper()
	s := prepare(t, o)
	s.Launch(t)
	return s
}

func prepare(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{Data: o.Data, options: o}
	if s.Data == "" {
		s.Data = filepath.Join(t.TempDir(), "data")
	}
	s.Collector, s.Dashboard, s.Operations = "http://127.0.0.1:0", "http://127.0.0.1:0", "http://127.0.0.1:0"
	if o.Demo {
		s.Demo = "http://127.0.0.1:0"
	}
	t.Cleanup(func() {
		if s.Running() {
			s.Stop(t)
		}
	})
	return s
}

// Restart starts the server again on the same folder and addresses, after Stop
// or Kill.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Launch(t)
	for name, address := range map[string]*string{"collector": &s.Collector, "dashboard": &s.Dashboard, "operations": &s.Operations, "demo": &s.Demo} {
		if *address != "" {
			*address = s.said(t, regexp.MustCompile(`(?m)^`+name+`\s+at (http://\S+)$`))[1]
		}
	}
}

// Launch is Restart that does not wait until anything is served.
func (s *Server) Launch(t testing.TB) {
	t.Helper()
	if s.Running() {
		t.Fatal("the server to be restarted runs already")
	}
	args := []string{"serve", "--data", s.Data,
		"--listen", host(s.Collector), "--dashboard-listen", host(s.Dashboard), "--ops-listen", host(s.Operations)}
	if s.options.Demo {
		args = append(args, "--demo-listen", host(s.Demo))
	}
	s.process = command(t, s.options, append(args, s.options.Args...)...)
	s.output = &output{changed: make(chan struct{})}
	s.process.Stdout, s.process.Stderr = s.output, s.output
	if err := s.process.Start(); err != nil {
		t.Fatalf("cannot start halfmask: %v", err)
	}
	s.exited = make(chan struct{})
	exited, process := s.exited, s.process
	go func() {
		s.exit = process.Wait()
		close(exited)
	}()
	output := s.output
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("halfmask said:\n%s", output.tail(200))
		}
	})
}

// SetupLink returns the one-time link that the server printed.
func (s *Server) SetupLink(t testing.TB) string {
	t.Helper()
	return s.said(t, regexp.MustCompile(`(?m)(http://\S+/setup\S*)`))[1]
}

// Output returns what this run has printed and logged so far.
func (s *Server) Output() string { return s.output.String() }

// Says waits until the server has printed or logged a text.
func (s *Server) Says(t testing.TB, text string) {
	t.Helper()
	s.said(t, regexp.MustCompile(regexp.QuoteMeta(text)))
}

// said waits until the server's output matches.
func (s *Server) said(t testing.TB, what *regexp.Regexp) []string {
	t.Helper()
	deadline := time.After(patience)
	for {
		text, changed := s.output.wait()
		if match := what.FindStringSubmatch(text); match != nil {
			return match
		}
		select {
		case <-changed:
		case <-s.exited:
			if match := what.FindStringSubmatch(s.output.String()); match != nil {
				return match
			}
			t.Fatalf("halfmask ended before it said %v: %v", what, s.exit)
		case <-deadline:
			t.Fatalf("halfmask never said %v", what)
		}
	}
}

// PID is the server's process.
func (s *Server) PID() int { return s.process.Process.Pid }

// Running reports whether the process is there.
func (s *Server) Running() bool {
	if s.exited == nil {
		return false
	}
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// Stop sends SIGTERM and expects exit status 0 within StopWithin.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	engine, _ := s.engine()
	s.Signal(t, syscall.SIGTERM)
	select {
	case <-s.exited:
		if s.exit != nil {
			t.Errorf("halfmask did not stop cleanly: %v", s.exit)
		}
	case <-time.After(StopWithin + 5*time.Second): // the process has to be reaped, too
		t.Errorf("halfmask was still there %v after SIGTERM", StopWithin)
		s.Kill(t)
	}
	if engine != 0 && alive(engine) {
		t.Errorf("halfmask left its engine behind, process %d", engine)
	}
}

// Kill kills the server without warning, and waits until it and its engine,
// which notices by itself, are gone.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.End(t, syscall.SIGKILL)
}

// End sends a signal that the server does not live through, and waits until it
// and its engine are gone.
func (s *Server) End(t testing.TB, sig syscall.Signal) {
	t.Helper()
	engine, _ := s.engine()
	s.Signal(t, sig)
	_ = s.Wait(t)
	for deadline := time.Now().Add(patience); engine != 0 && alive(engine); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the engine, process %d, outlives the halfmask that was ended", engine)
		}
	}
}

// KillEngine kills the engine under the running server without warning.
func (s *Server) KillEngine(t testing.TB) {
	t.Helper()
	s.SignalEngine(t, syscall.SIGKILL)
}

// SignalEngine sends a signal to the engine, once there is one.
func (s *Server) SignalEngine(t testing.TB, sig syscall.Signal) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if engine, err := s.engine(); err == nil {
			if err := syscall.Kill(engine, sig); err == nil {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("there is no engine to signal")
		}
	}
}

// Wait waits until the server is gone, and returns how it ended.
func (s *Server) Wait(t testing.TB) error {
	t.Helper()
	select {
	case <-s.exited:
		return s.exit
	case <-time.After(patience):
		t.Fatal("the server does not end")
		return nil
	}
}

// Signal sends a signal to the server.
func (s *Server) Signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := s.process.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("cannot signal halfmask: %v", err)
	}
}

// engine finds the supervised child, `halfmask engine`.
func (s *Server) engine() (pid int, err error) { return EngineOf(s.process.Process.Pid) }

// EngineOf finds the engine of a halfmask by the halfmask's process.
func EngineOf(halfmask int) (pid int, err error) {
	lists, err := filepath.Glob("/proc/" + strconv.Itoa(halfmask) + "/task/*/children")
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil {
			continue // that thread has ended
		}
		for _, child := range strings.Fields(string(children)) {
			line, err := os.ReadFile("/proc/" + child + "/cmdline")
			if err == nil && slices.Contains(strings.Split(string(line), "\x00"), "engine") {
				return strconv.Atoi(child)
			}
		}
	}
	return 0, errors.New("there is no engine")
}

func alive(pid int) bool {
	state, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	// A zombie is gone for our purposes: init reaps it.
	after := state[bytes.LastIndexByte(state, ')')+1:]
	return !bytes.HasPrefix(bytes.TrimSpace(after), []byte("Z"))
}

// Run runs one of Halfmask's commands on the server's data folder and returns
// what it printed. The server may run or not.
func (s *Server) Run(t testing.TB, args ...string) string {
	t.Helper()
	return s.RunWith(t, "", args...)
}

// RunWith is Run with something on standard input.
func (s *Server) RunWith(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	return run(t, s.options, stdin, append(args, "--data", s.Data)...)
}

// Run runs one of Halfmask's commands on a data folder and returns what it
// printed.
func Run(t testing.TB, o Options, args ...string) string {
	t.Helper()
	return run(t, o, "", append(args, "--data", o.Data)...)
}

func run(t testing.TB, o Options, stdin string, args ...string) string {
	t.Helper()
	c := command(t, o, args...)
	var stdout, stderr bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := c.Run(); err != nil {
		t.Fatalf("halfmask %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return stdout.String()
}

// AddSite adds a site.
func (s *Server) AddSite(t testing.TB, domain string) {
	t.Helper()
	s.Run(t, "site", "add", domain)
}

// AddToken makes a token of the Stats API for a site.
func (s *Server) AddToken(t testing.TB, domain string) string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(s.Run(t, "token", "add", "--site", domain)), "\n")
	return lines[len(lines)-1]
}

func command(t testing.TB, o Options, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command(Binary(t, o.Race), args...)
	c.Env = append(os.Environ(), "TZ=UTC", "GORACE=halt_on_error=1 exitcode=66")
	c.Env = append(append(c.Env, surroundings(t)...), o.Env...)
	// Nothing is left behind if the test binary itself dies.
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

func host(address string) string { return strings.TrimPrefix(address, "http://") }

// output collects what the process writes, for several readers.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) String() string {
	text, _ := o.wait()
	return text
}

// wait returns the text so far and a channel that is closed when there is more.
func (o *output) wait() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.changed
}

func (o *output) tail(lines int) string {
	var last []string
	for scan := bufio.NewScanner(strings.NewReader(o.String())); scan.Scan(); {
		last = append(last, scan.Text())
	}
	if len(last) > lines {
		last = append([]string{fmt.Sprintf("(%d lines before)", len(last)-lines)}, last[len(last)-lines:]...)
	}
	return strings.Join(last, "\n")
}
