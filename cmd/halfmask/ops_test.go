package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestOperations(t *testing.T) {
	vital, other := true, true
	server := httptest.NewServer(opsHandler(newMetrics(), discard(), []check{
		{"spool", func() bool { return vital }, true},
		{"storage", func() bool { return other }, false},
	}))
	defer server.Close()
	get := func(path string) (int, string) {
		t.Helper()
		response, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}

	if status, _ := get("/healthz"); status != 200 {
		t.Errorf("/healthz answers %d", status)
	}
	for _, c := range []struct {
		vital, other bool
		status       int
		says         string
	}{
		{true, true, 200, `"ready":true`},
		{true, false, 200, `"storage":"not ready"`}, // the spool keeps what storage cannot take
		{false, true, 503, `"spool":"not ready"`},
	} {
		vital, other = c.vital, c.other
		if status, body := get("/readyz"); status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("spool %v, storage %v: /readyz answers %d %s", c.vital, c.other, status, body)
		}
	}
	_, text := get("/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("Prometheus cannot read /metrics: %v", err)
	}
	for _, name := range []string{"halfmask_build_info", "process_resident_memory_bytes", "go_goroutines"} {
		if families[name] == nil {
			t.Errorf("/metrics lacks %s", name)
		}
	}
	for _, path := range []string{"/debug/pprof/", "/debug/vars", "/nothing"} {
		if status, _ := get(path); status != 404 {
			t.Errorf("%s answers %d", path, status)
		}
	}
}

func TestHealthCommand(t *testing.T) {
	ready := true
	server := httptest.NewServer(opsHandler(newMetrics(), discard(), []check{{"spool", func() bool { return ready }, true}}))
	defer server.Close()
	addr := strings.TrimPrefix(server.URL, "http://")
	if status, out, _ := try(t, "", "health", "--ops-listen", addr); status != 0 || out != "ready\n" {
		t.Errorf("ready: status %d, %q", status, out)
	}
	ready = false
	if status, _, _ := try(t, "", "health", "--ops-listen", addr); status != 1 {
		t.Errorf("not ready: status %d", status)
	}
	server.Close()
	if status, _, stderr := try(t, "", "health", "--ops-listen", addr); status != 1 || !strings.Contains(stderr, "cannot reach") {
		t.Errorf("gone: status %d, %s", status, stderr)
	}
}

// TestSocketInADeepFolder: a Unix socket's own path may not exceed 107 bytes.
func TestSocketInADeepFolder(t *testing.T) {
	p := place{Data: filepath.Join(t.TempDir(), strings.Repeat("deep/", 40))}
	if err := p.prepare(); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.remote(); ok {
		t.Error("a server answers where none runs")
	}
	type sum struct{ A, B int }
	ops := map[string]operation{"add": handle(func(_ context.Context, s sum) (int, error) { return s.A + s.B, nil })}
	if err := os.WriteFile(p.path(socketName), nil, 0o600); err != nil { // a killed server's leftover
		t.Fatal(err)
	}
	stop, err := p.control(ops, discard())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if info, err := os.Stat(p.path(socketName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can open the socket: %v %v", info, err)
	}
	remote, ok := p.remote()
	if !ok {
		t.Fatal("the server does not answer")
	}
	for name, c := range map[string]caller{"remote": remote, "local": local(ops)} {
		if got, err := call[int](t.Context(), c, "add", sum{2, 3}); err != nil || got != 5 {
			t.Errorf("%s: 2+3 = %d, %v", name, got, err)
		}
	}
	if _, err := remote(t.Context(), "multiply", sum{}); err == nil || !strings.Contains(err.Error(), "multiply") {
		t.Errorf("an operation that an older server does not know: %v", err)
	}
}

func TestServerLogKeepsNoAddress(t *testing.T) {
	var log bytes.Buffer
	s := webServer(http.NotFoundHandler(), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	s.ErrorLog.Print("http: TLS handshake error from 203.0.113.77:4711: EOF")
	if log.Len() == 0 {
		t.Error("nothing was logged at all")
	}
	if strings.Contains(log.String(), "203.0.113") {
		t.Errorf("the log holds an address: %s", log.String())
	}
}

func TestReadyzIsJSON(t *testing.T) {
	recorder := httptest.NewRecorder()
	opsHandler(newMetrics(), discard(), nil).ServeHTTP(recorder, httptest.NewRequest("GET", "/readyz", nil))
	if !json.Valid(recorder.Body.Bytes()) {
		t.Errorf("/readyz is no JSON: %s", recorder.Body)
	}
}
