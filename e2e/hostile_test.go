package e2e_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/halfmask/halfmask/e2e"
)

// TestBadInput throws at the real binary what the internet will throw at it:
// each gets a clear refusal or a closed connection, and nothing else changes.
func TestBadInput(t *testing.T) {
	server := e2e.Start(t, e2e.Options{})
	server.AddSite(t, "example.com")
	token := server.AddToken(t, "example.com")
	address := strings.TrimPrefix(server.Collector, "http://")
	post := func(body string) string {
		return fmt.Sprintf("POST /api/event HTTP/1.1\r\nHost: c\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0\r\n"+
			"Content-Length: %d\r\n\r\n%s", len(body), body)
	}
	cases := []struct {
		name, request string
		want          []string // one of these statuses, or "" for a closed connection
		says          string
	}{
		{"truncated JSON", post(`{"n":"pageview","u":"https://exam`), []string{"400"}, `"errors"`},
		{"no JSON at all", post("\x00\x01\x02"), []string{"400"}, `"errors"`},
		{"an empty body", post(""), []string{"400"}, `"errors"`},
		{"invalid UTF-8", post("{\"n\":\"pageview\",\"u\":\"https://example.com/\xff\xfe\",\"d\":\"example.com\"}"), []string{"400"}, `"errors"`},
		{"an unknown site", post(`{"n":"pageview","u":"https://nobody.example/","d":"nobody.example"}`), []string{"400"}, `"domain"`},
		{"too deep", post(`{"p":` + strings.Repeat(`{"a":`, 5_000)), []string{"400"}, `"errors"`},
		{"a body of 10 MB", post(strings.Repeat("x", 10<<20)), []string{"413", ""}, ""},
		{"a length that lies", "POST /api/event HTTP/1.1\r\nHost: c\r\nContent-Length: 99999999999\r\n\r\n{}", []string{"413", "400", ""}, ""},
		{"a header flood", "POST /api/event HTTP/1.1\r\nHost: c\r\n" + strings.Repeat("X-A: b\r\n", 100_000) + "\r\n", []string{"431", "400", ""}, ""},
		{"an endless header", "POST /api/event HTTP/1.1\r\nX: " + strings.Repeat("y", 1<<20), []string{"431", "400", ""}, ""},
		{"two lengths", "POST /api/event HTTP/1.1\r\nHost: c\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}\n", []string{"400", ""}, ""},
		{"not HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", []string{"400", ""}, ""},
	}
	attack := func(report bool) {
		for _, c := range cases {
			status, answer := raw(t, address, c.request)
			found := false
			for _, want := range c.want {
				found = found || status == want
			}
			if report && (!found || !strings.Contains(answer, c.says)) {
				t.Errorf("%s: answered %q, want one of %q saying %q:\n%.300s", c.name, status, c.want, c.says, answer)
			}
		}
	}
	attack(true)
	attack(false)
	before := resident(t, server.PID())
	for range 30 {
		attack(false)
	}
	if after := resident(t, server.PID()); after > before+64<<20 {
		t.Errorf("bad input made the process grow from %d to %d MiB", before>>20, after>>20)
	}

	// A client that never finishes its request is let go.
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /api/event HTTP/1.1\r\nHost: c\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadAll(conn); err != nil && os.IsTimeout(err) {
		t.Error("a client that never finishes its request is kept for ever")
	}

	// It still does its work, and nothing of the above was counted as a view.
	send(t, server, "/alive")
	e2e.Eventually(t, "the good event is stored", func() bool {
		return server.Totals(t, token, "example.com", "events")[0] == 1
	})
	m := server.Metrics(t)
	received := m.Value("halfmask_collector_received_events_total")
	sum := m.Value("halfmask_collector_accepted_events_total") + m.Value("halfmask_collector_dropped_events_total") +
		m.Value("halfmask_collector_suppressed_events_total") + m.Value("halfmask_collector_refused_events_total") +
		m.Value("halfmask_collector_rejected_requests_total")
	if received != sum {
		t.Errorf("received %v, but the outcomes add up to %v", received, sum)
	}
}

// raw sends bytes and returns the status of the answer, "" if there was none.
func raw(t *testing.T, address, request string) (status, answer string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatalf("the server does not listen any more: %v", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(15 * time.Second))
	_, _ = io.WriteString(conn, request) // it may be cut off in the middle
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
	text, _ := io.ReadAll(io.LimitReader(conn, 1<<16))
	if len(text) > 12 {
		status = string(text[9:12])
	}
	return status, string(text)
}

func resident(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
