package session

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/halfmask/halfmask/event"
)

// step is one event of a person, who keeps their name when their pseudonym
// changes.
type step struct {
	person   int
	e        event.Event
	previous event.VisitorID
	day      event.Day
	fails    bool
}

// pseudonym stands for the hash under a day's salt.
func pseudonym(person int, day event.Day) event.VisitorID {
	return event.VisitorID(rand.New(rand.NewPCG(uint64(person), uint64(day))).Uint64() | 1)
}

// stream makes up two days of a few people's events around midnight.
func stream(seed uint64) []step {
	r := rand.New(rand.NewPCG(seed, 0))
	zones := []*time.Location{time.UTC, time.FixedZone("east", 9*3600+1800)}
	at := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	var steps []step
	for range 1500 {
		switch gap := r.IntN(100); {
		case gap < 40:
		case gap < 95:
			at = at.Add(time.Duration(r.IntN(240)) * time.Second)
		default:
			at = at.Add(time.Duration(1500+r.IntN(600)) * time.Second)
		}
		s := step{person: r.IntN(12), fails: r.IntN(20) == 0}
		zone := zones[s.person%2]
		s.day = event.DayOf(at, zone)
		s.e = event.Event{At: at, Site: event.SiteID(1 + s.person%2), Interactive: r.IntN(5) > 0, Path: fmt.Sprint("/", r.IntN(6)), Visitor: pseudonym(s.person, s.day)}
		s.e.Origin = event.Origin{Source: fmt.Sprint("source ", r.IntN(4)), Channel: "Referral"}
		switch r.IntN(10) {
		case 0, 1:
			s.e.Kind = event.Custom
		case 2:
			s.e.Kind = event.Engagement
		default:
			s.e.Kind, s.e.Interactive = event.Pageview, r.IntN(20) > 0
		}
		if at.Sub(s.day.Start(zone)) < Timeout {
			s.previous = pseudonym(s.person, s.day-1)
		}
		steps = append(steps, s)
	}
	return steps
}

// totals are the sums that a dashboard shows.
type totals struct {
	visits, bounces, visitors int
	duration                  int64
	entries, exits, sources   map[string]int
}

func newTotals() *totals {
	return &totals{entries: map[string]int{}, exits: map[string]int{}, sources: map[string]int{}}
}

func (t *totals) equal(o *totals) bool {
	return t.visits == o.visits && t.bounces == o.bounces && t.visitors == o.visitors && t.duration == o.duration &&
		maps.Equal(t.entries, o.entries) && maps.Equal(t.exits, o.exits) && maps.Equal(t.sources, o.sources)
}

// naive counts by definition: it looks at all of each person's events at once.
func naive(steps []step) *totals {
	t := newTotals()
	people := map[int][]step{}
	for _, s := range steps {
		people[s.person] = append(people[s.person], s)
	}
	for _, events := range people {
		days := map[event.Day]bool{}
		var visits [][]event.Event
		for _, s := range events {
			n := len(visits)
			goesOn := n > 0 && s.e.At.Sub(visits[n-1][len(visits[n-1])-1].At) < Timeout
			if s.fails || s.e.Kind == event.Engagement && !goesOn {
				continue
			}
			days[s.day] = true
			if goesOn {
				visits[n-1] = append(visits[n-1], s.e)
			} else {
				visits = append(visits, []event.Event{s.e})
			}
		}
		t.visitors += len(days)
		t.visits += len(visits)
		for _, visit := range visits {
			t.count(visit)
		}
	}
	maps.DeleteFunc(t.exits, func(_ string, n int) bool { return n == 0 })
	return t
}

func (t *totals) count(visit []event.Event) {
	t.duration += visit[len(visit)-1].At.Unix() - visit[0].At.Unix()
	t.sources[visit[0].Origin.Source] += len(visit)
	var pages []string
	ends := 0 // events that make it more than a bounce
	for _, e := range visit {
		switch {
		case e.Kind == event.Pageview:
			if len(pages) > 0 && e.Interactive {
				ends++
			}
			pages = append(pages, e.Path)
		case e.Kind == event.Custom && e.Interactive:
			ends++
		}
	}
	t.entries[visit[0].Path] += len(visit)
	if len(pages) > 0 {
		t.exits[pages[len(pages)-1]]++
		if ends == 0 {
			t.bounces++
		}
	}
}

// summed adds up facts, as storage does.
func summed(events []event.Event) *totals {
	t := newTotals()
	for _, e := range events {
		t.visits += int(e.Facts.NewVisit)
		t.bounces += int(e.Facts.Bounce)
		t.visitors += int(e.Facts.NewVisitor)
		t.duration += int64(e.Facts.Duration)
		t.sources[e.Origin.Source]++
		if e.Kind == event.Pageview {
			t.exits[e.Path]++
			if e.Facts.PreviousPath != "" {
				t.exits[e.Facts.PreviousPath]--
			}
		}
		t.entries[e.Origin.EntryPath]++
	}
	maps.DeleteFunc(t.exits, func(_ string, n int) bool { return n == 0 })
	return t
}

