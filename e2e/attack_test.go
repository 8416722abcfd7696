package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfmask/halfmask/e2e"
	"github.com/halfmask/halfmask/internal/testkit/browser"
)

// slow is how many clients begin a request and do not go on.
const slow = 10_000

// TestSlowClients: ten thousand clients who hold a connection each, with half a
// request, neither keep others from being served nor take much memory, and are
// let go in the end.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if files.Cur < slow+1000 {
		was := files
		files.Cur, files.Max = max(files.Max, slow+2000), max(files.Max, slow+2000)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
			t.Skipf("needs %d open files, and this process may have %d: %v", slow+1000, was.Cur, err)
		}
		t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &was) })
	}
	server := e2e.Start(t, e2e.Options{})
	server.AddSite(t, "example.com")
	address, err := net.ResolveTCPAddr("tcp", strings.TrimPrefix(server.Collector, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	send(t, server, "/before")
	before := resident(t, server.PID())

	conns := make([]net.Conn, slow)
	var wg sync.WaitGroup
	for worker := range 20 { // each from an address of its own, which may hold a thousand
		wg.Go(func() {
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+worker))}}
			for i := worker; i < slow; i += 20 {
				conn, err := dialer.Dial("tcp", address.String())
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				conns[i] = conn
				_, _ = io.WriteString(conn, "POST /api/event HTTP/1.1\r\nHost: c\r\nContent-Length: 100\r\n\r\n{"[:20+i%40])
			}
		})
	}
	wg.Wait()
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}()
	if t.Failed() {
		return
	}
	peak := 0.0
	for i := range 50 { // healthy ones, meanwhile
		send(t, server, fmt.Sprint("/meanwhile/", i))
		peak = max(peak, server.Metrics(t).Value("halfmask_collector_connections"))
	}
	after := resident(t, server.PID())
	t.Logf("%v connections at most; %d MiB before, %d MiB with them", peak, before>>20, after>>20)
	if grown := after - before; grown > 768<<20 {
		t.Errorf("they take %d MiB", grown>>20)
	}
	e2e.Eventually(t, "they are let go", func() bool { return server.Metrics(t).Value("halfmask_collector_connections") < 50 })
	if got := server.Metrics(t).Value("halfmask_collector_connection_errors_total"); got < slow/2 {
		t.Errorf("%v of them were counted", got)
	}
}

// TestEndlessBodies: a gigabyte is not read, however it is announced, and its
// sender is not waited for.
func TestEndlessBodies(t *testing.T) {
	server := e2e.Start(t, e2e.Options{})
	server.AddSite(t, "example.com")
	send(t, server, "/before")
	before := resident(t, server.PID())
	chunk := fmt.Appendf(nil, "10000\r\n%s\r\n", strings.Repeat("x", 1<<16))
	var sent atomic.Int64
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			conn, err := net.Dial("tcp", strings.TrimPrefix(server.Collector, "http://"))
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			length := []string{"Transfer-Encoding: chunked", "Content-Length: 1073741824"}[i%2]
			_, err = io.WriteString(conn, "POST /api/event HTTP/1.1\r\nHost: c\r\n"+length+"\r\n\r\n")
			for n := 0; err == nil && n < 1<<30; n += len(chunk) {
				if _, err = conn.Write(chunk); err == nil {
					sent.Add(int64(len(chunk)))
				}
			}
			if err == nil {
				t.Errorf("%s: a gigabyte was taken", length)
			}
		})
	}
	wg.Wait()
	if grown := resident(t, server.PID()) - before; grown > 64<<20 {
		t.Errorf("the process grew by %d MiB", grown>>20)
	}
	if sent := sent.Load(); sent > 20*(32<<20) { // what the sockets hold
		t.Errorf("%d MiB were taken", sent>>20)
	}
	send(t, server, "/after")
}

