package storage

import (
	"maps"
	"testing"
	"time"

	"github.com/halfmask/halfmask/account"
	"github.com/halfmask/halfmask/event"
)

func TestKeptCountsBookedBatches(t *testing.T) {
	s := open(t)
	insert(t, s, batchOf(s, 1, "a", daysAgo(3, 0, 1)...), nil)
	insert(t, s, batchOf(s, 2, "b", daysAgo(5, 1)...), nil)
	insert(t, s, batchOf(s, 3, "c", daysAgo(7, 0)...), nil)
	for _, c := range []struct {
		spool, last uint64
		except      []uint64
		want        map[event.Day]uint64
	}{
		{7, 3, nil, map[event.Day]uint64{day(0): 10, day(1): 8}},
		{7, 2, nil, map[event.Day]uint64{day(0): 3, day(1): 8}},
		{7, 3, []uint64{1, 2}, map[event.Day]uint64{day(0): 7}},
		{8, 3, nil, map[event.Day]uint64{}},
	} {
		got, err := s.Kept(t.Context(), c.spool, c.last, c.except)
		if err != nil || !maps.Equal(got, c.want) {
			t.Errorf("spool %d up to %d except %v: %v, %v; want %v", c.spool, c.last, c.except, got, err, c.want)
		}
	}
}

func TestRemovedSince(t *testing.T) {
	s := open(t)
	now := time.Now()
	for _, e := range []account.Entry{
		{At: now.Add(-time.Hour), Actor: "cli", Action: "site.remove", Target: "example.com"},
		{At: now, Actor: "cli", Action: "site.add", Target: "example.com"},
	} {
		if err := s.AddEntry(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for since, want := range map[time.Duration]bool{2 * time.Hour: true, time.Minute: false} {
		if got, err := s.RemovedSince(t.Context(), now.Add(-since)); err != nil || got != want {
			t.Errorf("removed in the last %v: %v, %v; want %v", since, got, err, want)
		}
	}
}