var errFull = errors.New("full")

// play applies steps from the given one on, and hands the table to between
// before each.
func play(t *testing.T, steps []step, between func(i int, table *Table, kept []event.Event) *Table) []event.Event {
	t.Helper()
	table, kept := openTable(t, filepath.Join(t.TempDir(), "visits"), "one"), &keeper{}
	for i, s := range steps {
		if between != nil {
			table = between(i, table, kept.kept)
		}
		kept.broken = nil
		if s.fails {
			kept.broken = errFull
		}
		e := s.e
		if _, err := table.Apply(&e, s.previous, s.day, kept); err != nil && !s.fails {
			t.Fatal(err)
		}
	}
	return kept.kept
}

func TestSumsAreThoseOfTheDefinition(t *testing.T) {
	for seed := range uint64(15) {
		steps := stream(seed)
		got, want := summed(play(t, steps, nil)), naive(steps)
		if !got.equal(want) {
			t.Errorf("seed %d:\n got %+v\nwant %+v", seed, got, want)
		}
	}
}

// dayOf is the site's day of a kept event.
func dayOf(e *event.Event) event.Day {
	if e.Site == 2 {
		return event.DayOf(e.At, time.FixedZone("east", 9*3600+1800))
	}
	return event.DayOf(e.At, time.UTC)
}

// A restart, whichever way the table comes back, leaves every fact as it would
// have been.
func TestARestartChangesNothing(t *testing.T) {
	closed := func(old *Table, _ []event.Event) *Table {
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		return openTable(t, old.arena.file.Name(), "another")
	}
	killed := func(old *Table, _ []event.Event) *Table {
		return openTable(t, old.arena.file.Name(), "one") // nobody writes to the old one any more
	}
	replayed := func(_ *Table, kept []event.Event) *Table {
		table := newTable(t, Options{})
		for i := range kept {
			table.Restore(&kept[i], dayOf(&kept[i]))
		}
		return table
	}
	twice := func(_ *Table, kept []event.Event) *Table {
		table := replayed(nil, kept)
		for i := range kept[len(kept)/2:] {
			table.Restore(&kept[len(kept)/2+i], dayOf(&kept[len(kept)/2+i]))
		}
		return table
	}
	// As from storage: the visits that may go on, whole, and who was here today.
	recent := func(_ *Table, kept []event.Event) *Table {
		table := newTable(t, Options{})
		if len(kept) == 0 {
			return table
		}
		now := kept[len(kept)-1].At
		live := map[event.VisitID]bool{}
		for i := range kept {
			table.RestoreVisitor(kept[i].Site, kept[i].Visitor, dayOf(&kept[i]))
			live[kept[i].Visit] = live[kept[i].Visit] || now.Sub(kept[i].At) < Timeout
		}
		for i := range kept {
			if live[kept[i].Visit] {
				table.Restore(&kept[i], dayOf(&kept[i]))
			}
		}
		return table
	}
	killedThenReplayed := func(old *Table, kept []event.Event) *Table {
		table := killed(old, kept)
		for i := range kept {
			table.Restore(&kept[i], dayOf(&kept[i]))
		}
		return table
	}
	for name, restart := range map[string]func(*Table, []event.Event) *Table{
		"closed": closed, "killed": killed, "replayed": replayed, "replayed twice": twice, "recent": recent, "killed, then replayed": killedThenReplayed,
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(4) {
				steps := stream(seed)
				want := play(t, steps, nil)
				got := play(t, steps, func(i int, table *Table, kept []event.Event) *Table {
					if i%97 != 96 {
						return table
					}
					return restart(table, kept)
				})
				compare(t, seed, got, want)
			}
		})
	}
}

// compare fails where two runs differ in more than the visits' random ids.
func compare(t *testing.T, seed uint64, got, want []event.Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("seed %d: %d events kept, want %d", seed, len(got), len(want))
	}
	same := map[event.VisitID]event.VisitID{}
	for i := range got {
		g, w := got[i], want[i]
		if _, ok := same[w.Visit]; !ok {
			same[w.Visit] = g.Visit
		}
		if g.Facts != w.Facts || g.Origin != w.Origin || same[w.Visit] != g.Visit {
			t.Fatalf("seed %d, event %d (kind %d, interactive %v):\n got %+v %+v\nwant %+v %+v\nsame visit: %v", seed, i, w.Kind, w.Interactive,
				g.Facts, g.Origin, w.Facts, w.Origin, same[w.Visit] == g.Visit)
		}
	}
}
