package session

import (
	"errors"
	"sync"
	"testing"

	"github.com/halfmask/halfmask/event"
)

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
