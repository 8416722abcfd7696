package collector

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/halfmask/halfmask/event"
)

// sites is a fixed list of sites.
type sites map[string]*event.Site

func (s sites) Site(domain string) (*event.Site, bool) {
	site, found := s[domain]
	return site, found
}

// masker keeps the addresses it is asked to mask, for the test to compare.
type masker struct {
	mu    sync.Mutex
	addrs []netip.Addr
	hook  func(*event.Hit)
}

func (m *masker) Mask(h *event.Hit, addr netip.Addr) bool {
	m.mu.Lock()
	m.addrs = append(m.addrs, addr)
	m.mu.Unlock()
	if m.hook != nil {
		m.hook(h)
	}
	h.Visitor = event.VisitorID(h.Site.ID)
	return true
}

// recorder keeps a copy of the hits it accepts and answers what it is told to.
type recorder struct {
	mu      sync.Mutex
	hits    []event.Hit
	outcome event.Outcome
	hook    func(*event.Hit)
}

func (r *recorder) Record(h *event.Hit) event.Outcome {
	if r.hook != nil {
		r.hook(h)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.outcome == event.Accepted {
		r.hits = append(r.hits, keepHit(h))
	}
	return r.outcome
}

// keepHit clones what a hit borrows.
func keepHit(h *event.Hit) event.Hit {
	k := *h
	for _, s := range []*string{&k.Name, &k.Hostname, &k.Path, &k.Ref, &k.Referrer,
		&k.Campaign.Source, &k.Campaign.Medium, &k.Campaign.Campaign, &k.Campaign.Content, &k.Campaign.Term} {
		*s = strings.Clone(*s)
	}
	k.UserAgent = event.UserAgent(strings.Clone(string(k.UserAgent)))
	k.Props = slices.Clone(h.Props)
	for i, p := range k.Props {
		k.Props[i] = event.Prop{Key: strings.Clone(p.Key), Value: strings.Clone(p.Value)}
	}
	return k
}

func (r *recorder) all() []event.Hit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.hits)
}

// door is a Collector that serves on a real listener.
type door struct {
	*Collector
	addr     string
	masker   *masker
	recorder *recorder
	registry *prometheus.Registry
	log      *lockedBuffer
	served   chan error
}

func open(t testing.TB, change func(*Options)) *door {
	t.Helper()
	d := &door{masker: &masker{}, recorder: &recorder{}, registry: prometheus.NewRegistry(), log: new(lockedBuffer), served: make(chan error, 1)}
	o := Options{
		Sites: sites{
			"example.com": {ID: 1, Domain: "example.com", Zone: time.UTC},
			"example.org": {ID: 2, Domain: "example.org", Zone: time.UTC},
		},
		Masker:     d.masker,
		Recorder:   d.recorder,
		Registerer: d.registry,
		Logger:     slog.New(slog.NewTextHandler(d.log, nil)),
		Assets: map[string]Asset{"/js/hm.js": {
			ContentType: "text/javascript; charset=utf-8", CacheControl: "public, max-age=3600", ETag: `W/"abc"`,
			Body: []byte("script"), Gzip: []byte("packed"),
		}},
	}
	if change != nil {
		change(&o)
	}
	d.Collector = New(o)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.addr = ln.Addr().String()
	go func() { d.served <- d.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = d.Shutdown(ctx)
	})
	return d
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// raw sends bytes and returns everything that comes back until the connection
// closes or the answers are complete.
func (d *door) raw(t testing.TB, send string) string {
	t.Helper()
	conn, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	go func() { _, _ = io.WriteString(conn, send) }()
	var got bytes.Buffer
	_, _ = io.Copy(&got, conn)
	return got.String()
}

