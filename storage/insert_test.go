package storage

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/batch"
)

// noon is a time that no test's events come near midnight by.
func noon() time.Time { return time.Now().UTC().Truncate(24 * time.Hour).Add(-12 * time.Hour) }

// batchOf makes a batch whose token is of the server's present run.
func batchOf(s *Store, seq uint64, token string, events ...*event.Event) batch.Batch {
	return batch.Batch{Spool: 7, Seq: seq, Token: token + "-" + runOf(s), Events: slices.Values(events), Count: len(events)}
}

func runOf(s *Store) string {
	if s.clustered() {
		return clusterEpoch
	}
	return s.options.Epoch()
}

// daysAgo makes n events on each of the given UTC days before today.
func daysAgo(n int, days ...int) (all []*event.Event) {
	for _, d := range days {
		for i := range n {
			all = append(all, &event.Event{
				At: noon().AddDate(0, 0, -d).Add(time.Duration(i%3600) * time.Second), Site: 1, Kind: event.Pageview,
				Name: "pageview", Path: "/", Visitor: event.VisitorID(i + 1), Visit: event.VisitID(i + 1),
			})
		}
	}
	return all
}

func day(ago int) event.Day { return event.DayOf(noon().AddDate(0, 0, -ago), time.UTC) }

func insert(t testing.TB, s *Store, b batch.Batch, only map[event.Day]bool) {
	t.Helper()
	if err := s.Insert(t.Context(), b, only); err != nil {
		t.Fatal(err)
	}
}

func stored(t testing.TB, s *Store, seq uint64) map[event.Day]uint64 {
	t.Helper()
	days, err := s.Stored(t.Context(), 7, seq)
	if err != nil {
		t.Fatal(err)
	}
	return days
}

func TestInsertKeepsEveryField(t *testing.T) {
	s := open(t)
	e := &event.Event{
		At: noon(), Site: 1 << 63, Kind: event.Custom, Name: "Sign'up", Interactive: true,
		Hostname: "example.com", Path: "/a\\b", Props: []event.Prop{{Key: "plan", Value: "pro\x00\t'"}, {Key: "plan", Value: "last"}, {Key: "k", Value: ""}},
		Scroll: 42, Engaged: 4_000_000_000,
		Network: event.NetworkV4(203, 0), Place: event.Place{Country: "DE", Region: "DE-BE", City: "Berlin"},
		Client:  event.Client{Device: "Desktop", Browser: "Firefox", BrowserVersion: "146.0", OS: "Windows", OSVersion: "11"},
		Visitor: 1<<63 + 1, Visit: 1<<63 + 2,
		Origin: event.Origin{EntryPath: "/in", Source: "Google", Channel: "Organic Search", Referrer: "google.com/x",
			Campaign: event.Campaign{Source: "us", Medium: "um", Campaign: "uc", Content: "uo", Term: "ut"}},
		Facts: event.Facts{NewVisitor: 1, NewVisit: 1, Bounce: -1, Duration: 99, PreviousPath: "/before"},
	}
	insert(t, s, batchOf(s, 1, "t", e), nil)

	got := ask[string](t, s, "SELECT toString(tuple(* EXCEPT (ts))) FROM events")
	want := `(9223372036854775808,'custom','Sign\'up',true,'example.com','/a\\b','/in','/before',` +
		`9223372036854775809,9223372036854775810,1,1,-1,99,42,4000000000,` +
		`'Google','Organic Search','google.com/x','us','um','uc','uo','ut',` +
		`'DE','DE-BE','Berlin','Desktop','Firefox','146.0','Windows','11','203.0.x.x',{'plan':'last','k':''},7,1)`
	if got != want && got != swapProps(want) {
		t.Errorf("stored\n%s, want\n%s", got, want)
	}
	if at := ask[time.Time](t, s, "SELECT ts FROM events"); !at.Equal(e.At) {
		t.Errorf("stored at %v, want %v", at, e.At)
	}
}

// swapProps gives the other order that the props' map may come in.
func swapProps(s string) string {
	return s[:len(s)-len("{'plan':'last','k':''},7,1)")] + "{'k':'','plan':'last'},7,1)"
}