// TestAnOptOutLeavesNoTrace: after visitors who opted out, in every way there
// is, each byte of the spool and the data folder is what it was, but for the
// counts in the ledger; and so is each
// metric but the count of opt-outs.
func TestAnOptOutLeavesNoTrace(t *testing.T) {
	t.Parallel()
	theirs := startClickHouse(t) // its folder is not ours, and changes by itself
	server := e2e.Start(t, e2e.Options{
		Args: []string{"--batch-interval", "1m", "--trusted-proxies", "127.0.0.1"},
		Env:  []string{"HALFMASK_CLICKHOUSE=" + theirs.dsn("")},
	})
	server.AddSite(t, "example.com")
	send(t, server, "/somebody") // there is something in the spool
	var before map[string]string
	e2e.Eventually(t, "nothing changes any more", func() bool {
		was := before
		before = fingerprints(t, server.Data)
		time.Sleep(50 * time.Millisecond)
		return cmp.Equal(was, before)
	})
	series, counts := scrape(t, server)
	for _, signal := range []string{"DNT: 1", "Sec-GPC: 1", "Cookie: halfmask_optout=1", "Cookie: a=b; halfmask_optout=1; c=d"} {
		for i, request := range songs() {
			if i%5 == 0 { // all of them would be the same again
				request = strings.Replace(request, "\r\n", "\r\n"+signal+"\r\n", 1)
				whisper(strings.TrimPrefix(server.Collector, "http://"), request)
			}
		}
		body := `{"n":"pageview","u":"https://example.com/nobody?utm_source=x","d":"example.com"}`
		answer := whisper(strings.TrimPrefix(server.Collector, "http://"), fmt.Sprintf("POST /api/event HTTP/1.1\r\nHost: c\r\nConnection: close\r\nOrigin: https://example.com\r\n"+
			"X-Forwarded-For: 198.51.100.7\r\nUser-Agent: %s\r\n%s\r\nContent-Length: %d\r\n\r\n%s", browser.UserAgent, signal, len(body), body))
		if !strings.HasPrefix(answer, "HTTP/1.1 202") || strings.Contains(answer, "Set-Cookie") || !strings.HasSuffix(answer, "\r\n\r\nok") {
			t.Errorf("%s: answered %q", signal, answer)
		}
	}
	if diff := cmp.Diff(before, fingerprints(t, server.Data)); diff != "" {
		t.Errorf("files changed (-before +after):\n%s", diff)
	}
	seriesAfter, countsAfter := scrape(t, server)
	if diff := cmp.Diff(series, seriesAfter); diff != "" {
		t.Errorf("metrics appeared or went (-before +after):\n%s", diff)
	}
	suppressed := 0.0
	for name, value := range countsAfter {
		if was := counts[name]; value != was {
			if strings.HasPrefix(name, "halfmask_collector_suppressed_events_total") {
				suppressed += value - was
			} else if !strings.HasPrefix(name, "halfmask_collector_") && !strings.HasPrefix(name, "halfmask_ledger_") {
				t.Errorf("%s went from %v to %v", name, was, value)
			}
		}
	}
	if suppressed < 8 {
		t.Errorf("%v opt-outs were counted", suppressed)
	}
	if got := countsAfter["halfmask_collector_accepted_events_total"]; got != counts["halfmask_collector_accepted_events_total"] {
		t.Errorf("%v events were accepted", got)
	}
}

