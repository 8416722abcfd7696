package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/halfmask/halfmask/bench/workload"
)

// floor answers 204 to everything until its standard input closes: the least
// that a fasthttp server can do.
func floor() error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listening on", l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(fasthttp.StatusNoContent) }}
	return s.Serve(l)
}

type server struct {
	cmd   *exec.Cmd
	addr  string
	input io.Closer
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.input.Close()
	_ = s.cmd.Wait()
}

func startFloor(_ context.Context, cmd *exec.Cmd) (*server, error) {
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, err
	}
	return &server{cmd, strings.TrimSpace(strings.TrimPrefix(line, "listening on ")), input}, nil
}

type halfmask struct {
	*server
	data      string
	dashboard string
	token     string
}

var listening = regexp.MustCompile(`^(collector|dashboard|operations) +(?:on|at) +(\S+)`)

func startHalfmask(ctx context.Context, binary, durability string) (_ *halfmask, err error) {
	data, err := os.MkdirTemp("", "halfmask-bench-*")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "serve", "--data", data, "--listen", "127.0.0.1:0", "--dashboard-listen", "127.0.0.1:0",
		"--ops-listen", "127.0.0.1:0", "--trusted-proxies", "127.0.0.1", "--log-level", "warn", "--max-connections", "20000")
	if durability != "process" {
		cmd.Args = append(cmd.Args, "--durability", durability)
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	h := &halfmask{server: &server{cmd: cmd, input: input}, data: data}
	defer func() {
		if err != nil {
			h.stop()
		}
	}()
	lines := bufio.NewScanner(out)
	for (h.addr == "" || h.dashboard == "") && lines.Scan() {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			switch m[1] {
			case "collector":
				h.addr = address(m[2])
			case "dashboard":
				h.dashboard = address(m[2])
			}
		}
	}
	if h.addr == "" || h.dashboard == "" {
		return nil, errors.New("halfmask did not start")
	}
	go func() { // whatever else it prints must not block it
		for lines.Scan() {
		}
	}()
	if err := exec.CommandContext(ctx, binary, "site", "add", workload.Site, "--data", data).Run(); err != nil {
		return nil, fmt.Errorf("cannot add the site: %w", err)
	}
	token, err := exec.CommandContext(ctx, binary, "token", "add", "--site", workload.Site, "--data", data).Output()
	if err != nil {
		return nil, fmt.Errorf("cannot make a token: %w", err)
	}
	all := strings.Split(strings.TrimSpace(string(token)), "\n")
	h.token = all[len(all)-1]
	return h, nil
}

// address cuts a URL down to host and port.
func address(s string) string {
	s = strings.TrimPrefix(s, "http://")
	return strings.TrimSuffix(s, "/")
}

func (h *halfmask) stop() {
	h.server.stop()
	_ = os.RemoveAll(h.data)
}

// stored waits until the Stats API counts the events expected, or does not
// get closer for some seconds, and returns how many it counts.
func (h *halfmask) stored(ctx context.Context, expected int) (int, error) {
	last, since := -1, time.Now()
	for {
		n, err := h.count(ctx)
		if err != nil {
			return 0, err
		}
		if n == expected {
			return n, nil
		}
		if n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > 10*time.Second {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (h *halfmask) count(ctx context.Context) (int, error) {
	body := fmt.Sprintf(`{"site_id":%q,"metrics":["events"],"date_range":"7d"}`, workload.Site)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+h.dashboard+"/api/v2/query", bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+h.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var answer struct {
		Error   string
		Results []struct{ Metrics []float64 }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.Error != "" || len(answer.Results) != 1 || len(answer.Results[0].Metrics) != 1 {
		return 0, fmt.Errorf("cannot count the stored events: %s %s", response.Status, answer.Error)
	}
	return int(answer.Results[0].Metrics[0]), nil
}

// signalEngine signals the server's children.
func (h *halfmask) signalEngine(s syscall.Signal) {
	for _, pid := range childrenOf(h.cmd.Process.Pid) {
		_ = syscall.Kill(pid, s)
	}
}

// engineCPU returns the CPU seconds that the server's children used.
func (h *halfmask) engineCPU() float64 {
	total := 0.0
	for _, pid := range childrenOf(h.cmd.Process.Pid) {
		if s, err := cpuSeconds(pid); err == nil {
			total += s
		}
	}
	return total
}
