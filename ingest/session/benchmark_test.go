package session

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
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

// million fills a table with 1,000,000 visits going on, on 1,000 pages.
func million(b *testing.B, table *Table) (visitors []event.VisitorID, paths []string) {
	_, paths = population()
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 1_000_000 {
		visitors = append(visitors, event.VisitorID(r.Uint64()))
		e := viewBy(visitors[i], paths[i%len(paths)], noon)
		if _, err := table.Apply(&e, 0, today, nowhere{}); err != nil {
			b.Fatal(err)
		}
	}
	return visitors, paths
}

// BenchmarkApplyMillion is BenchmarkApply with a million visits, of which each
// event meets one that the processor's caches have forgotten.
func BenchmarkApplyMillion(b *testing.B) {
	table := newTable(b, Options{})
	visitors, paths := million(b, table)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		r := rand.New(rand.NewPCG(rand.Uint64(), 2))
		var e event.Event
		for pb.Next() {
			e = viewBy(visitors[r.IntN(len(visitors))], paths[r.IntN(len(paths))], noon)
			if _, err := table.Apply(&e, 0, today, nowhere{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkOpen takes over a million visits, and as many visitors of the day,
// from a process that was killed. As after a kill the file is in the page cache.
func BenchmarkOpen(b *testing.B) {
	file := filepath.Join(b.TempDir(), "visits")
	table, err := Open(file, Options{boot: "one"})
	if err != nil {
		b.Fatal(err)
	}
	million(b, table)
	b.ResetTimer()
	for b.Loop() {
		again, err := Open(file, Options{boot: "one"})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		n := 0
		for i := range again.shards {
			n += again.shards[i].live
		}
		if n != 1_000_000 || !again.Killed() {
			b.Fatalf("%d visits go on", n)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(table.arena.used*chunkBytes)/1e6, "MB/file")
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
		strings, lists := 0, 0
		for i := range table.shards {
			s := &table.shards[i]
			strings += s.textBlocks
			for _, d := range s.days {
				lists += (d.visitors.count + 5) / 6
			}
			s.days = nil
		}
		rest := heap() - before
		b.ReportMetric((float64(rest)-float64(strings+lists)*blockBytes)/visits, "B/visit")
		b.ReportMetric((float64(all-rest)+float64(lists)*blockBytes)/visits, "B/visitor")
		b.ReportMetric(float64(strings)*blockBytes/1e6, "MB/strings")
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