// send makes one request and closes the connection.
func (d *door) send(t testing.TB, method, path, body string, headers ...string) *http.Response {
	t.Helper()
	var req strings.Builder
	fmt.Fprintf(&req, "%s %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n", method, path)
	if body != "" || method == "POST" {
		fmt.Fprintf(&req, "Content-Length: %d\r\n", len(body))
	}
	for _, h := range headers {
		req.WriteString(h + "\r\n")
	}
	answer := d.raw(t, req.String()+"\r\n"+body)
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s: %v in %q", method, path, err, answer)
	}
	return resp
}

func bodyOf(t testing.TB, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// count sums the metric's series whose labels contain all of the given values.
func (d *door) count(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	families, err := d.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum, found := 0.0, false
	for _, f := range families {
		if f.GetName() != "halfmask_collector_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			values := map[string]bool{}
			for _, l := range m.GetLabel() {
				values[l.GetValue()] = true
			}
			if slices.ContainsFunc(labels, func(want string) bool { return !values[want] }) {
				continue
			}
			found = true
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if !found {
		t.Errorf("no metric %s with %q", name, labels)
	}
	return sum
}

const pageview = `{"n":"pageview","u":"https://www.example.com/a?utm_source=s&q=x","d":"example.com","r":"https://r.org/","p":{"k":"v"}}`

func TestBeacon(t *testing.T) {
	d := open(t, nil)
	before := time.Now()
	r := d.send(t, "POST", "/api/event", pageview, "User-Agent: Mozilla/5.0 X", "Content-Type: text/plain")
	after := time.Now()
	if r.StatusCode != 202 || bodyOf(t, r) != "ok" || r.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("answer %v", r)
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Access-Control") || name == "Server" || name == "Set-Cookie" {
			t.Errorf("header %s: %s", name, r.Header.Get(name))
		}
	}
	hits := d.recorder.all()
	if len(hits) != 1 {
		t.Fatalf("%d hits", len(hits))
	}
	h := hits[0]
	if h.At.Before(before) || h.At.After(after) {
		t.Errorf("at %v, not within %v and %v", h.At, before, after)
	}
	if h.Site.Domain != "example.com" || h.Kind != event.Pageview || h.Path != "/a" || h.Campaign.Source != "s" ||
		h.Referrer != "https://r.org/" || len(h.Props) != 1 || h.Visitor != 1 || string(h.UserAgent) != "Mozilla/5.0 X" {
		t.Errorf("hit %+v", h)
	}
	if want := netip.MustParseAddr("127.0.0.1"); d.masker.addrs[0] != want {
		t.Errorf("masked %v", d.masker.addrs)
	}
}

