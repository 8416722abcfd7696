package ingest_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest"
	"github.com/halfmask/halfmask/ingest/enrich"
	"github.com/halfmask/halfmask/ingest/record"
	"github.com/halfmask/halfmask/ingest/session"
	"github.com/halfmask/halfmask/ingest/spool"
)

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0"

var (
	home     = &event.Site{ID: 3, Domain: "example.com", Zone: time.UTC}
	noon     = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	enricher = sync.OnceValue(func() *enrich.Enricher { return enrich.New(enrich.Options{}) })
)

// view is a page view as it comes through the door.
func view(path string) *event.Hit {
	return &event.Hit{
		At: noon, Site: home, Day: event.DayOf(noon, time.UTC), Kind: event.Pageview, Name: "pageview", Interactive: true,
		Hostname: "example.com", Path: path, Scroll: event.NoScroll, Referrer: "https://www.google.com/search?q=secret",
		Campaign: event.Campaign{Term: "shoes"}, Props: []event.Prop{{Key: "plan", Value: "free"}},
		Network: event.NetworkV4(203, 0), Visitor: 11, Place: event.Place{Country: "DE"}, UserAgent: firefox,
	}
}

func visits(t testing.TB) *session.Table {
	t.Helper()
	table, err := session.New(session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func openSpool(t testing.TB) *spool.Spool {
	t.Helper()
	s, err := spool.Open(spool.Options{Dir: filepath.Join(t.TempDir(), "spool")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// spooled reads back what is in the spool.
func spooled(t *testing.T, s *spool.Spool) (events []event.Event, raw []byte) {
	t.Helper()
	s.Seal()
	segment, err := s.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for payload := range segment.Records() {
		raw = append(raw, payload...)
		var e event.Event
		if err := record.Decode(payload, &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events, raw
}

func TestAHitBecomesAnEventInTheSpool(t *testing.T) {
	s := openSpool(t)
	registry := prometheus.NewRegistry()
	r := ingest.New(ingest.Options{Enricher: enricher(), Sessions: visits(t), Spool: s, Registerer: registry})

	second := view("/b")
	second.At = noon.Add(7 * time.Second)
	second.Referrer = "https://example.com/a"
	robot := view("/robot")
	robot.UserAgent = "curl/8.5.0"
	robot.Visitor = 99
	reading := view("/a")
	reading.Kind, reading.Name, reading.Visitor = event.Engagement, "engagement", 12
	for _, c := range []struct {
		hit  *event.Hit
		want event.Outcome
	}{{view("/a"), event.Accepted}, {robot, event.DroppedBot}, {second, event.Accepted}, {reading, event.DroppedNoVisit}} {
		if got := r.Record(c.hit); got != c.want {
			t.Errorf("%s: %s, want %s", c.hit.Path, got, c.want)
		}
	}

	events, raw := spooled(t, s)
	if len(events) != 2 {
		t.Fatalf("%d events in the spool, want 2", len(events))
	}
	first := events[0]
	if !first.At.Equal(noon) || first.Site != 3 || first.Path != "/a" || first.Hostname != "example.com" || first.Visitor != 11 || first.Visit == 0 ||
		first.Network != event.NetworkV4(203, 0) || first.Place.Country != "DE" || first.Scroll != event.NoScroll || fmt.Sprint(first.Props) != "[{plan free}]" {
		t.Errorf("the first event: %+v", first)
	}
	if first.Client != (event.Client{Device: "Desktop", Browser: "Firefox", BrowserVersion: "146.0", OS: "Linux"}) {
		t.Errorf("its client: %+v", first.Client)
	}
	origin := event.Origin{EntryPath: "/a", Source: "Google", Channel: "Organic Search", Referrer: "google.com/search", Campaign: event.Campaign{Term: "shoes"}}
	if first.Origin != origin || events[1].Origin != origin {
		t.Errorf("the origins: %+v, %+v", first.Origin, events[1].Origin)
	}
	if first.Facts != (event.Facts{NewVisitor: 1, NewVisit: 1, Bounce: 1}) || events[1].Facts != (event.Facts{Bounce: -1, Duration: 7, PreviousPath: "/a"}) {
		t.Errorf("the facts: %+v, %+v", first.Facts, events[1].Facts)
	}
	if events[1].Visit != first.Visit {
		t.Error("two visits")
	}
	for _, secret := range []string{"secret", "Gecko", "X11", "/robot", "curl"} {
		if bytes.Contains(raw, []byte(secret)) {
			t.Errorf("the spool holds %q", secret)
		}
	}
	want := `
# HELP halfmask_ingest_hits_total Hits that came through the door, by what became of them.
# TYPE halfmask_ingest_hits_total counter
halfmask_ingest_hits_total{outcome="accepted"} 2
halfmask_ingest_hits_total{outcome="bot"} 1
halfmask_ingest_hits_total{outcome="no_visit_for_engagement"} 1
halfmask_ingest_hits_total{outcome="not_synced"} 0
halfmask_ingest_hits_total{outcome="spool_full"} 0
halfmask_ingest_hits_total{outcome="stopping"} 0
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "halfmask_ingest_hits_total"); err != nil {
		t.Error(err)
	}
}

// What identifies a person is gone before anything is kept, and what is one too
// many is (other) for the whole visit.
func TestWhatIsTakenOutOfAnEvent(t *testing.T) {
	s := openSpool(t)
	r := ingest.New(ingest.Options{Enricher: enricher(), Sessions: visits(t), Spool: s, Limits: enrich.Limits{Paths: 2, PropKeys: 1}})
	hit := view("/users/jane@example.com")
	hit.Referrer = "https://mail.example/jane@example.com/inbox"
	hit.Campaign.Content = "jane@example.com"
	hit.Props = []event.Prop{{Key: "plan", Value: "jane@example.com"}, {Key: "more", Value: "x"}}
	other := *hit
	other.Site = &event.Site{ID: 4, Domain: "example.org", Zone: time.UTC}
	for _, h := range []*event.Hit{hit, &other, view("/b"), view("/c")} {
		if got := r.Record(h); got != event.Accepted {
			t.Fatalf("%s", got)
		}
	}
	events, raw := spooled(t, s)
	if bytes.Contains(raw, []byte("jane")) {
		t.Error("the spool holds an e-mail address")
	}
	for i := range 2 { // the beacon's two sites get the same
		e := events[i]
		if e.Path != "/users/:email" || e.Origin.EntryPath != e.Path || e.Origin.Referrer != "mail.example/:email/inbox" ||
			e.Origin.Campaign.Content != ":email" || fmt.Sprint(e.Props) != "[{plan :email}]" {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if e := events[3]; e.Path != enrich.Other || e.Facts.PreviousPath != "/b" {
		t.Errorf("the third path of two: %+v", e)
	}
	if fmt.Sprint(hit.Props) != "[{plan jane@example.com} {more x}]" {
		t.Errorf("the hit was changed: %v", hit.Props)
	}
}

// failing is a spool that takes nothing for as long as it has an error.
type failing struct {
	*spool.Spool
	err    error
	unsafe bool
}

func (f *failing) Wait(p spool.Position) error {
	if f.unsafe {
		return spool.ErrUnsafe
	}
	return f.Spool.Wait(p)
}

func (f *failing) Append(payload []byte) (spool.Position, error) {
	if f.err != nil {
		return spool.Position{}, f.err
	}
	return f.Spool.Append(payload)
}

func TestWhatTheSpoolRefusesWasNeverThere(t *testing.T) {
	s := &failing{Spool: openSpool(t)}
	var log bytes.Buffer
	r := ingest.New(ingest.Options{Enricher: enricher(), Sessions: visits(t), Spool: s, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for _, c := range []struct {
		err  error
		want event.Outcome
	}{
		{spool.ErrFull, event.RefusedSpoolFull},
		{fmt.Errorf("cannot append: %w", spool.ErrClosed), event.RefusedStopping},
		{errors.New("the disk is on fire"), event.RefusedSpoolFull},
		{errors.New("the disk is on fire"), event.RefusedSpoolFull},
		{nil, event.Accepted},
	} {
		s.err = c.err
		if got := r.Record(view("/a")); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
	events, _ := spooled(t, s.Spool)
	if len(events) != 1 || events[0].Facts != (event.Facts{NewVisitor: 1, NewVisit: 1, Bounce: 1}) {
		t.Errorf("the spool holds %+v", events)
	}
	if n := strings.Count(log.String(), "on fire"); n != 1 {
		t.Errorf("the unexpected was logged %d times, want once:\n%s", n, log.String())
	}
	if strings.Contains(log.String(), "/a") || strings.Contains(log.String(), "spool is") {
		t.Errorf("logged too much: %s", log.String())
	}
}

// A disk that fails a sync leaves an event in doubt: it is not accepted, but the
// visit goes on with it.
func TestWhatIsNotSafeIsNotAccepted(t *testing.T) {
	s := &failing{Spool: openSpool(t), unsafe: true}
	r := ingest.New(ingest.Options{Enricher: enricher(), Sessions: visits(t), Spool: s})
	reading := view("/a")
	reading.Kind, reading.Name = event.Engagement, "engagement"
	if got := r.Record(reading); got != event.DroppedNoVisit {
		t.Errorf("nothing was appended, and yet %s", got)
	}
	if got := r.Record(view("/a")); got != event.RefusedUnsynced {
		t.Errorf("%s, want %s", got, event.RefusedUnsynced)
	}
	s.unsafe = false
	if got := r.Record(view("/b")); got != event.Accepted {
		t.Errorf("%s, want %s", got, event.Accepted)
	}
	if events, _ := spooled(t, s.Spool); len(events) != 2 || events[1].Facts.NewVisit != 0 {
		t.Errorf("the spool holds %+v", events)
	}
}

func TestAStoppedSpool(t *testing.T) {
	s := openSpool(t)
	r := ingest.New(ingest.Options{Enricher: enricher(), Sessions: visits(t), Spool: s})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := r.Record(view("/a")); got != event.RefusedStopping {
		t.Errorf("%s, want %s", got, event.RefusedStopping)
	}
}

// A hit's memory is the request's: what was recorded, and what the next event
// of the visit knows of it, does not change with it.
func TestRecordDoesNotBorrow(t *testing.T) {
	s := openSpool(t)
	r := ingest.New(ingest.Options{Enricher: enricher(), Sessions: visits(t), Spool: s})
	buffer := []byte("/a https://blog.example.org/post?x")
	hit := view(unsafeString(buffer[:2]))
	hit.Referrer = unsafeString(buffer[3:])
	r.Record(hit)
	for i := range buffer {
		buffer[i] = 'x'
	}
	r.Record(view("/b"))
	events, _ := spooled(t, s)
	if e := events[1]; e.Facts.PreviousPath != "/a" || e.Origin.EntryPath != "/a" || e.Origin.Referrer != "blog.example.org/post" || e.Origin.Source != "blog.example.org" {
		t.Errorf("the second event: %+v %+v", e.Origin, e.Facts)
	}
}

// unsafeString is a string in memory that may change, as the door makes them.
func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// nowhere takes everything.
type nowhere struct{}

func (nowhere) Append([]byte) (spool.Position, error) { return spool.Position{}, nil }
func (nowhere) Wait(spool.Position) error             { return nil }

// crowd is what steady state looks like: 1,000 paths, 200 user agents and
// 50,000 visitors.
func crowd() []event.Hit {
	r := rand.New(rand.NewPCG(1, 2))
	var paths, agents []string
	for i := range 1000 {
		paths = append(paths, fmt.Sprintf("/articles/%d/with-a-title-of-the-usual-length", i))
	}
	for i := range 200 {
		agents = append(agents, fmt.Sprintf("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36", i))
	}
	referrers := []string{"", "https://www.google.com/", "https://blog.example.org/post/1", "https://example.com/", "https://t.co/AbC"}
	hits := make([]event.Hit, 100_000)
	for i := range hits {
		hits[i] = *view(paths[r.IntN(len(paths))])
		hits[i].Visitor = event.VisitorID(1 + r.IntN(50_000)*0x9e3779b97f4a7c1)
		hits[i].UserAgent = event.UserAgent(agents[r.IntN(len(agents))])
		hits[i].Referrer = referrers[r.IntN(len(referrers))]
		hits[i].Props = nil
	}
	return hits
}

func BenchmarkRecord(b *testing.B) {
	hits := crowd()
	for _, c := range []struct {
		name  string
		spool func(testing.TB) ingest.Spool
	}{
		{"nowhere", func(testing.TB) ingest.Spool { return nowhere{} }},
		{"spool", func(t testing.TB) ingest.Spool { return openSpool(t) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := ingest.New(ingest.Options{Enricher: enricher(), Sessions: visits(b), Spool: c.spool(b)})
			for i := range hits {
				r.Record(&hits[i])
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := rand.IntN(len(hits)); pb.Next(); i++ {
					if outcome := r.Record(&hits[i%len(hits)]); outcome != event.Accepted {
						b.Fatal(outcome)
					}
				}
			})
		})
	}
}
