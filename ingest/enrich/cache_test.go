package enrich

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"github.com/halfmask/halfmask/event"
)

// borrow makes a user agent of memory that may change, as the door does.
func borrow(b []byte) event.UserAgent {
	return event.UserAgent(unsafe.String(unsafe.SliceData(b), len(b)))
}

func TestAFloodDoesNotPushOutWhatPeopleUse(t *testing.T) {
	e := New(Options{Agents: 1024})
	agents, _ := realBrowsers(t)
	for range 2 {
		for _, agent := range agents {
			e.Client(event.UserAgent(agent))
		}
	}
	for i := range 10_000 {
		e.Client(event.UserAgent(fmt.Sprintf("Mozilla/5.0 (X11; Linux x86_64; rv:%d.0) Gecko/20100101 Firefox/%d.0", i, i)))
	}
	kept := 0
	for _, agent := range agents {
		if _, known := known(e, agent); known {
			kept++
		}
	}
	if kept < len(agents)*9/10 {
		t.Errorf("%d of %d browsers survived a flood", kept, len(agents))
	}
	// And what people use tomorrow gets its place.
	late := "Mozilla/5.0 (X11; Linux x86_64; rv:999.0) Gecko/20100101 Firefox/999.0"
	e.Client(event.UserAgent(late))
	if _, known := known(e, late); !known {
		t.Error("a new browser finds no place")
	}
}

func known(e *Enricher, agent string) (*agentEntry, bool) {
	for i := range e.agents.sets {
		for j := range e.agents.sets[i] {
			if entry := e.agents.sets[i][j].Load(); entry != nil && entry.agent == agent {
				return entry, true
			}
		}
	}
	return nil, false
}

func TestMemoryIsBounded(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	e := New(Options{Agents: 1024})
	before := heap()
	long := make([]byte, 100_000)
	for i := range long {
		long[i] = 'x'
	}
	for i := range 5_000 {
		copy(long, fmt.Sprintf("Mozilla/5.0 (made up %d)", i))
		e.Client(borrow(long))
	}
	if grown := int64(heap()) - int64(before); grown > 4<<20 {
		t.Errorf("1,024 agents take %d bytes", grown)
	}
	runtime.KeepAlive(e)
}

func TestCacheUnderLoad(t *testing.T) {
	e := New(Options{Agents: 64})
	agents, clients := realBrowsers(t)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				n := (i*7 + worker) % len(agents)
				if got, _ := e.Client(event.UserAgent(agents[n])); got != clients[n] {
					t.Errorf("%s became %+v", agents[n], got)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestClientDoesNotAllocate(t *testing.T) {
	e := New(Options{})
	agents, _ := realBrowsers(t)
	agent := event.UserAgent(agents[0])
	e.Client(agent)
	if n := testing.AllocsPerRun(100, func() { e.Client(agent) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkClient(b *testing.B) {
	e := New(Options{})
	agents, _ := realBrowsers(b)
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				e.Client(event.UserAgent(agents[i%len(agents)]))
			}
		})
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			parseClient(agents[i%len(agents)])
		}
	})
}
