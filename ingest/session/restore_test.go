package session

import (
	"sync"
	"testing"
	"time"

	"github.com/halfmask/halfmask/event"
)

// Where the door opens before everything is restored, what was decided
// meanwhile stands and the rest comes back.
func TestRestoreBesideApply(t *testing.T) {
	old, kept := newTable(t, Options{}), &keeper{}
	for p := range 400 {
		e := view(p%60, "/a")
		e.Visitor = event.VisitorID(1 + p)
		if _, err := old.Apply(&e, 0, today, kept); err != nil {
			t.Fatal(err)
		}
	}
	table, after := newTable(t, Options{}), &keeper{}
	again := func(p int) event.Event {
		e := view(60+p%60, "/b")
		e.Visitor = event.VisitorID(1 + p)
		if _, err := table.Apply(&e, 0, today, after); err != nil {
			t.Error(err)
		}
		return e
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range kept.kept {
			table.Restore(&kept.kept[i], today)
		}
	})
	wg.Go(func() {
		for p := range 200 {
			again(p)
		}
	})
	wg.Wait()
	if n := table.Live(noon.Add(2 * time.Minute)); n != 400 {
		t.Errorf("%d visits go on, want 400", n)
	}
	for p := range 200 {
		e := again(p)
		if e.Facts.NewVisit != 0 || e.Facts.NewVisitor != 0 || e.Visit != after.kept[p].Visit {
			t.Fatalf("visitor %d, who was here while visits were restored: %+v", p, e.Facts)
		}
	}
	for p := 200; p < 400; p++ {
		if e := again(p); e.Facts.NewVisit != 0 || e.Facts.NewVisitor != 0 || e.Facts.Bounce != -1 || e.Visit != kept.kept[p].Visit {
			t.Fatalf("visitor %d, whose visit was restored: %+v", p, e.Facts)
		}
	}
}

// The events of a long visit lie far behind those that come in: restoring it
// late must not pass for a clock that was set back.
func TestRestoringALongVisitLateEndsNoOther(t *testing.T) {
	old, kept := newTable(t, Options{}), &keeper{}
	for at := 0; at <= 7200; at += 1200 {
		e := view(at, "/long")
		if _, err := old.Apply(&e, 0, today, kept); err != nil {
			t.Fatal(err)
		}
	}
	table, after := newTable(t, Options{}), &keeper{}
	apply := func(e event.Event) event.Event {
		t.Helper()
		if _, err := table.Apply(&e, 0, today, after); err != nil {
			t.Fatal(err)
		}
		return e
	}
	neighbour := view(7300, "/a") // in the same shard
	neighbour.Visitor += shards
	begun := apply(neighbour)
	returned := view(7310, "/b")
	returned.Visitor += 2 * shards
	returned = apply(returned)
	for i := range kept.kept {
		e := kept.kept[i]
		table.Restore(&e, today)
		e.Visitor, e.Visit = returned.Visitor, e.Visit+1 // somebody else, who came back before this
		table.Restore(&e, today)
	}
	for _, first := range []event.Event{begun, returned} {
		next := first
		next.At = next.At.Add(time.Minute)
		if next = apply(next); next.Visit != first.Visit || next.Facts.NewVisit != 0 || next.Facts.Duration != 60 {
			t.Errorf("a visit that went on while another was restored: %+v", next.Facts)
		}
	}
	next := apply(view(7320, "/end"))
	if next.Visit != kept.kept[0].Visit || next.Facts != (event.Facts{Duration: 120, PreviousPath: "/long"}) {
		t.Errorf("the visit that was restored: %+v", next.Facts)
	}
}