func TestInsertIsOnceForOneToken(t *testing.T) {
	s := open(t)
	events := daysAgo(100, 1, 2, 3)
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { errs[i] = s.Insert(t.Context(), batchOf(s, 1, "token", events...), nil) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	want := map[event.Day]uint64{day(1): 100, day(2): 100, day(3): 100}
	if got := stored(t, s, 1); !maps.Equal(got, want) {
		t.Errorf("four inserts under one token stored %v, want %v", got, want)
	}
	if other := stored(t, s, 2); len(other) != 0 {
		t.Errorf("a batch that was never inserted has %v", other)
	}
}

func TestInsertRepairsOnlyTheMissingDays(t *testing.T) {
	s := open(t)
	events := daysAgo(10, 1, 2, 3)
	insert(t, s, batchOf(s, 1, "one", events...), map[event.Day]bool{day(1): true, day(3): true})
	before := stored(t, s, 1)
	if want := (map[event.Day]uint64{day(1): 10, day(3): 10}); !maps.Equal(before, want) {
		t.Fatalf("half a batch stored %v, want %v", before, want)
	}
	insert(t, s, batchOf(s, 1, "two", events...), map[event.Day]bool{day(2): true})
	if want := (map[event.Day]uint64{day(1): 10, day(2): 10, day(3): 10}); !maps.Equal(stored(t, s, 1), want) {
		t.Errorf("after the repair there is %v, want %v", stored(t, s, 1), want)
	}
	// A late original finds its token used.
	insert(t, s, batchOf(s, 1, "one", events...), map[event.Day]bool{day(1): true})
	if got := stored(t, s, 1)[day(1)]; got != 10 {
		t.Errorf("a repetition made %d rows of 10", got)
	}
}

func TestInsertIsOneBlock(t *testing.T) {
	s := open(t)
	insert(t, s, batchOf(s, 1, "t", daysAgo(70_000, 1)...), nil)
	if parts := ask[uint64](t, s, "SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'events'"); parts != 1 {
		t.Errorf("one batch of one day became %d parts", parts)
	}
}

func TestInsertOfNothing(t *testing.T) {
	s := open(t)
	insert(t, s, batchOf(s, 1, "t"), nil)
	insert(t, s, batchOf(s, 1, "t", daysAgo(3, 1)...), map[event.Day]bool{})
	if got := stored(t, s, 1); len(got) != 0 {
		t.Errorf("nothing became %v", got)
	}
}

func TestInsertOfImpossibleDataIsBadData(t *testing.T) {
	s := open(t)
	for what, e := range map[string]*event.Event{
		"a time before 1970": {At: time.Unix(-5, 0), Kind: event.Pageview},
		"a time after 2106":  {At: time.Unix(1<<33, 0), Kind: event.Pageview},
		"an unknown kind":    {At: noon(), Kind: 99, Path: "SENTINEL"},
	} {
		err := s.Insert(t.Context(), batchOf(s, 1, "t", e), nil)
		if !errors.Is(err, batch.ErrBadData) {
			t.Errorf("%s: got %v, want bad data", what, err)
		}
	}
	insert(t, s, batchOf(s, 1, "t", daysAgo(1, 1)...), nil) // the connection still works
}

func TestInsertKeepsStringsOfItsOwn(t *testing.T) {
	s := open(t)
	// The iterator reuses one event and the memory of its path, as decoding may.
	memory := []byte("/0")
	b := batchOf(s, 1, "t")
	b.Events = func(yield func(*event.Event) bool) {
		for i := range 10 {
			memory[1] = byte('0' + i)
			e := event.Event{At: noon(), Kind: event.Pageview, Path: borrowed(memory), Name: borrowed(memory)}
			if !yield(&e) {
				return
			}
		}
	}
	insert(t, s, b, nil)
	if n := ask[uint64](t, s, "SELECT uniqExact(path, name) FROM events WHERE path = name"); n != 10 {
		t.Errorf("10 paths became %d", n)
	}
}

func TestInsertAfterARestartNeedsANewToken(t *testing.T) {
	s := open(t)
	b := batchOf(s, 1, "t", daysAgo(3, 1)...)
	b.Token = "t-0000000000000000"
	if err := s.Insert(t.Context(), b, nil); err == nil || errors.Is(err, batch.ErrBadData) {
		t.Errorf("a token of another run: %v, want an error that is worth another try", err)
	}
	if got := stored(t, s, 1); len(got) != 0 {
		t.Errorf("stored %v all the same", got)
	}
}

func TestEpochIsTheServersRun(t *testing.T) {
	s := open(t)
	s.options.Epoch = nil
	first, err := s.Epoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Epoch(t.Context())
	if err != nil || first == "" || second != first {
		t.Errorf("epochs %q and %q of one run (%v)", first, second, err)
	}
}

func TestErrorsDoNotQuoteData(t *testing.T) {
	s := open(t)
	sql := "SELECT toUInt8('SENTINEL') FROM events_SENTINEL"
	errs := []error{s.exec(t.Context(), statement{name: "test", sql: sql})}
	for _, sql := range []string{"SELECT toUInt8('SENTINEL')", "SELECT throwIf(1, 'SENTINEL')", "SELEKT 'SENTINEL'"} {
		errs = append(errs, s.selectRows(t.Context(), s.writer, statement{name: "test", sql: sql}, func(scanner) error { return nil }))
	}
	for _, err := range errs {
		if err == nil {
			t.Error("a broken statement went through")
		} else if text := fmt.Sprintf("%v %+v %#v", err, err, err); contains(text, "SENTINEL") {
			t.Errorf("an error quotes the statement: %s", text)
		}
	}
}

func BenchmarkInsert(b *testing.B) {
	const rows = 10_000
	s := open(b)
	events := daysAgo(rows, 1)
	for i, e := range events {
		e.Path = fmt.Sprintf("/page/%d", i%500)
		e.Origin = event.Origin{EntryPath: e.Path, Source: "Google", Channel: "Organic Search"}
		e.Place, e.Client = event.Place{Country: "DE"}, event.Client{Device: "Desktop", Browser: "Firefox", OS: "Linux"}
		e.Network = event.NetworkV4(203, byte(i))
	}
	b.ReportAllocs()
	for seq := uint64(1); b.Loop(); seq++ {
		if err := s.Insert(b.Context(), batchOf(s, seq, fmt.Sprint(seq), events...), nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/event")
}
