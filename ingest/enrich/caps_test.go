package enrich

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/halfmask/halfmask/event"
)

var capsNoon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// flood is an event of which every text is the n-th of its kind.
func flood(site event.SiteID, n int) *event.Event {
	v := fmt.Sprint("v", n)
	return &event.Event{
		At: capsNoon, Site: site, Kind: event.Custom, Name: v, Hostname: v, Path: v, Props: []event.Prop{{Key: v, Value: v}},
		Origin: event.Origin{Source: v, Referrer: v, Campaign: event.Campaign{Source: v, Medium: v, Campaign: v, Content: v, Term: v}},
		Client: event.Client{Browser: "Firefox", BrowserVersion: v, OSVersion: v},
	}
}

// texts are the values of an event that are capped.
func texts(e *event.Event) []string {
	c := e.Origin.Campaign
	all := []string{e.Name, e.Hostname, e.Path, e.Origin.Source, e.Origin.Referrer, c.Source, c.Medium, c.Campaign, c.Content, c.Term, e.Client.BrowserVersion, e.Client.OSVersion}
	for _, p := range e.Props {
		all = append(all, p.Key, p.Value)
	}
	return all
}

var ten = Limits{Hostnames: 10, Paths: 10, Names: 10, PropKeys: 10, PropValues: 10, Sources: 10, Referrers: 10, Campaigns: 10, Versions: 10}

func TestCaps(t *testing.T) {
	registry := prometheus.NewRegistry()
	c := NewCaps(ten, registry)
	for round := range 3 {
		for n := range 20 {
			e := flood(1, n)
			c.Event(e)
			c.Origin(e)
			want := fmt.Sprint("v", n)
			if n >= 10 {
				want = Other
				if len(e.Props) != 0 {
					t.Errorf("the property %v was kept", e.Props)
				}
			}
			for i, got := range texts(e) {
				if got != want {
					t.Errorf("round %d, event %d, text %d: %q, want %q", round, n, i, got, want)
				}
			}
		}
	}
	for name := range strings.FieldsSeq("hostname path name prop_key source referrer utm_source utm_medium utm_campaign utm_content utm_term browser_version os_version") {
		if got := testutil.ToFloat64(c.others[indexOf(name)]); got != 30 {
			t.Errorf("%v values of %s were counted, want 30", got, name)
		}
	}

	// Each site has its own, and so has each day.
	e := flood(2, 15)
	if c.Event(e); e.Path != "v15" {
		t.Errorf("another site's path is %q", e.Path)
	}
	e = flood(1, 15)
	e.At = capsNoon.Add(12 * time.Hour)
	if c.Event(e); e.Path != "v15" {
		t.Errorf("the next day's path is %q", e.Path)
	}
	e = flood(1, 16) // the rest of yesterday's, on their way over midnight, do not bring yesterday back
	if c.Event(e); e.Path != "v16" {
		t.Errorf("a late event's path is %q", e.Path)
	}
	today := c.today.Load().number
	e = flood(1, 1)
	e.At = capsNoon.AddDate(0, -1, 0)
	if c.Event(e); c.today.Load().number >= today {
		t.Error("a clock that was set right again is not followed")
	}
}

func indexOf(name string) column {
	for i, n := range columnNames {
		if n == name {
			return column(i)
		}
	}
	return columns
}

