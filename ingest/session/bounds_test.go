package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/halfmask/halfmask/event"
)

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
		if n := table.shards[i].textBlocks; n != 0 || table.shards[i].byText.count != 0 {
			t.Errorf("an empty shard counts %d blocks of strings", n)
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
