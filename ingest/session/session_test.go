package session

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/halfmask/halfmask/event"
)

// keeper keeps copies, or fails while broken is set.
type keeper struct {
	mu     sync.Mutex
	kept   []event.Event
	broken error
}

func (k *keeper) Keep(e *event.Event) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.broken != nil {
		return k.broken
	}
	k.kept = append(k.kept, *e)
	return nil
}

func newTable(t testing.TB, o Options) *Table {
	t.Helper()
	table, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const today = event.Day(20779)

func TestToday(t *testing.T) {
	if got := event.DayOf(noon, time.UTC); got != today {
		t.Fatalf("noon is on day %d, the tests assume %d", got, today)
	}
}

// view, action, silent and read make events a number of seconds after noon.
func view(at int, path string) event.Event {
	return event.Event{At: noon.Add(time.Duration(at) * time.Second), Site: 1, Visitor: 5, Kind: event.Pageview, Name: "pageview", Path: path, Interactive: true}
}

func action(at int, path string) event.Event {
	e := view(at, path)
	e.Kind, e.Name = event.Custom, "Signup"
	return e
}

func silent(at int, path string) event.Event {
	e := action(at, path)
	e.Interactive = false
	return e
}

func read(at int, path string) event.Event {
	e := view(at, path)
	e.Kind, e.Name, e.Engaged = event.Engagement, "engagement", 5000
	return e
}

func from(e event.Event, source string) event.Event {
	e.Origin = event.Origin{Source: source, Channel: "Referral", Referrer: source + "/x", Campaign: event.Campaign{Source: source, Term: "t"}}
	return e
}

// facts is what a test says about an event: visits are numbered as they begin.
type facts struct {
	visit    int
	visitor  uint8
	opens    uint8
	bounce   int8
	duration uint32
	previous string
	entry    string
	source   string
}

const dropped = -1

func TestFacts(t *testing.T) {
	half := int(Timeout / time.Second)
	for _, c := range []struct {
		name   string
		events []event.Event
		want   []facts
	}{
		{"one view is a bounce",
			[]event.Event{view(0, "/a")},
			[]facts{{visit: 1, visitor: 1, opens: 1, bounce: 1, entry: "/a"}}},
		{"a second view ends the bounce",
			[]event.Event{view(0, "/a"), view(10, "/b"), view(25, "/c")},
			[]facts{
				{visit: 1, visitor: 1, opens: 1, bounce: 1, entry: "/a"},
				{visit: 1, bounce: -1, duration: 10, previous: "/a", entry: "/a"},
				{visit: 1, duration: 15, previous: "/b", entry: "/a"}}},
		{"an action ends the bounce once",
			[]event.Event{view(0, "/a"), action(1, "/a"), action(2, "/a"), view(3, "/b")},
			[]facts{
				{visit: 1, visitor: 1, opens: 1, bounce: 1, entry: "/a"},
				{visit: 1, bounce: -1, duration: 1, entry: "/a"},
				{visit: 1, duration: 1, entry: "/a"},
				{visit: 1, duration: 1, previous: "/a", entry: "/a"}}},
		{"what is not interactive ends no bounce",
			[]event.Event{view(0, "/a"), silent(1, "/a"), read(5, "/a"), view(6, "/b")},
			[]facts{
				{visit: 1, visitor: 1, opens: 1, bounce: 1, entry: "/a"},
				{visit: 1, duration: 1, entry: "/a"},
				{visit: 1, duration: 4, entry: "/a"},
				{visit: 1, bounce: -1, duration: 1, previous: "/a", entry: "/a"}}},
		{"a visit that begins with an action never bounces",
			[]event.Event{action(0, "/a"), view(1, "/b"), view(2, "/c")},
			[]facts{
				{visit: 1, visitor: 1, opens: 1, entry: "/a"},
				{visit: 1, duration: 1, entry: "/a"},
				{visit: 1, duration: 1, previous: "/b", entry: "/a"}}},
		{"one that begins silently may",
			[]event.Event{silent(0, "/a"), view(1, "/b"), action(2, "/b")},
			[]facts{
				{visit: 1, visitor: 1, opens: 1, entry: "/a"},
				{visit: 1, bounce: 1, duration: 1, entry: "/a"},
				{visit: 1, bounce: -1, duration: 1, entry: "/a"}}},
		{"and does not after an action",
			[]event.Event{silent(0, "/a"), action(1, "/a"), view(2, "/b")},
			[]facts{
				{visit: 1, visitor: 1, opens: 1, entry: "/a"},
				{visit: 1, duration: 1, entry: "/a"},
				{visit: 1, duration: 1, entry: "/a"}}},
		{"engagement opens nothing",
			[]event.Event{read(0, "/a"), view(1, "/a"), read(half, "/a"), read(3*half, "/a")},
			[]facts{{visit: dropped}, {visit: 1, visitor: 1, opens: 1, bounce: 1, entry: "/a"},
				{visit: 1, duration: uint32(half - 1), entry: "/a"}, {visit: dropped}}},
		{"a visit ends after 30 minutes, the visitor is the same",
			[]event.Event{view(0, "/a"), view(half-1, "/b"), view(2*half-1, "/c")},
			[]facts{
				{visit: 1, visitor: 1, opens: 1, bounce: 1, entry: "/a"},
				{visit: 1, bounce: -1, duration: uint32(half - 1), previous: "/a", entry: "/a"},
				{visit: 2, opens: 1, bounce: 1, entry: "/c"}}},
		{"another source in the middle of a visit changes nothing",
			[]event.Event{from(view(0, "/a"), "one"), from(view(1, "/b"), "two"), from(view(1+half, "/c"), "three")},
			[]facts{
				{visit: 1, visitor: 1, opens: 1, bounce: 1, entry: "/a", source: "one"},
				{visit: 1, bounce: -1, duration: 1, previous: "/a", entry: "/a", source: "one"},
				{visit: 2, opens: 1, bounce: 1, entry: "/c", source: "three"}}},
		{"a clock set back adds nothing and goes on from there",
			[]event.Event{view(100, "/a"), view(40, "/b"), view(45, "/c")},
			[]facts{
				{visit: 1, visitor: 1, opens: 1, bounce: 1, entry: "/a"},
				{visit: 1, bounce: -1, previous: "/a", entry: "/a"},
				{visit: 1, duration: 5, previous: "/b", entry: "/a"}}},
		{"a clock set back by half an hour ends the visit",
			[]event.Event{view(half, "/a"), view(0, "/b")},
			[]facts{
				{visit: 1, visitor: 1, opens: 1, bounce: 1, entry: "/a"},
				{visit: 2, opens: 1, bounce: 1, entry: "/b"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			table, kept := newTable(t, Options{}), &keeper{}
			numbers := map[event.VisitID]int{}
			for i, e := range c.events {
				source := e.Origin.Source
				outcome, err := table.Apply(&e, 0, today, kept)
				if err != nil {
					t.Fatal(err)
				}
				want := c.want[i]
				if want.visit == dropped {
					if outcome != event.DroppedNoVisit {
						t.Errorf("event %d: %s", i, outcome)
					}
					continue
				}
				if outcome != event.Accepted || e.Visit == 0 {
					t.Errorf("event %d: %s, visit %d", i, outcome, e.Visit)
				}
				if numbers[e.Visit] == 0 {
					numbers[e.Visit] = len(numbers) + 1
				}
				f := e.Facts
				got := facts{numbers[e.Visit], f.NewVisitor, f.NewVisit, f.Bounce, f.Duration, f.PreviousPath, e.Origin.EntryPath, e.Origin.Source}
				if got != want {
					t.Errorf("event %d (source %q):\n got %+v\nwant %+v", i, source, got, want)
				}
				if want.source != "" && (e.Origin.Referrer != want.source+"/x" || e.Origin.Campaign.Source != want.source) {
					t.Errorf("event %d has the origin %+v", i, e.Origin)
				}
			}
		})
	}
}

func TestMidnight(t *testing.T) {
	table, kept := newTable(t, Options{}), &keeper{}
	const yesterdays, todays = event.VisitorID(6), event.VisitorID(7) // in different shards
	apply := func(e event.Event, visitor, previous event.VisitorID, day event.Day) event.Event {
		t.Helper()
		e.Visitor = visitor
		if outcome, err := table.Apply(&e, previous, day, kept); err != nil || outcome != event.Accepted {
			t.Fatal(outcome, err)
		}
		return e
	}
	before := apply(view(0, "/a"), yesterdays, 0, today)
	after := apply(view(60, "/b"), todays, yesterdays, today+1)
	if after.Visit != before.Visit || after.Facts != (event.Facts{NewVisitor: 1, Bounce: -1, Duration: 60, PreviousPath: "/a"}) || after.Origin.EntryPath != "/a" {
		t.Errorf("the visit did not survive midnight as it should: %+v", after)
	}
	later := apply(view(90, "/c"), todays, yesterdays, today+1)
	if later.Visit != before.Visit || later.Facts != (event.Facts{Duration: 30, PreviousPath: "/b"}) {
		t.Errorf("the visit does not go on under its new pseudonym: %+v", later)
	}
	if n := table.Live(later.At); n != 1 {
		t.Errorf("%d visits are going on, want 1", n)
	}
	// A new visitor of the new day who was not here before midnight.
	stranger := apply(view(91, "/a"), 9, 8, today+1)
	if stranger.Facts.NewVisit != 1 || stranger.Facts.NewVisitor != 1 {
		t.Errorf("a stranger after midnight: %+v", stranger.Facts)
	}
	// An engagement may be the first event of the day.
	apply(view(100, "/a"), 10, 0, today)
	reading := apply(read(110, "/a"), 11, 10, today+1)
	if reading.Facts != (event.Facts{NewVisitor: 1, Duration: 10}) {
		t.Errorf("reading across midnight: %+v", reading.Facts)
	}
	// A pseudonym may outlive its day where a clock was set back; the day counts.
	if same := apply(view(200, "/d"), todays, 0, today+2); same.Facts.NewVisitor != 1 || same.Facts.NewVisit != 0 {
		t.Errorf("the same pseudonym on another day: %+v", same.Facts)
	}
}

func TestNothingChangesUnlessKept(t *testing.T) {
	table, kept := newTable(t, Options{}), &keeper{}
	full := errors.New("full")
	try := func(e event.Event, broken error) event.Event {
		t.Helper()
		kept.broken = broken
		if _, err := table.Apply(&e, 0, today, kept); !errors.Is(err, broken) {
			t.Fatalf("error %v, want %v", err, broken)
		}
		return e
	}
	try(view(0, "/lost"), full)
	if n := table.Live(noon); n != 0 {
		t.Fatalf("%d visits go on after an event that was not kept", n)
	}
	first := try(from(view(1, "/a"), "one"), nil)
	if first.Facts.NewVisitor != 1 || first.Facts.NewVisit != 1 || first.Facts.Bounce != 1 || first.Origin.EntryPath != "/a" {
		t.Errorf("after an event that was not kept, the first one: %+v", first)
	}
	try(view(20, "/lost"), full)
	second := try(view(31, "/b"), nil)
	if second.Facts != (event.Facts{Bounce: -1, Duration: 30, PreviousPath: "/a"}) {
		t.Errorf("after an event that was not kept, the second one: %+v", second.Facts)
	}
	// Across midnight: the visit stays under its old pseudonym.
	lost := view(40, "/lost")
	lost.Visitor = 6
	kept.broken = full
	if _, err := table.Apply(&lost, 5, today+1, kept); !errors.Is(err, full) {
		t.Fatal(err)
	}
	if third := try(view(41, "/c"), nil); third.Visit != first.Visit || third.Facts.Duration != 10 {
		t.Errorf("after an event across midnight that was not kept: %+v", third.Facts)
	}
}

func TestBounds(t *testing.T) {
	registry := prometheus.NewRegistry()
	table, kept := newTable(t, Options{MaxVisits: 10 * shards, MaxVisitors: 20 * shards, Registerer: registry}), &keeper{}
	for i := range 30 {
		e := view(i, "/")
		e.Visitor = event.VisitorID(1 + i*shards) // all in one shard
		if _, err := table.Apply(&e, 0, today, kept); err != nil {
			t.Fatal(err)
		}
	}
	if n := table.Live(noon.Add(time.Minute)); n != 10 {
		t.Errorf("%d visits go on, want 10", n)
	}
	latest := view(40, "/")
	latest.Visitor = 1 + 29*shards
	if _, err := table.Apply(&latest, 0, today, kept); err != nil || latest.Facts.NewVisit != 0 {
		t.Errorf("the latest visit was ended: %+v, %v", latest.Facts, err)
	}
	oldest := view(40, "/")
	oldest.Visitor = 1
	if _, err := table.Apply(&oldest, 0, today, kept); err != nil || oldest.Facts.NewVisit != 1 || oldest.Facts.NewVisitor != 0 {
		t.Errorf("the oldest visit goes on or its visitor was forgotten: %+v, %v", oldest.Facts, err)
	}
	// Last, because gathering ends what is over by the real clock.
	expect := fmt.Sprintf(`
# HELP halfmask_session_evicted_visits_total Visits that were ended early because there were too many at one time.
# TYPE halfmask_session_evicted_visits_total counter
halfmask_session_evicted_visits_total %d
# HELP halfmask_session_forgotten_visitors_total Visitors that were not remembered because there were too many in one day; they count as new on each visit.
# TYPE halfmask_session_forgotten_visitors_total counter
halfmask_session_forgotten_visitors_total %d
`, 21, 10)
	if err := testutil.GatherAndCompare(registry, strings.NewReader(expect), "halfmask_session_evicted_visits_total", "halfmask_session_forgotten_visitors_total"); err != nil {
		t.Error(err)
	}
}

func TestLongStringsDoNotExhaustMemory(t *testing.T) {
	table, kept := newTable(t, Options{MaxStrings: 10_000 * shards}), &keeper{}
	for i := range 100 {
		e := view(i, fmt.Sprintf("/%d/%s", i, strings.Repeat("x", 1900)))
		e.Visitor = event.VisitorID(1 + i*shards)
		if _, err := table.Apply(&e, 0, today, kept); err != nil {
			t.Fatal(err)
		}
	}
	if n := table.Live(noon.Add(2 * time.Minute)); n == 0 || n > 5 {
		t.Errorf("%d visits with 3.8 kB of strings each share 10 kB", n)
	}
	if n := table.Live(noon.Add(time.Hour)); n != 0 {
		t.Errorf("%d visits go on an hour later", n)
	}
	for i := range table.shards {
		if b := table.shards[i].bytes; b != 0 {
			t.Errorf("an empty shard counts %d bytes of strings", b)
		}
	}
}

func TestVisitsEndWithoutBeingAskedFor(t *testing.T) {
	table, kept := newTable(t, Options{}), &keeper{}
	for i := range 1000 {
		e := view(i*10, "/")
		e.Visitor = event.VisitorID(1 + i*shards)
		if _, err := table.Apply(&e, 0, today, kept); err != nil {
			t.Fatal(err)
		}
		if n := table.shards[1].live; n > 181 {
			t.Fatalf("%d visits are held, 180 go on", n)
		}
	}
}

func TestVisitorsOfPastDaysAreForgotten(t *testing.T) {
	table, kept := newTable(t, Options{}), &keeper{}
	for day := range 10 {
		e := view(day*86400, "/")
		if _, err := table.Apply(&e, 0, today+event.Day(day), kept); err != nil || e.Facts.NewVisitor != 1 {
			t.Fatal(e.Facts, err)
		}
		if n := len(table.shards[5].days); n > 2 {
			t.Fatalf("%d days are held", n)
		}
	}
}

// Many at once, before midnight and after: the sums are those of one at a time.
func TestConcurrency(t *testing.T) {
	table, kept := newTable(t, Options{}), &keeper{}
	const people, workers, views = 200, 4, 5
	evening := func(p int) event.VisitorID { return event.VisitorID(1 + p) }
	morning := func(p int) event.VisitorID { return event.VisitorID(1000 + p*31) }
	for half := range 2 {
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for i := range views * people {
					p := i % people
					e := view(half, "/")
					e.Visitor = evening(p)
					previous, day := event.VisitorID(0), today
					if half == 1 {
						e.Visitor, previous, day = morning(p), evening(p), today+1
					}
					if _, err := table.Apply(&e, previous, day, kept); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	visitors, visits, bounces := 0, 0, 0
	for _, e := range kept.kept {
		visitors += int(e.Facts.NewVisitor)
		visits += int(e.Facts.NewVisit)
		bounces += int(e.Facts.Bounce)
	}
	if len(kept.kept) != 2*people*workers*views || visitors != 2*people || visits != people || bounces != 0 {
		t.Errorf("%d events, %d visitors, %d visits, %d bounces", len(kept.kept), visitors, visits, bounces)
	}
}