// Many values of one property, and one value of many.
func TestCapsOfProperties(t *testing.T) {
	c := NewCaps(ten, nil)
	for n := range 20 {
		e := &event.Event{At: capsNoon, Site: 1, Props: []event.Prop{{Key: "order", Value: fmt.Sprint(n)}, {Key: "plan", Value: "free"}}}
		if n == 0 {
			e.Props[0], e.Props[1] = e.Props[1], e.Props[0]
		}
		c.Event(e)
		c.Origin(e)
		got := fmt.Sprint(e.Props)
		want := fmt.Sprintf("[{order %d} {plan free}]", n)
		switch {
		case n == 0:
			want = "[{plan free} {order 0}]"
		case n >= 9:
			want = "[{order (other)} {plan free}]"
		}
		if got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// An empty value and the names that Halfmask gives itself take no room.
func TestCapsOfNothing(t *testing.T) {
	c := NewCaps(Limits{}, nil)
	c.Event(&event.Event{At: capsNoon, Kind: event.Pageview, Name: "pageview"})
	c.Event(&event.Event{At: capsNoon, Kind: event.Engagement, Name: "engagement"})
	if n := c.today.Load().used.Load(); n != 0 {
		t.Errorf("%d values were remembered", n)
	}
}

// However much comes from however many sites, there is a bound in memory.
func TestCapsAreBounded(t *testing.T) {
	c := NewCaps(Limits{All: 20_000}, nil)
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse
	}
	before := memory()
	e := &event.Event{At: capsNoon}
	others := 0
	for n := range 80_000 {
		e.Site, e.Path = event.SiteID(n%100), fmt.Sprint(n)
		if c.Event(e); e.Path == Other {
			others++
		}
	}
	if others != 60_000 {
		t.Errorf("%d of 80,000 paths became (other)", others)
	}
	if grown := int64(memory() - before); grown > 2<<20 {
		t.Errorf("20,000 values take %d kB", grown>>10)
	}
	runtime.KeepAlive(c)
}

// Many at once: no more values than allowed, and none that was let in is
// refused later.
func TestCapsTogether(t *testing.T) {
	c := NewCaps(Limits{Paths: 500}, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			in := map[string]bool{}
			for i := range 5_000 {
				path := fmt.Sprint(i * 7 % 1000)
				e := &event.Event{At: capsNoon.Add(time.Duration(i%2) * 12 * time.Hour), Site: 1, Path: path}
				c.Event(e)
				c.Origin(e)
				switch {
				case e.Path == path && i > 1:
					in[path] = true
				case e.Path != path && in[path]:
					t.Errorf("%s was let in and then refused", path)
					return
				}
			}
			if len(in) > 500 {
				t.Errorf("%d were let in", len(in))
			}
		})
	}
	wg.Wait()
}

// crowded is a Caps that knows what a busy site has, and its events.
func crowded() (*Caps, []*event.Event) {
	c := NewCaps(Limits{}, nil)
	events := make([]*event.Event, 5000)
	for i := range events {
		events[i] = &event.Event{
			At: capsNoon, Site: event.SiteID(1 + i%20), Kind: event.Pageview, Name: "pageview", Hostname: "example.com",
			Path: fmt.Sprintf("/articles/%d/how-we-measure-half-of-everything", i), Origin: event.Origin{Source: "Google", Referrer: "google.com"},
			Client: event.Client{BrowserVersion: "146.0", OSVersion: "10/11"},
		}
		c.Event(events[i])
		c.Origin(events[i])
	}
	return c, events
}

func TestCapsDoNotAllocate(t *testing.T) {
	c, events := crowded()
	i := 0
	if n := testing.AllocsPerRun(1000, func() { c.Event(events[i%len(events)]); c.Origin(events[i%len(events)]); i++ }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	over := flood(1, 1)
	full := NewCaps(Limits{Paths: -1}, nil)
	full.Event(over)
	if n := testing.AllocsPerRun(1000, func() { over.Path = "/x"; full.Event(over) }); n != 0 || over.Path != Other {
		t.Errorf("%v allocations for one too many, %q", n, over.Path)
	}
}

func BenchmarkCaps(b *testing.B) {
	b.Run("event", func(b *testing.B) {
		c, events := crowded()
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				c.Event(events[i%len(events)])
				c.Origin(events[i%len(events)])
			}
		})
	})
	b.Run("value", func(b *testing.B) {
		c, events := crowded()
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i++
			c.value(c.today.Load(), uint64(events[i%len(events)].Site), pathColumn, &events[i%len(events)].Path)
		}
	})
	b.Run("one too many", func(b *testing.B) {
		c := NewCaps(Limits{Paths: -1}, nil)
		path := "/articles/1/how-we-measure-half-of-everything"
		c.value(c.on(capsNoon), 1, pathColumn, &path)
		b.ReportAllocs()
		for b.Loop() {
			path = "/articles/2/how-we-measure-half-of-everything"
			c.value(c.today.Load(), 1, pathColumn, &path)
		}
	})
}
