package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/internal/testkit"
	"github.com/halfmask/halfmask/stats"
	"github.com/halfmask/halfmask/storage"
	"github.com/halfmask/halfmask/storage/engine"
)

// patience bounds how late a broken test fails; nothing is measured with it.
const patience = 30 * time.Second

// serving is the program's serve command, running in this process.
type serving struct {
	collector, dashboard, operations string // addresses

	stop   context.CancelFunc
	output *transcript
	ended  chan int
}

// transcript is what was printed so far.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *transcript) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// serve starts the command and waits until the door is open.
func serve(t *testing.T, data string, args ...string) *serving {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s := &serving{stop: stop, output: new(transcript), ended: make(chan int, 1)}
	args = append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--dashboard-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"}, args...)
	go func() { s.ended <- run(ctx, args, strings.NewReader(""), s.output, s.output) }()
	t.Cleanup(func() {
		s.end(t)
		if t.Failed() {
			t.Logf("it said:\n%s", s.output)
		}
	})
	for name, address := range map[string]*string{"collector": &s.collector, "dashboard": &s.dashboard, "operations": &s.operations} {
		said := regexp.MustCompile(`(?m)^` + name + `\s+at http://(\S+)$`)
		eventually(t, "the "+name+" listens", func() bool {
			match := said.FindStringSubmatch(s.output.String())
			if match != nil {
				*address = strings.Replace(match[1], "localhost", "127.0.0.1", 1)
			}
			return match != nil
		})
	}
	return s
}

// end stops the command as a signal does, once, and returns its exit status.
func (s *serving) end(t *testing.T) int {
	t.Helper()
	s.stop()
	select {
	case status := <-s.ended:
		s.ended <- status
		return status
	case <-time.After(patience):
		t.Fatal("it does not stop")
		return -1
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(5 * time.Millisecond) // another process's time, not ours
	}
}

// view sends a pageview of example.com, which must be accepted.
func (s *serving) view(t *testing.T, path string) {
	t.Helper()
	body := strings.NewReader(`{"n":"pageview","u":"https://example.com` + path + `","d":"example.com"}`)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.collector+"/api/event", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if dropped := response.Header.Get("X-Halfmask-Dropped"); response.StatusCode != http.StatusAccepted || dropped != "" {
		t.Fatalf("the event was answered %d, dropped: %q", response.StatusCode, dropped)
	}
}

// metric returns the value of a metric without labels.
func (s *serving) metric(t *testing.T, name string) string {
	t.Helper()
	match := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(s.metrics(t))
	if match == nil {
		t.Fatalf("there is no metric %s", name)
	}
	return match[1]
}

