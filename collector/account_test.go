package collector

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/halfmask/halfmask/collector/consent"
	"github.com/halfmask/halfmask/event"
)

// balance checks that every event has exactly one end.
func (d *door) balance(t *testing.T) (received float64) {
	t.Helper()
	received = d.count(t, "received_events_total")
	ends := d.count(t, "accepted_events_total") + d.count(t, "dropped_events_total") + d.count(t, "suppressed_events_total") +
		d.count(t, "refused_events_total") + d.count(t, "rejected_requests_total")
	if received != ends {
		t.Errorf("%v events received, %v accounted for", received, ends)
	}
	return received
}

// Dashboards and alerts need the zeros: a series that appears with its first
// event has no rate for it.
func TestEveryMetricExistsFromTheStart(t *testing.T) {
	d := open(t, nil)
	for name, labels := range map[string][]string{
		"received_events_total":   {"event", "pixel"},
		"accepted_events_total":   {},
		"dropped_events_total":    {"bot", "no_visit_for_engagement", "no_address"},
		"suppressed_events_total": {"optout_cookie", "gpc", "dnt"},
		"refused_events_total":    {"spool_full", "stopping", "panic"},
		"rejected_requests_total": {"body_too_large", "too_many_headers", "bad_framing", "encoded_body", "bad_json", "missing_field", "invalid_field", "unknown_site", "rate_limited"},
		"unrouted_requests_total": {"not_found", "method_not_allowed"},
		"connection_errors_total": {"header_too_large", "body_too_large", "timeout", "truncated", "malformed", "too_many", "too_many_of_one_peer", "accept"},
		"panics_total":            {},
		"connections":             {},
	} {
		if d.count(t, name) != 0 {
			t.Errorf("%s is not 0", name)
		}
		for _, l := range labels {
			d.count(t, name, l)
		}
	}
}

func TestSuppressed(t *testing.T) {
	for header, signal := range map[string]consent.Signal{
		"Cookie: a=b; halfmask_optout=1": consent.OptOutCookie,
		"Sec-GPC: 1":                     consent.GPC,
		"DNT: 1":                         consent.DNT,
	} {
		t.Run(signal.String(), func(t *testing.T) {
			d := open(t, nil)
			// A body that would be refused if anybody looked at it.
			for _, body := range []string{pageview, "\xff not even JSON", ""} {
				r := d.send(t, "POST", "/api/event", body, header, "Origin: https://example.com")
				if r.StatusCode != 202 || bodyOf(t, r) != "ok" || r.Header.Get("X-Halfmask-Dropped") != "" ||
					r.Header.Get("Access-Control-Allow-Origin") != "https://example.com" || r.Header.Get("Set-Cookie") != "" {
					t.Errorf("%q: %v", body, r)
				}
			}
			if r := d.send(t, "GET", "/pixel.gif?u=x", "", header); r.StatusCode != 200 || bodyOf(t, r) != string(pixel) {
				t.Errorf("pixel: %v", r)
			}
			if len(d.masker.addrs) != 0 || len(d.recorder.all()) != 0 || d.log.String() != "" {
				t.Errorf("masked %v, recorded %v, logged %q", d.masker.addrs, d.recorder.all(), d.log.String())
			}
			if got := d.count(t, "suppressed_events_total", signal.String()); got != 4 {
				t.Errorf("%v suppressed", got)
			}
			if got := d.balance(t); got != 4 {
				t.Errorf("%v received", got)
			}
		})
	}
}

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		outcome event.Outcome
		status  int
		dropped string
		retry   string
		metric  string
	}{
		{event.Accepted, 202, "", "", "accepted_events_total"},
		{event.DroppedBot, 202, "bot", "", "dropped_events_total"},
		{event.DroppedNoVisit, 202, "no_visit_for_engagement", "", "dropped_events_total"},
		{event.RefusedSpoolFull, 503, "", "5", "refused_events_total"},
		{event.RefusedStopping, 503, "", "5", "refused_events_total"},
	} {
		t.Run(c.outcome.String(), func(t *testing.T) {
			d := open(t, nil)
			d.recorder.outcome = c.outcome
			r := d.send(t, "POST", "/api/event", pageview)
			if r.StatusCode != c.status || r.Header.Get("X-Halfmask-Dropped") != c.dropped || r.Header.Get("Retry-After") != c.retry {
				t.Errorf("answer %v", r)
			}
			r = d.send(t, "GET", "/pixel.gif?u=https://example.com/", "")
			if (r.StatusCode == 200) != (c.status == 202) || r.Header.Get("X-Halfmask-Dropped") != c.dropped || r.Header.Get("Retry-After") != c.retry ||
				bodyOf(t, r) != string(pixel) {
				t.Errorf("pixel's answer %v", r)
			}
			labels := []string{}
			if c.outcome != event.Accepted {
				labels = append(labels, c.outcome.String())
			}
			if got := d.count(t, c.metric, labels...); got != 2 {
				t.Errorf("%s: %v", c.metric, got)
			}
			if got := d.balance(t); got != 2 {
				t.Errorf("%v received", got)
			}
		})
	}
}

