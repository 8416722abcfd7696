package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/batch"
	"github.com/halfmask/halfmask/ingest/record"
	"github.com/halfmask/halfmask/ingest/spool"
)

// picky makes the server itself refuse events of a path, as an owner's
// constraint does.
func picky(t *testing.T, s *Store) {
	t.Helper()
	do(t, s, "ALTER TABLE events ADD CONSTRAINT not_bad CHECK path != '/bad'")
}

func TestTheServersRefusalIsBadData(t *testing.T) {
	s := open(t)
	picky(t, s)
	events := daysAgo(3, 1)
	events[1].Path = "/bad"
	if err := s.Insert(t.Context(), batchOf(s, 1, "t", events...), nil); !errors.Is(err, batch.ErrBadData) {
		t.Errorf("got %v, want bad data", err)
	}
}

func TestRefusedFindsTheBadEventsAndStoresNone(t *testing.T) {
	s := open(t)
	picky(t, s)
	cases := map[string]struct {
		spoil func(events []*event.Event)
		only  map[event.Day]bool
		want  []int
	}{
		"none":               {func([]*event.Event) {}, nil, nil},
		"a time before 1970": {func(all []*event.Event) { all[7].At = time.Unix(-5, 0) }, nil, []int{7}},
		"an unknown kind":    {func(all []*event.Event) { all[99].Kind = 99 }, nil, []int{99}},
		"by the server":      {func(all []*event.Event) { all[0].Path, all[50].Path = "/bad", "/bad" }, nil, []int{0, 50}},
		"each in its way": {func(all []*event.Event) {
			all[60].Path, all[3].At, all[61].Kind = "/bad", time.Unix(1<<33, 0), 99
		}, nil, []int{3, 60, 61}},
		"of a day that is not asked about": {
			func(all []*event.Event) { all[10].Path, all[60].Path = "/bad", "/bad" }, map[event.Day]bool{day(2): true}, []int{60},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			events := daysAgo(50, 1, 2)
			c.spoil(events)
			got, err := s.Refused(t.Context(), batchOf(s, 1, "t", events...), c.only, 64)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("found %v (%v), want %v", got, err, c.want)
			}
		})
	}
	events := daysAgo(200, 1)
	for _, e := range events {
		e.Path = "/bad"
	}
	if got, err := s.Refused(t.Context(), batchOf(s, 1, "t", events...), nil, 10); err != nil || len(got) != 11 {
		t.Errorf("found %d (%v), want to stop at 11", len(got), err)
	}
	if n := ask[uint64](t, s, "SELECT count() FROM events") + ask[uint64](t, s, "SELECT count() FROM events_probe"); n != 0 {
		t.Errorf("%d events are stored", n)
	}
}

// The whole way: of a segment with events that the server refuses, the others
// are stored, and those are kept.
func TestABadEventCostsNoOther(t *testing.T) {
	s := open(t)
	picky(t, s)
	dir := t.TempDir()
	segments, err := spool.Open(spool.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	events := daysAgo(20, 1, 2)
	events[5].Path, events[17].Kind = "/bad", 99
	for _, e := range events {
		if _, err := segments.Append(record.Append(nil, e)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := batch.New(batch.Options{Source: segments, Sink: s}).Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if err := segments.Close(); err != nil {
		t.Fatal(err)
	}
	got := map[int32]uint64{}
	err = s.selectRows(ctx, s.writer, statement{name: "test", sql: "SELECT toInt32(toDate(ts)), count() FROM events WHERE path != '/bad' GROUP BY 1"},
		func(scan scanner) error {
			var day int32
			var n uint64
			err := scan(&day, &n)
			got[day] = n
			return err
		})
	if want := (map[int32]uint64{int32(day(1)): 18, int32(day(2)): 20}); err != nil || !maps.Equal(got, want) {
		t.Errorf("stored %v (%v), want %v", got, err, want)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "quarantine", "*")); err != nil || len(files) != 1 {
		t.Errorf("quarantine holds %d segments (%v), want 1", len(files), err)
	}
}

func BenchmarkRefused(b *testing.B) {
	const rows = 50_000
	s := open(b)
	events := daysAgo(rows, 1)
	for i, e := range events {
		e.Path = fmt.Sprintf("/page/%d", i%500)
	}
	events[rows/3].Kind = 99
	for b.Loop() {
		if got, err := s.Refused(b.Context(), batchOf(s, 1, "t", events...), nil, 64); err != nil || len(got) != 1 {
			b.Fatal(got, err)
		}
	}
}
