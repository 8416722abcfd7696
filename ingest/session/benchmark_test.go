package session

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/halfmask/halfmask/event"
)

type nowhere struct{}

func (nowhere) Keep(*event.Event) error { return nil }

// population is 50,000 visitors on 1,000 paths.
func population() (visitors []event.VisitorID, paths []string) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50_000 {
		visitors = append(visitors, event.VisitorID(r.Uint64()))
	}
	for i := range 1000 {
		paths = append(paths, fmt.Sprintf("/articles/%d/with-a-title-of-the-usual-length", i))
	}
	return visitors, paths
}

func viewBy(visitor event.VisitorID, path string, at time.Time) event.Event {
	return event.Event{At: at, Site: 1, Visitor: visitor, Kind: event.Pageview, Path: path, Interactive: true,
		Origin: event.Origin{Source: "Google", Channel: "Organic Search", Referrer: "google.com"}}
}

// BenchmarkApply is the steady state: everyone is here and every path is known.
func BenchmarkApply(b *testing.B) {
	visitors, paths := population()
	table := newTable(b, Options{})
	for i, v := range visitors {
		e := viewBy(v, paths[i%len(paths)], noon)
		if _, err := table.Apply(&e, 0, today, nowhere{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		i := rand.IntN(len(visitors))
		var e event.Event
		for pb.Next() {
			e = viewBy(visitors[i%len(visitors)], paths[(i*7)%len(paths)], noon)
			if _, err := table.Apply(&e, 0, today, nowhere{}); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
}

// BenchmarkMemory reports what a visit going on and a visitor remembered take.
func BenchmarkMemory(b *testing.B) {
	const visits = 400_000
	_, paths := population()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		table := newTable(b, Options{})
		r := rand.New(rand.NewPCG(1, 2))
		before := heap()
		for i := range visits {
			e := viewBy(event.VisitorID(r.Uint64()), paths[i%len(paths)], noon)
			if _, err := table.Apply(&e, 0, today, nowhere{}); err != nil {
				b.Fatal(err)
			}
		}
		all := heap() - before
		for i := range table.shards {
			table.shards[i].days = nil
		}
		rest := heap() - before
		b.ReportMetric(float64(rest)/visits, "B/visit")
		b.ReportMetric(float64(all-rest)/visits, "B/visitor")
		runtime.KeepAlive(table)
	}
}

func TestApplyDoesNotAllocate(t *testing.T) {
	table := newTable(t, Options{})
	var e event.Event // outside, because an interface's method gets it
	apply := func() {
		e = viewBy(5, "/a", noon)
		if _, err := table.Apply(&e, 0, today, nowhere{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(100, apply); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