// A beacon for several sites is several events, each with an end of its own.
func TestSeveralSitesOneRefused(t *testing.T) {
	d := open(t, nil)
	first := true
	d.masker.hook = func(h *event.Hit) { d.recorder.outcome = event.DroppedBot }
	d.recorder.hook = func(h *event.Hit) {
		if !first {
			d.recorder.outcome = event.Accepted
		}
		first = false
	}
	r := d.send(t, "POST", "/api/event", `{"n":"pageview","u":"https://example.com/","d":"example.com,nobody.example,example.org"}`)
	if r.StatusCode != 202 || r.Header.Get("X-Halfmask-Dropped") != "bot, unknown_site" {
		t.Errorf("answer %v", r)
	}
	if got := d.balance(t); got != 3 {
		t.Errorf("%v received", got)
	}
	hits := d.recorder.all()
	if len(hits) != 1 || hits[0].Site.Domain != "example.org" || hits[0].Visitor != 2 {
		t.Errorf("hits %+v", hits)
	}
}

// Everything at random, and at the end the books must balance and every
// accepted hit must be one that was sent.
func TestBooksBalance(t *testing.T) {
	d := open(t, nil)
	rnd := rand.New(rand.NewPCG(1, 2))
	d.recorder.hook = func(*event.Hit) {
		if rnd.IntN(20) == 0 {
			panic("sometimes")
		}
		d.recorder.outcome = event.Outcome(rnd.IntN(len(event.Outcomes())))
	}
	sent, bodies := 0, []string{pageview, `{`, `{}`, `{"n":"x","u":"https://nobody.example/"}`, strings.Repeat("x", 70_000),
		`{"n":"x","u":"https://example.com/","d":"example.com,example.org,nobody.example"}`,
		fmt.Sprintf(`{"n":"%s","u":"https://example.com/"}`, strings.Repeat("x", 200))}
	headers := []string{"DNT: 1", "Sec-GPC: 1", "Cookie: halfmask_optout=1", "X: y", "X: y", "X: y", "Content-Encoding: br", "X-Many: " + strings.Repeat("x\r\nX: ", 120)}
	for range 300 {
		body, header := bodies[rnd.IntN(len(bodies))], headers[rnd.IntN(len(headers))]
		sent++
		if strings.Contains(body, "example.org") && header == "X: y" {
			sent += 2
		}
		if rnd.IntN(4) == 0 {
			d.send(t, "GET", "/pixel.gif?u=https://example.com/", "", header)
			if strings.Contains(body, "example.org") && header == "X: y" {
				sent -= 2
			}
			continue
		}
		// The body that is too large may be answered by a reset, and counts all the same.
		d.raw(t, fmt.Sprintf("POST /api/event HTTP/1.1\r\nHost: h\r\nConnection: close\r\n%s\r\nContent-Length: %d\r\n\r\n%s", header, len(body), body))
		if d.send(t, "GET", "/nothing", "").StatusCode != 404 {
			t.Fatal("not found was found")
		}
	}
	if got := d.balance(t); got != float64(sent) {
		t.Errorf("%v received, %v sent", got, sent)
	}
	if got, want := d.count(t, "accepted_events_total"), float64(len(d.recorder.all())); got != want {
		t.Errorf("%v accepted, %v recorded", got, want)
	}
	if d.count(t, "panics_total") == 0 || d.count(t, "refused_events_total", "panic") < d.count(t, "panics_total") {
		t.Error("panics are not counted")
	}
}

