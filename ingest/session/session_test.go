package session

import (
	"strings"
	"sync"
	"testing"
	"time"

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
	c := *e // its strings are not ours to keep
	c.Path, c.Facts.PreviousPath, c.Origin.EntryPath = strings.Clone(e.Path), strings.Clone(e.Facts.PreviousPath), strings.Clone(e.Origin.EntryPath)
	for _, p := range parts(&c.Origin) {
		*p = strings.Clone(*p)
	}
	k.kept = append(k.kept, c)
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