// metrics returns all of them.
func (s *serving) metrics(t *testing.T) string {
	t.Helper()
	response, err := http.Get("http://" + s.operations + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// dsn names an engine as if it were a server of one's own.
func dsn(t *testing.T, e *engine.Engine) string {
	t.Helper()
	conn, err := e.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	u := url.URL{Scheme: "clickhouse", User: url.UserPassword(e.Writer().User, e.Writer().Password), Host: conn.RemoteAddr().String(), Path: "/halfmask"}
	return u.String()
}

// nowhere is a DSN of a server that does not answer.
const nowhere = "clickhouse://nobody@127.0.0.1:1/halfmask"

func addSite(t *testing.T, data, dsn string) {
	t.Helper()
	if status, _, stderr := try(t, "", "site", "add", "example.com", "--data", data, "--clickhouse", dsn); status != 0 {
		t.Fatal(stderr)
	}
}

// sums asks for visitors, visits, bounces in percent and pageviews of example.com.
func sums(t *testing.T, e *engine.Engine) (sums []float64) {
	t.Helper()
	store, err := storage.Open(t.Context(), engineStorage(e))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	sites, err := store.Sites(t.Context())
	if err != nil || len(sites) != 1 {
		t.Fatal(sites, err)
	}
	today := event.DayOf(time.Now(), time.UTC)
	answer, err := store.Query(t.Context(), &stats.Query{
		Site: sites[0].ID, Zone: time.UTC, From: (today - 1).Start(time.UTC), To: (today + 1).Start(time.UTC),
		Metrics: []stats.Metric{stats.Visitors, stats.Visits, stats.BounceRate, stats.Pageviews},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range answer.Rows[0].Metrics {
		if m == nil {
			t.Fatal("nothing is stored")
		}
		sums = append(sums, *m)
	}
	return sums
}

func TestAStopIsNotHeldUpBySilentConnections(t *testing.T) {
	server := testkit.NewEngine(t, t.TempDir())
	data := filepath.Join(t.TempDir(), "data")
	addSite(t, data, dsn(t, server))
	s := serve(t, data, "--clickhouse", dsn(t, server), "--shutdown-timeout", "8s", "--batch-interval", "1m")
	s.view(t, "/")
	for _, address := range []string{s.collector, s.dashboard, s.operations} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if status := s.end(t); status != 0 {
		t.Errorf("stopping with connections on which nothing was asked: status %d", status)
	}
	if got := fmt.Sprint(sums(t, server)); got != "[1 1 100 1]" {
		t.Errorf("visitors, visits, bounces and pageviews stored at the stop are %s", got)
	}
}

func TestAStopWithoutClickHouseLosesNothing(t *testing.T) {
	dir, data := t.TempDir(), filepath.Join(t.TempDir(), "data")
	server := testkit.NewEngine(t, dir)
	addSite(t, data, dsn(t, server))
	s := serve(t, data, "--clickhouse", dsn(t, server), "--shutdown-timeout", "2s", "--batch-interval", "1m")
	if err := server.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.view(t, "/")
	if status := s.end(t); status != 0 {
		t.Errorf("stopping while ClickHouse is away: status %d", status)
	}
	server = testkit.NewEngine(t, dir)
	s = serve(t, data, "--clickhouse", dsn(t, server))
	eventually(t, "the event is stored", func() bool { return s.metric(t, "halfmask_batch_stored_events_total") == "1" })
}

func TestAStopBeforeTheStartIsDoneIsNoFailure(t *testing.T) {
	library, err := testkit.Library()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	status := run(ctx, []string{"serve", "--data", filepath.Join(t.TempDir(), "data"), "--engine", library, "--listen", "127.0.0.1:0",
		"--dashboard-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"}, strings.NewReader(""), &out, &errs)
	if status != 0 {
		t.Errorf("status %d: %s", status, errs.String())
	}
}

// crash makes a stop look like a crash: what a graceful one leaves is gone.
func (s *serving) crash(t *testing.T, data string) {
	t.Helper()
	if status := s.end(t); status != 0 {
		t.Fatalf("status %d", status)
	}
	if err := os.Remove(filepath.Join(data, visitsFile)); err != nil {
		t.Fatal(err)
	}
}

func TestAVisitSurvivesACrashHoweverLateStorageComes(t *testing.T) {
	server, data := testkit.NewEngine(t, t.TempDir()), filepath.Join(t.TempDir(), "data")
	addSite(t, data, dsn(t, server))
	s := serve(t, data, "--clickhouse", dsn(t, server))
	s.view(t, "/one")
	s.crash(t, data)

	// A start that stops again before it could learn what was going on.
	s = serve(t, data, "--clickhouse", nowhere)
	if status := s.end(t); status != 0 {
		t.Fatalf("status %d", status)
	}

	s = serve(t, data, "--clickhouse", dsn(t, server))
	eventually(t, "storage has told what was going on", func() bool {
		response, err := http.Get("http://" + s.operations + "/readyz")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		return err == nil && strings.Contains(string(text), `"storage":"ok"`)
	})
	s.view(t, "/two")
	if status := s.end(t); status != 0 {
		t.Fatalf("status %d", status)
	}
	if got := fmt.Sprint(sums(t, server)); got != "[1 1 0 2]" {
		t.Errorf("visitors, visits, bounces and pageviews are %s, want one visit of two pages", got)
	}
}
