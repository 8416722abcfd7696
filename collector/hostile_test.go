package collector

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
)

func post(body string, headers ...string) string {
	return "POST /api/event HTTP/1.1\r\nHost: h\r\n" + strings.Join(append(headers, ""), "\r\n") + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
}

func chunked(body string, headers ...string) string {
	return "POST /api/event HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" + strings.Join(append(headers, ""), "\r\n") +
		fmt.Sprintf("\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
}

// statuses lists the status codes of the answers in what came back.
func statuses(t *testing.T, back string) (codes []int) {
	t.Helper()
	r := bufio.NewReader(strings.NewReader(back))
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: "POST"})
		if err != nil {
			return codes
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		codes = append(codes, resp.StatusCode)
	}
}

// Each of these ends in the given answers and a closed connection. What looks
// like a second request behind a first one of unclear length must never be
// taken for one.
func TestHostileRequests(t *testing.T) {
	smuggled := post(strings.Replace(pageview, "/a?", "/smuggled?", 1))
	last := func(body string, headers ...string) string {
		return post(body, append(headers, "Connection: close")...)
	}
	for name, c := range map[string]struct {
		send string
		want []int // any of these alone; an empty list: a closed connection will do
		hits int
	}{
		"length and chunks":          {chunked("", "Content-Length: 4") + smuggled, []int{400}, 0},
		"length of 0 and chunks":     {chunked(pageview, "Content-Length: 0") + smuggled, []int{400}, 0},
		"chunks and length":          {post("0\r\n\r\n", "Transfer-Encoding: chunked") + smuggled, []int{400}, 0},
		"two lengths":                {post(pageview, "Content-Length: 5") + smuggled, []int{400}, 0},
		"the same length twice":      {post("", "Content-Length: 0") + smuggled, []int{400}, 0},
		"space before the colon":     {post("0\r\n\r\n", "Transfer-Encoding : chunked") + smuggled, []int{400}, 0},
		"tab before the colon":       {post("0\r\n\r\n", "Transfer-Encoding\t: chunked") + smuggled, []int{400}, 0},
		"length with a space":        {"POST /api/event HTTP/1.1\r\nHost: h\r\nContent-Length : 0\r\n\r\n" + smuggled, []int{400}, 0},
		"unknown coding":             {post("0\r\n\r\n", "Transfer-Encoding: xchunked") + smuggled, []int{400}, 0},
		"chunked, but not last":      {post("0\r\n\r\n", "Transfer-Encoding: chunked, gzip") + smuggled, []int{400}, 0},
		"two codings":                {post("0\r\n\r\n", "Transfer-Encoding: chunked", "Transfer-Encoding: identity") + smuggled, []int{400}, 0},
		"negative length":            {"POST /api/event HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n" + smuggled, []int{400}, 0},
		"signed length":              {"POST /api/event HTTP/1.1\r\nHost: h\r\nContent-Length: +0\r\n\r\n" + smuggled, []int{400}, 0},
		"hexadecimal length":         {"POST /api/event HTTP/1.1\r\nHost: h\r\nContent-Length: 0x0\r\n\r\n" + smuggled, []int{400}, 0},
		"list of lengths":            {"POST /api/event HTTP/1.1\r\nHost: h\r\nContent-Length: 0, 0\r\n\r\n" + smuggled, []int{400}, 0},
		"huge length":                {"POST /api/event HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n" + smuggled, []int{400}, 0},
		"newline in a chunk's extra": {"POST /api/event HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0;a\nb\r\n\r\n" + smuggled, []int{400}, 0},
		"broken chunk size":          {"POST /api/event HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n" + smuggled, []int{400}, 0},
		"negative chunk size":        {"POST /api/event HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + smuggled, []int{400}, 0},
		"HTTP/1.0 with chunks":       {strings.Replace(chunked(pageview), "HTTP/1.1", "HTTP/1.0", 1) + smuggled, []int{400}, 0},
		"bare newline in a chunk":    {"POST /api/event HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n" + smuggled, []int{400}, 0},
		"newline after a chunk":      {"POST /api/event HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\n0\r\n\r\n" + smuggled, []int{400}, 0},
		"more than the chunk":        {"POST /api/event HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}{}\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		"chunk size with 0x":         {"POST /api/event HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		"chunk size too large":       {"POST /api/event HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{}\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		"folded length":              {"POST /api/event HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n 0\r\n\r\n" + smuggled, []int{400}, 0},
		"folded other header":        {"POST /api/event HTTP/1.1\r\nHost: h\r\nX: a\r\n Content-Length: 0\r\n\r\n" + smuggled, []int{400}, 0},
		"carriage return in a name":  {"POST /api/event HTTP/1.1\r\nHost: h\r\nX\rContent-Length: 0\r\n\r\n" + smuggled, []int{400}, 0},
		"coding with vertical tab":   {post("0\r\n\r\n", "Transfer-Encoding: \x0bchunked") + smuggled, []int{400}, 0},
		"coding in quotes":           {post("0\r\n\r\n", "Transfer-Encoding: \"chunked\"") + smuggled, []int{400}, 0},
		"space before all headers":   {"POST /api/event HTTP/1.1\r\n Transfer-Encoding: chunked\r\nHost: h\r\n\r\n" + smuggled, []int{400}, 0},
		"pixel with two lengths":     {"GET /pixel.gif HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n" + smuggled, []int{400}, 0},
		"a million keys":             {post("{" + strings.Repeat("\"a\":0,", 1_000_000) + "\"b\":0}"), []int{413}, 0},
		"two hosts":                  {post(pageview, "Host: i"), []int{400}, 0},
		"NUL in a header":            {post(pageview, "X: a\x00b"), []int{400}, 0},
		"folded header":              {post("0\r\n\r\n", "Transfer-Encoding:", " chunked") + smuggled, []int{400}, 0},
		"no header name":             {post(pageview, ": x"), []int{400}, 0},
		"HTTP/2":                     {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{400, 404, 405, 505}, 0},
		"nonsense":                   {"nonsense\r\n\r\n", []int{400}, 0},

		"megabyte of header":    {post(pageview, "X: "+strings.Repeat("x", 1<<20)), []int{431}, 0},
		"megabyte of headers":   {post(pageview, strings.Repeat("X: y\r\n", 1<<18)+"X: y"), []int{431}, 0},
		"500 headers":           {last(pageview, strings.Repeat("X: y\r\n", 500)+"X: y"), []int{431}, 0},
		"long URL":              {"GET /pixel.gif?u=" + strings.Repeat("x", 20_000) + " HTTP/1.1\r\nHost: h\r\n\r\n", []int{431}, 0},
		"10 MB body":            {post(strings.Repeat("x", 10<<20)), []int{413}, 0},
		"10 MB of chunks":       {chunked(strings.Repeat("x", 10<<20)), []int{413}, 0},
		"10 MB announced":       {"POST /api/event HTTP/1.1\r\nHost: h\r\nContent-Length: 10485760\r\n\r\n", []int{413}, 0},
		"10 MB asked for":       {"POST /api/event HTTP/1.1\r\nHost: h\r\nContent-Length: 10485760\r\nExpect: 100-continue\r\n\r\n", []int{413}, 0},
		"one byte too many":     {post(strings.Repeat(" ", 65<<10+1)), []int{413}, 0},
		"largest body":          {last(pageview + strings.Repeat(" ", 65<<10-len(pageview))), []int{202}, 1},
		"what sendBeacon takes": {last(pageview + strings.Repeat(" ", 64<<10-len(pageview))), []int{202}, 1},
		"brotli bomb":           {last(strings.Repeat("\x00", 1000), "Content-Encoding: br"), []int{415}, 0},
		"gzip in gzip":          {last("\x1f\x8b\x08", "Content-Encoding: gzip, gzip"), []int{415}, 0},
		"the same key twice":    {last(`{"n":"x","u":"https://example.com/a","u":"https://example.com/b","d":"nobody.example","d":"example.com"}`), []int{202}, 1},
		"gzip bomb":             {last("\x1f\x8b\x08"+strings.Repeat("\x00", 1000), "Content-Encoding: gzip"), []int{415}, 0},
		"nested deeply":         {last(strings.Repeat(`{"a":`, 10_000)), []int{400}, 0},
		"many keys":             {last("{" + strings.Repeat(`"a":0,`, 10_000) + `"b":0}`), []int{400}, 0},
		"many properties":       {last(`{"n":"x","u":"https://example.com/","p":{` + strings.Repeat(`"a":0,`, 10_000) + `"b":0}}`), []int{202}, 1},
		"many parameters":       {"GET /pixel.gif?" + strings.Repeat("a&", 7000) + "u=https://example.com/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", []int{200}, 1},

		"chunks":           {chunked(pageview, "Connection: close"), []int{202}, 1},
		"absolute target":  {strings.Replace(last(pageview), "/api/event", "http://h/api/event", 1), []int{202}, 1},
		"HTTP/1.0":         {strings.Replace(post(pageview), "HTTP/1.1", "HTTP/1.0", 1), []int{202}, 1},
		"asked for":        {strings.Replace(last(pageview), "\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 1), []int{100, 202}, 1},
		"pipelined":        {post(pageview) + post("{") + post(pageview) + "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", []int{202, 400, 202, 200}, 2},
		"other path's end": {strings.Replace(last(pageview), "/api/event", "/api/event/", 1), []int{404}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, nil)
			back := d.raw(t, c.send)
			got := statuses(t, back)
			switch {
			case len(got) == 0 && c.want[0] == 413:
				// The reset that follows an unread body may overtake the answer.
			case len(c.want) > 1 && c.want[0] != 400 || c.hits > 0:
				if fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("answers %v, want %v: %.200q", got, c.want, back)
				}
			default:
				if len(got) != 1 || !strings.Contains(fmt.Sprint(c.want), fmt.Sprint(got[0])) {
					t.Errorf("answers %v, want one of %v: %.200q", got, c.want, back)
				}
			}
			hits := d.recorder.all()
			if len(hits) != c.hits {
				t.Errorf("%d hits, want %d", len(hits), c.hits)
			}
			if d.log.String() != "" {
				t.Errorf("log %q", d.log.String())
			}
			d.balance(t)
		})
	}
}

// A client that breaks off or dawdles gets a 4xx or a closed connection.
func TestBrokenOffAndSlow(t *testing.T) {
	short := func(o *Options) {
		o.Limits = Limits{ReadTimeout: 500 * time.Millisecond, IdleTimeout: 500 * time.Millisecond, WriteTimeout: time.Second}
	}
	whole := post(pageview)
	for name, c := range map[string]struct {
		send       string
		closeWrite bool
		class      string
		status     string
	}{
		"broken off in the header": {send: whole[:20], closeWrite: true, class: "truncated", status: "400"},
		"broken off in the body":   {send: whole[:len(whole)-5], closeWrite: true, class: "truncated", status: "400"},
		"broken off in a chunk":    {send: chunked(pageview)[:150], closeWrite: true, class: "truncated", status: "400"},
		"slow in the header":       {send: whole[:20], class: "timeout", status: "408"},
		"slow in the body":         {send: whole[:len(whole)-5], class: "timeout", status: "408"},
		"speaks TLS":               {send: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", class: "timeout", status: "408"},
		"says nothing":             {class: "timeout", status: "408"},
		"says nothing more":        {send: whole, status: "202"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, short)
			conn, err := net.Dial("tcp", d.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(conn, c.send)
			if c.closeWrite {
				_ = conn.(*net.TCPConn).CloseWrite()
			}
			back, err := io.ReadAll(conn) // ends because the door closes the connection
			if err != nil || !strings.HasPrefix(string(back), "HTTP/1.1 "+c.status) {
				t.Errorf("%v, answer %q", err, back)
			}
			if c.class != "" && d.count(t, "connection_errors_total", c.class) != 1 {
				t.Error("not counted")
			}
			if got := len(d.recorder.all()); got != strings.Count(c.status, "202") {
				t.Errorf("%d hits", got)
			}
			d.balance(t)
		})
	}
}

// Whatever is sent, the process must not grow for it.
func TestHostileRequestsLeaveNothingBehind(t *testing.T) {
	d := open(t, func(o *Options) {
		o.Limits = Limits{ReadTimeout: 300 * time.Millisecond, IdleTimeout: 300 * time.Millisecond}
	})
	attack := func(n int) {
		var wg sync.WaitGroup
		sends := []string{post(strings.Repeat("x", 1<<20)), post(pageview, strings.Repeat("X: y\r\n", 5000)), chunked(strings.Repeat("x", 1<<20)),
			"POST /api/event HTTP/1.1\r\n", post(pageview)[:100], "\xff\x00\r\n\r\n", post(strings.Repeat("[", 60_000)), post(pageview)}
		for i := range n {
			wg.Go(func() { d.raw(t, sends[i%len(sends)]) })
		}
		wg.Wait()
	}
	memory := func() uint64 {
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	goroutines := runtime.NumGoroutine()
	attack(200)
	bytes := memory()
	for range 4 {
		attack(200)
	}
	// The workers of the 200 that came at once stay for another 10 s.
	if got := runtime.NumGoroutine(); got > goroutines+300 {
		t.Errorf("%d goroutines after, %d before", got, goroutines)
	}
	if got := memory(); got > bytes+16<<20 {
		t.Errorf("%d MB after, %d MB before", got>>20, bytes>>20)
	}
	d.balance(t)
}

const provoke = "HALFMASK_TEST_PROVOKE"

// Every message that the HTTP server would log names an address. The child
// process provokes them all, and its whole output is searched.
func TestNothingLogsAnAddress(t *testing.T) {
	if os.Getenv(provoke) != "" { // this is the child
		provokeMessages(t)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self, "-test.run=^TestNothingLogsAnAddress$", "-test.v")
	child.Env = append(os.Environ(), provoke+"=1")
	var out bytes.Buffer
	child.Stdout, child.Stderr = &out, &out
	if err := child.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	if !strings.Contains(out.String(), "provoked") {
		t.Fatalf("the child provoked nothing:\n%s", out.Bytes())
	}
	for _, secret := range []string{"127.0.0.1", "203.0.113", "SECRET", "<->"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%s is in the output:\n%s", secret, out.Bytes())
		}
	}
}

// provokeMessages is the child's part of TestNothingLogsAnAddress.
func provokeMessages(t *testing.T) {
	t.Helper()
	d := open(t, func(o *Options) {
		o.Logger = nil // the test's own buffer is searched elsewhere
		o.Limits = Limits{ReadTimeout: 100 * time.Millisecond, ConnectionsPerPeer: 2}
	})
	for _, send := range []string{
		"SECRET\r\n\r\n", post(pageview, "SECRET : x"), post(pageview, "Transfer-Encoding: SECRET"), post(pageview, "Content-Length: SECRET"),
		post(strings.Repeat("SECRET", 20_000)), post(pageview, "X: "+strings.Repeat("SECRET", 10_000)), post(pageview)[:50],
		"POST /api/event HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nSECRET", "GET http://SECRET:x/%zz HTTP/1.1\r\nHost: h\r\n\r\n",
		"\x16\x03\x01SECRET",
	} {
		d.raw(t, send)
	}
	conns := make([]net.Conn, 5)
	for i := range conns {
		conn, err := net.Dial("tcp", d.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[i] = conn
	}
	for _, conn := range conns {
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.Copy(io.Discard, conn)
	}
	if d.count(t, "connection_errors_total", "too_many_of_one_peer") == 0 || d.count(t, "connection_errors_total", "malformed") == 0 {
		t.Error("nothing happened")
	}
	fmt.Fprintln(os.Stderr, "provoked")
}