// fingerprints are the hashes of the files below a folder; of the ledger, whose
// eight-byte counts go up with each request, it is the size.
func fingerprints(t *testing.T, dir string) map[string]string {
	t.Helper()
	prints := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(name)
		if filepath.Base(name) == "ledger" {
			text = make([]byte, len(text))
		}
		prints[name] = fmt.Sprintf("%d bytes, %x", len(text), sha256.Sum256(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return prints
}

// scrape returns the names of Halfmask's series, and the values of those that
// count hits, sessions and what was spooled. Left out are the durations of
// statements and of the dashboard's answers, each of which appears when the
// first of its kind was run.
func scrape(t *testing.T, server *e2e.Server) (series []string, counts map[string]float64) {
	t.Helper()
	counts = map[string]float64{}
	for name, family := range server.Metrics(t) {
		if !strings.HasPrefix(name, "halfmask_") || strings.HasPrefix(name, "halfmask_storage_query_") || strings.HasPrefix(name, "halfmask_dashboard_") {
			continue
		}
		for _, metric := range family.GetMetric() {
			key := name
			for _, label := range metric.GetLabel() {
				key += "," + label.GetName() + "=" + label.GetValue()
			}
			series = append(series, key)
			for _, counted := range []string{"halfmask_collector_", "halfmask_ingest_", "halfmask_enrich_", "halfmask_session", "halfmask_spool_appended", "halfmask_spool_pending"} {
				if strings.HasPrefix(name, counted) && !strings.Contains(name, "connections") {
					counts[key] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
				}
			}
		}
	}
	slices.Sort(series)
	return series, counts
}

// TestAFloodOfValues: somebody who makes up a new value for everything, each
// time, can neither fill ClickHouse with parts nor /metrics with series, and
// what was there before keeps its name.
func TestAFloodOfValues(t *testing.T) {
	theirs := startClickHouse(t)
	server := e2e.Start(t, e2e.Options{
		Args: []string{"--batch-interval", "20ms"},
		Env:  []string{"HALFMASK_CLICKHOUSE=" + theirs.dsn("")},
	})
	server.AddSite(t, "example.com")
	token := server.AddToken(t, "example.com")
	send(t, server, "/real")
	e2e.Eventually(t, "it is stored", func() bool { return server.Totals(t, token, "example.com", "events")[0] == 1 })
	series, _ := scrape(t, server)
	const workers, each = 4, 1500
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			for i := range each {
				v := fmt.Sprintf("made-up-%d-%d", worker, i)
				body, _ := json.Marshal(map[string]any{
					"n": v, "d": "example.com", "u": "https://" + v + ".example.com/" + v + "?utm_source=" + v + "&utm_medium=" + v + "&utm_campaign=" + v + "&utm_content=" + v + "&utm_term=" + v,
					"r": "https://" + v + ".example/" + v, "p": map[string]string{v: v},
				})
				request, err := http.NewRequest(http.MethodPost, server.Collector+"/api/event", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				request.Header.Set("User-Agent", fmt.Sprintf("Mozilla/5.0 (X11; Linux x86_64; rv:%d.%d) Gecko/20100101 Firefox/%[1]d.%[2]d", 100+worker, i))
				response, err := client.Do(request)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				if response.StatusCode != http.StatusAccepted {
					t.Errorf("answered %d", response.StatusCode)
				}
			}
		})
	}
	wg.Wait()
	send(t, server, "/real")
	e2e.Eventually(t, "all of it is stored", func() bool {
		return server.Totals(t, token, "example.com", "events")[0] == workers*each+2
	})
	after, _ := scrape(t, server)
	if diff := cmp.Diff(series, after); diff != "" {
		t.Errorf("metrics appeared or went (-before +after):\n%s", diff)
	}
	for dimension, most := range map[string]int{"event:name": 1002, "event:hostname": 1001, "visit:source": 5002, "visit:utm_term": 5002, "visit:browser_version": 1002, "event:page": workers*each + 2} {
		values := server.ByDimension(t, token, "example.com", "events", dimension)
		if len(values) > most {
			t.Errorf("%s has %d values", dimension, len(values))
		}
		if most < workers*each && values["(other)"] == 0 {
			t.Errorf("%s has no (other)", dimension)
		}
	}
	if got := server.ByDimension(t, token, "example.com", "events", "event:page")["/real"]; got != 2 {
		t.Errorf("the real page has %v events", got)
	}
	if got := server.Metrics(t).Value("halfmask_enrich_other_values_total", "column", "name"); got != workers*each-1000 {
		t.Errorf("%v names became (other)", got)
	}
	parts := theirs.count(t, "SELECT count() FROM system.parts WHERE active AND database = 'halfmask' AND table = 'events'")
	keys := theirs.count(t, "SELECT uniqExact(arrayJoin(mapKeys(props))) FROM halfmask.events")
	t.Logf("%d parts, %d property keys", parts, keys)
	if parts >= 300 || keys > 300 {
		t.Errorf("there are %d parts and %d property keys", parts, keys)
	}
}