// A page's answers, one line each: what is sent, and status, body and headers
// that come back.
func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
		answer             string   // whole body
		want               []string // "Name: value" that must be there
		hits               int
	}{
		"unknown site": {method: "POST", path: "/api/event", body: `{"n":"pageview","u":"https://nobody.example/"}`, status: 400,
			answer: `{"errors":{"domain":["is not a site of this Halfmask: check the domain in your snippet, or add it with ` + "`halfmask site add`" + `"]}}`},
		"one known, one unknown": {method: "POST", path: "/api/event", body: `{"n":"pageview","u":"https://example.com/","d":"example.com,nobody.example"}`,
			status: 202, answer: "ok", hits: 1, want: []string{"X-Halfmask-Dropped: unknown_site"}},
		"two sites": {method: "POST", path: "/api/event", body: `{"n":"pageview","u":"https://example.com/","d":"example.com,example.org"}`,
			status: 202, answer: "ok", hits: 2},
		"broken": {method: "POST", path: "/api/event", body: `{"n":"pagevi`, status: 400,
			answer: `{"errors":{"request":["Unable to parse request body as json: it ends too early"]}}`,
			want:   []string{"Content-Type: application/json", "X-Content-Type-Options: nosniff"}},
		"empty": {method: "POST", path: "/api/event", status: 400,
			answer: `{"errors":{"request":["Unable to parse request body as json: it ends too early"]}}`},
		"errors can be read by the page": {method: "POST", path: "/api/event", body: `{}`, headers: []string{"Origin: https://example.com"}, status: 400,
			answer: `{"errors":{"url":["is required"],"event_name":["can't be blank"]}}`,
			want:   []string{"Access-Control-Allow-Origin: https://example.com"}},
		"prerendered": {method: "POST", path: "/api/event", body: pageview, headers: []string{"Sec-Purpose: prefetch;prerender"}, status: 202, answer: "ok", hits: 1},
		"content type does not matter": {method: "POST", path: "/api/event", body: pageview, headers: []string{"Content-Type: multipart/form-data; boundary=x"},
			status: 202, answer: "ok", hits: 1},
		"CORS": {method: "POST", path: "/api/event", body: pageview, headers: []string{"Origin: https://www.example.com"}, status: 202, answer: "ok", hits: 1,
			want: []string{"Access-Control-Allow-Origin: https://www.example.com", "Access-Control-Allow-Credentials: true", "Vary: Origin"}},
		"why it was dropped can be read by the page": {method: "POST", path: "/api/event", headers: []string{"Origin: https://www.example.com"},
			body: `{"n":"pageview","u":"https://example.com/","d":"example.com,nobody.example"}`, status: 202, answer: "ok", hits: 1,
			want: []string{"X-Halfmask-Dropped: unknown_site", "Access-Control-Expose-Headers: X-Halfmask-Dropped"}},
		"CORS of a sandboxed page": {method: "POST", path: "/api/event", body: pageview, headers: []string{"Origin: null"}, status: 202, answer: "ok", hits: 1,
			want: []string{"Access-Control-Allow-Origin: null"}},
		"compressed body": {method: "POST", path: "/api/event", body: pageview, headers: []string{"Content-Encoding: gzip"}, status: 415,
			answer: `{"errors":{"request":["must not be compressed"]}}`},
		"body that says it is not compressed": {method: "POST", path: "/api/event", body: pageview, headers: []string{"Content-Encoding: identity"},
			status: 202, answer: "ok", hits: 1},
		"preflight": {method: "OPTIONS", path: "/api/event", headers: []string{"Origin: https://e.com", "Access-Control-Request-Method: POST",
			"Access-Control-Request-Headers: content-type, x-y"}, status: 204,
			want: []string{"Access-Control-Allow-Origin: https://e.com", "Access-Control-Allow-Credentials: true", "Access-Control-Allow-Methods: GET, POST, OPTIONS",
				"Access-Control-Allow-Headers: content-type, x-y", "Access-Control-Max-Age: 86400", "Vary: Origin, Access-Control-Request-Headers",
				"Allow: OPTIONS, POST"}},
		"preflight of nothing": {method: "OPTIONS", path: "/nothing", headers: []string{"Origin: https://e.com"}, status: 204,
			want: []string{"Access-Control-Allow-Origin: https://e.com", "Allow: OPTIONS"}},
		"options without origin": {method: "OPTIONS", path: "/pixel.gif", status: 204, want: []string{"Allow: GET, HEAD, OPTIONS", "Access-Control-Allow-Origin: "}},

		"pixel": {method: "GET", path: "/pixel.gif?d=example.com&u=https%3A%2F%2Fexample.com%2Fa", status: 200, answer: string(pixel), hits: 1,
			want: []string{"Content-Type: image/gif", "Content-Length: 43", "Cache-Control: no-store", "Cross-Origin-Resource-Policy: cross-origin"}},
		"pixel by referer": {method: "GET", path: "/pixel.gif", headers: []string{"Referer: https://example.com/a"}, status: 200, answer: string(pixel), hits: 1},
		"pixel unknown site": {method: "GET", path: "/pixel.gif?d=nobody.example&u=https://nobody.example", status: 400, answer: string(pixel),
			want: []string{"Content-Type: image/gif", "X-Halfmask-Error: domain: is not a site of this Halfmask: check the domain in your snippet, or add it with `halfmask site add`"}},
		"pixel without anything": {method: "GET", path: "/pixel.gif", status: 400, answer: string(pixel), want: []string{"X-Halfmask-Error: url: is required"}},
		"pixel checked":          {method: "HEAD", path: "/pixel.gif?d=example.com&u=https://example.com", status: 200, want: []string{"Content-Length: 43"}},
		"pixel posted":           {method: "POST", path: "/pixel.gif", body: pageview, status: 405, answer: "This path answers to: GET, HEAD, OPTIONS\n", want: []string{"Allow: GET, HEAD, OPTIONS"}},

		"script": {method: "GET", path: "/js/hm.js", status: 200, answer: "script",
			want: []string{"Content-Type: text/javascript; charset=utf-8", "Cache-Control: public, max-age=3600", `Etag: W/"abc"`, "Vary: Accept-Encoding",
				"X-Content-Type-Options: nosniff", "Cross-Origin-Resource-Policy: cross-origin", "Access-Control-Allow-Origin: *", "Content-Encoding: "}},
		"script with a query": {method: "GET", path: "/js/hm.js?v=1", status: 200, answer: "script"},
		"script packed": {method: "GET", path: "/js/hm.js", headers: []string{"Accept-Encoding: br, gzip;q=0.5"}, status: 200, answer: "packed",
			want: []string{"Content-Encoding: gzip", "Vary: Accept-Encoding"}},
		"script, no gzip wanted": {method: "GET", path: "/js/hm.js", headers: []string{"Accept-Encoding: gzip;q=0"}, status: 200, answer: "script"},
		"script asked about":     {method: "HEAD", path: "/js/hm.js", status: 200, want: []string{"Content-Length: 6", `Etag: W/"abc"`}},
		"script known": {method: "GET", path: "/js/hm.js", headers: []string{`If-None-Match: "x", W/"abc"`}, status: 304,
			want: []string{`Etag: W/"abc"`, "Cache-Control: public, max-age=3600", "Vary: Accept-Encoding"}},
		"script known, strongly": {method: "GET", path: "/js/hm.js", headers: []string{`If-None-Match: "abc"`}, status: 304},
		"script known, any":      {method: "HEAD", path: "/js/hm.js", headers: []string{`If-None-Match: *`}, status: 304},
		"script changed":         {method: "GET", path: "/js/hm.js", headers: []string{`If-None-Match: W/"ab"`}, status: 200, answer: "script"},
		"script posted":          {method: "POST", path: "/js/hm.js", status: 405, answer: "This path answers to: GET, HEAD, OPTIONS\n"},

		"root":           {method: "GET", path: "/", status: 200, answer: "This is a Halfmask collector: it counts page views and only ever keeps half of an address.\n"},
		"nothing":        {method: "GET", path: "/api/eventx", status: 404, answer: "There is nothing here. Beacons go to POST /api/event.\n"},
		"posted nowhere": {method: "POST", path: "/", body: pageview, status: 405, answer: "This path answers to: GET, HEAD, OPTIONS\n"},
		"event read":     {method: "GET", path: "/api/event", status: 405, answer: "This path answers to: OPTIONS, POST\n", want: []string{"Allow: OPTIONS, POST"}},
		"event put":      {method: "PUT", path: "/api/event", status: 405, answer: "This path answers to: OPTIONS, POST\n"},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, nil)
			r := d.send(t, c.method, c.path, c.body, c.headers...)
			if r.StatusCode != c.status {
				t.Errorf("status %d, want %d", r.StatusCode, c.status)
			}
			if got := bodyOf(t, r); got != c.answer {
				t.Errorf("body %q, want %q", got, c.answer)
			}
			for _, line := range c.want {
				key, value, _ := strings.Cut(line, ": ")
				if got := strings.Join(r.Header.Values(key), " | "); got != value {
					t.Errorf("%s: %q, want %q", key, got, value)
				}
			}
			if got := len(d.recorder.all()); got != c.hits {
				t.Errorf("%d hits, want %d", got, c.hits)
			}
		})
	}
}
