package collector

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/halfmask/halfmask/event"
)

// line is a connection whose other end has said all that it will say.
type line struct {
	io.Reader
	said bytes.Buffer
}

func (l *line) Write(p []byte) (int, error)      { return l.said.Write(p) }
func (*line) Close() error                       { return nil }
func (*line) LocalAddr() net.Addr                { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }
func (*line) RemoteAddr() net.Addr               { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 99), Port: 4711} }
func (*line) SetDeadline(time.Time) error        { return nil }
func (*line) SetReadDeadline(t time.Time) error  { return nil }
func (*line) SetWriteDeadline(t time.Time) error { return nil }

// FuzzRequest sends bytes through the whole door: it does not panic, answers
// in HTTP, sets no cookie, books each event once, and does not take a stranger's
// word for where it comes from.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		post(pageview), chunked(pageview), browser(benchBody), post(pageview) + post("{") + post(pageview, "DNT: 1"), "GET /pixel.gif?u=https%3A%2F%2Fexample.com%2F HTTP/1.1\r\nHost: h\r\n\r\n",
		post(pageview, "X-Forwarded-For: 203.0.113.5", "Cookie: halfmask_optout=1"), "OPTIONS /api/event HTTP/1.1\r\nHost: h\r\nOrigin: https://example.com\r\n\r\n",
		"POST /api/event HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n{\"n\":\"x\"}", post(pageview, "Content-Length: 5"), post(pageview, "X: a", " b"),
		"GET /js/hm.js HTTP/1.0\r\nIf-None-Match: W/\"abc\"\r\n\r\n", "nonsense\r\n\r\n", "",
	} {
		f.Add([]byte(s))
	}
	o := benchOptions()
	taker := &recorder{}
	hider := &masker{}
	o.Recorder, o.Masker = taker, hider
	c := New(o)
	f.Fuzz(func(t *testing.T, sent []byte) {
		taker.hits, hider.addrs = nil, nil
		before := testutil.ToFloat64(c.metrics.accepted.(prometheus.Counter))
		l := &line{Reader: bytes.NewReader(sent)}
		_ = c.server.ServeConn(l) // what it complains of, it said to the other end
		if n := testutil.ToFloat64(c.metrics.panics); n != 0 {
			t.Fatal("it panicked")
		}
		said := l.said.String()
		if said != "" && !strings.HasPrefix(said, "HTTP/1.1 ") {
			t.Errorf("said %q", said)
		}
		if strings.Contains(strings.ToLower(said), "\r\nset-cookie") {
			t.Errorf("set a cookie: %q", said)
		}
		if got := testutil.ToFloat64(c.metrics.accepted.(prometheus.Counter)) - before; int(got) != len(taker.hits) {
			t.Errorf("%v events were booked, %d recorded", got, len(taker.hits))
		}
		for _, a := range hider.addrs {
			if a.String() != "192.0.2.99" {
				t.Errorf("a stranger is taken for %v", a)
			}
		}
		for _, hit := range taker.hits {
			if hit.Kind < event.Pageview || hit.Kind > event.Engagement || hit.Site == nil || hit.Path == "" {
				t.Errorf("recorded %+v", hit)
			}
		}
	})
}
