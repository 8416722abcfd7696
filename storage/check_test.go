package storage

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/halfmask/halfmask/event"
)

// A part whose contents are gone counts as stored until it is checked; then its
// batch alone is stored again.
func TestCheckPutsADamagedPartAside(t *testing.T) {
	s := open(t)
	do(t, s, "SYSTEM STOP MERGES events")
	for seq := uint64(1); seq <= 3; seq++ {
		insert(t, s, batchOf(s, seq, fmt.Sprint(seq), daysAgo(40, 1, 2)...), nil)
	}
	path := ask[string](t, s, "SELECT path FROM system.parts WHERE database = currentDatabase() AND table = 'events' AND active"+
		" AND name = (SELECT any(_part) FROM events WHERE batch = 2 AND toDate(ts) = '"+noon().AddDate(0, 0, -1).Format("2006-01-02")+"')")
	data, err := filepath.Glob(filepath.Join(path, "*.bin"))
	if err != nil || len(data) == 0 {
		t.Fatalf("the part has no data (%v)", err)
	}
	for _, file := range data {
		if err := os.Truncate(file, 0); err != nil {
			t.Fatal(err)
		}
	}

	whole := map[event.Day]uint64{day(1): 40, day(2): 40}
	if err := s.Check(t.Context(), []event.Day{day(2)}); err != nil {
		t.Fatal(err)
	}
	if n := ask[uint64](t, s, "SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'events' AND active"); n != 6 {
		t.Fatalf("%d parts are left of 6 after another day was checked", n)
	}
	if err := s.Check(t.Context(), []event.Day{day(1), day(2)}); err != nil {
		t.Fatal(err)
	}
	if got := stored(t, s, 2); !maps.Equal(got, map[event.Day]uint64{day(2): 40}) {
		t.Errorf("of the damaged batch %v are stored, want one day", got)
	}
	insert(t, s, batchOf(s, 2, "again", daysAgo(40, 1, 2)...), map[event.Day]bool{day(1): true})
	for seq := uint64(1); seq <= 3; seq++ {
		if got := stored(t, s, seq); !maps.Equal(got, whole) {
			t.Errorf("of batch %d %v are stored, want all", seq, got)
		}
	}
	if err := s.Check(t.Context(), []event.Day{day(1), day(2)}); err != nil {
		t.Errorf("checking again: %v", err)
	}
	if sum := ask[uint64](t, s, "SELECT sum(visit) FROM events WHERE batch = 2"); sum == 0 {
		t.Error("the batch cannot be read")
	}
}

func TestCheckOfNothing(t *testing.T) {
	s := open(t)
	if err := s.Check(t.Context(), []event.Day{day(1)}); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Check(ctx, []event.Day{day(1)}); err == nil {
		t.Error("an ended context is no error")
	}
}