func TestPanic(t *testing.T) {
	d := open(t, func(o *Options) { o.TrustedProxies = prefixes("127.0.0.0/8") })
	d.recorder.hook = func(h *event.Hit) {
		if h.Path == "/a" {
			var nobody []string
			_ = nobody[len(h.UserAgent)]
		}
		if h.Path == "/b" {
			panic("SECRET " + h.Referrer)
		}
	}
	r := d.send(t, "POST", "/api/event", pageview, "User-Agent: SECRET", "X-Forwarded-For: 203.0.113.77", "Origin: https://SECRET.example")
	if got := bodyOf(t, r); r.StatusCode != 500 || got != `{"errors":{"request":["hit a fault in Halfmask"]}}` {
		t.Errorf("answer %v %s", r, got)
	}
	d.send(t, "POST", "/api/event", strings.Replace(pageview, "/a?", "/b?", 1))
	log := d.log.String()
	if !strings.Contains(log, "type=runtime.boundsError") || !strings.Contains(log, "site=github.com/halfmask/halfmask/collector.TestPanic") {
		t.Errorf("log does not tell where: %q", log)
	}
	for _, secret := range []string{"SECRET", "203.0.113", "r.org", "example.com", "127.0.0.1"} {
		if strings.Contains(log, secret) {
			t.Errorf("log tells %s: %q", secret, log)
		}
	}
	if d.count(t, "panics_total") != 2 || d.count(t, "refused_events_total", "panic") != 2 {
		t.Error("panics are not counted")
	}
	if r := d.send(t, "POST", "/api/event", strings.Replace(pageview, "/a?", "/c?", 1)); r.StatusCode != 202 || len(d.recorder.all()) != 1 {
		t.Errorf("after a panic: %v", r)
	}
	d.balance(t)
}

// The masker's and the recorder's hit holds nothing of an earlier one.
func TestHitsDoNotMix(t *testing.T) {
	d := open(t, nil)
	var seen []event.Hit
	d.masker.hook = func(h *event.Hit) { seen = append(seen, keepHit(h)) }
	d.send(t, "POST", "/api/event", pageview, "User-Agent: first")
	d.send(t, "POST", "/api/event", `{"n":"pageview","u":"https://example.org/"}`)
	if len(seen) != 2 {
		t.Fatalf("%d hits", len(seen))
	}
	h := seen[1]
	if h.UserAgent != "" || h.Referrer != "" || h.Campaign != (event.Campaign{}) || len(h.Props) != 0 || h.Visitor != 0 ||
		h.Network != (event.Network{}) || h.Path != "/" || h.Site.ID != 2 {
		t.Errorf("hit %+v", h)
	}
}

// Once a beacon is answered, the memory that waits for the next one holds
// nothing of it.
func TestNothingIsRemembered(t *testing.T) {
	c := New(benchOptions())
	var used call
	c.calls.New = func() any { return &used }
	ctx := benchContext(t, browser(benchBody))
	c.handle(ctx)
	if ctx.Response.StatusCode() != 202 {
		t.Fatalf("status %d", ctx.Response.StatusCode())
	}
	if !reflect.ValueOf(used.hit).IsZero() || used.beacon.Path != "" || used.beacon.Referrer != "" || used.beacon.Props != nil {
		t.Errorf("remembered %+v", used)
	}
}

func TestLongUserAgentIsCut(t *testing.T) {
	d := open(t, nil)
	d.send(t, "POST", "/api/event", pageview, "User-Agent: "+strings.Repeat("x", 5000))
	if got := len(string(d.recorder.all()[0].UserAgent)); got != maxUserAgent {
		t.Errorf("%d bytes of user agent", got)
	}
}

// refusingMasker cannot mask anything.
type refusingMasker struct{}

func (refusingMasker) Mask(*event.Hit, netip.Addr) bool { return false }

func TestMaskerRefuses(t *testing.T) {
	d := open(t, func(o *Options) { o.Masker = refusingMasker{} })
	r := d.send(t, "POST", "/api/event", pageview)
	if r.StatusCode != 202 || r.Header.Get("X-Halfmask-Dropped") != "no_address" || len(d.recorder.all()) != 0 {
		t.Errorf("answer %v", r)
	}
	if d.count(t, "dropped_events_total", "no_address") != 1 {
		t.Error("not counted")
	}
}
