package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/halfmask/halfmask/e2e"
)

// patience bounds everything that must happen some time.
const patience = 2 * time.Minute

// server is one halfmask, over all its lives.
type server struct {
	binary, data, library string
	args                  []string
	collector, operations string // host:port, the same in each life
	log                   *os.File

	cmd    *exec.Cmd
	exited chan struct{}
	begun  time.Time
}

// freeAddress finds a port for all the lives of a server.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// start begins a life; it does not wait for anything.
func (s *server) start() error {
	args := append([]string{"serve", "--data", s.data, "--engine", s.library, "--listen", s.collector, "--ops-listen", s.operations,
		"--dashboard-listen", "127.0.0.1:0", "--trusted-proxies", "127.0.0.1", "--batch-interval", "50ms"}, s.args...)
	s.cmd = exec.Command(s.binary, args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.Env = append(os.Environ(), "TZ=UTC")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.begun = time.Now()
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("cannot start halfmask: %w", err)
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait()
		close(exited)
	}(s.cmd, s.exited)
	return nil
}

func (s *server) running() bool {
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

func (s *server) pid() int { return s.cmd.Process.Pid }

// kill ends this life without warning.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// stop ends it in order.
func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
		if !s.cmd.ProcessState.Success() {
			return fmt.Errorf("halfmask stopped with %v", s.cmd.ProcessState)
		}
		return nil
	case <-time.After(30 * time.Second):
		s.kill()
		return errors.New("halfmask did not stop within 30 s")
	}
}

// engine returns the process of halfmask's engine, 0 if there is none.
func (s *server) engine() int {
	pid, _ := e2e.EngineOf(s.pid())
	return pid
}

// signalEngine sends a signal to the engine and returns its process, 0 if there
// is none.
func (s *server) signalEngine(sig syscall.Signal) int {
	pid := s.engine()
	if pid == 0 || syscall.Kill(pid, sig) != nil {
		return 0
	}
	return pid
}

// command runs one of halfmask's commands beside the server.
func (s *server) command(ctx context.Context, args ...string) error {
	c := exec.CommandContext(ctx, s.binary, append(args, "--data", s.data, "--engine", s.library)...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("halfmask %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// client asks the operations listener.
var client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (s *server) ask(path string) (string, error) {
	response, err := client.Get("http://" + s.operations + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(response.Body)
	return b.String(), err
}

// stored reports whether storage answers, as /readyz tells.
func (s *server) storageUp() bool {
	text, err := s.ask("/readyz")
	return err == nil && strings.Contains(text, `"storage":"ok"`)
}

// metric returns a metric's sum over its labels.
func (s *server) metric(name string) (float64, error) {
	text, err := s.ask("/metrics")
	if err != nil {
		return 0, err
	}
	metrics, err := e2e.ParseMetrics(strings.NewReader(text))
	if err == nil && metrics[name] == nil {
		err = fmt.Errorf("there is no metric %s", name)
	}
	return metrics.Value(name), err
}

// eventually waits until yes is true.
func eventually(ctx context.Context, what string, yes func() bool) error {
	for deadline := time.Now().Add(patience); !yes(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v in vain until %s", patience, what)
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
