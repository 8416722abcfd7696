package storage

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/halfmask/halfmask/collector/anonymize"
	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/internal/testkit"
)

func TestSites(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	added, err := s.AddSite(ctx, " WWW.Example.COM. ", "Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	if added.Domain != "example.com" || added.Zone.String() != "Europe/Berlin" || added.ID == 0 {
		t.Errorf("added %+v", added)
	}
	if _, err := s.AddSite(ctx, "example.com", "UTC"); !errors.Is(err, ErrExists) {
		t.Errorf("adding it again: %v", err)
	}
	if _, err := s.AddSite(ctx, "another.example", ""); err != nil {
		t.Fatal(err)
	}
	all, err := s.Sites(ctx)
	if err != nil || len(all) != 2 || all[1].ID != added.ID || all[1].Domain != added.Domain || all[1].Zone.String() != added.Zone.String() {
		t.Errorf("sites are %v (%v)", all, err)
	}
}

func TestAddSiteRefuses(t *testing.T) {
	s := open(t)
	for _, domain := range []string{"", "https://example.com", "example.com/blog", "example.com:80", "a..b", "a b", "exämple.com", "'; DROP TABLE sites"} {
		if site, err := s.AddSite(t.Context(), domain, "UTC"); err == nil {
			t.Errorf("%q became %q", domain, site.Domain)
		}
	}
	for _, zone := range []string{"Local", "Mars/Olympus", "../etc/passwd", "CEST'"} {
		if _, err := s.AddSite(t.Context(), "example.com", zone); err == nil {
			t.Errorf("time zone %q was taken", zone)
		}
	}
	if all, err := s.Sites(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("sites are %v (%v)", all, err)
	}
}

func TestAddSiteByManyAtOnce(t *testing.T) {
	s := open(t)
	var wg sync.WaitGroup
	sites := make([]*event.Site, 4)
	errs := make([]error, 4)
	for i := range sites {
		wg.Go(func() { sites[i], errs[i] = s.AddSite(t.Context(), "example.com", "UTC") })
	}
	wg.Wait()
	all, err := s.Sites(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("sites are %v (%v)", all, err)
	}
	won := 0
	for i := range sites {
		switch {
		case errs[i] == nil && sites[i].ID == all[0].ID:
			won++
		case !errors.Is(errs[i], ErrExists):
			t.Errorf("adder %d got %v, %v", i, sites[i], errs[i])
		}
	}
	if won != 1 {
		t.Errorf("%d adders won", won)
	}
}

func TestRemoveSiteTakesItsEventsAlong(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	first, err := s.AddSite(ctx, "example.com", "")
	if err != nil {
		t.Fatal(err)
	}
	mine, others := daysAgo(10, 1, 2), daysAgo(5, 1)
	for _, e := range mine {
		e.Site = first.ID
	}
	insert(t, s, batchOf(s, 1, "a", mine...), nil)
	insert(t, s, batchOf(s, 2, "b", others...), nil)
	n, err := s.RemoveSite(ctx, "www.example.com")
	if err != nil || n != 20 {
		t.Errorf("removed %d events (%v), want 20", n, err)
	}
	if left := ask[uint64](t, s, "SELECT count() FROM events"); left != 5 {
		t.Errorf("%d events of the other site are left, want 5", left)
	}
	if _, err := s.RemoveSite(ctx, "example.com"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removing it again: %v", err)
	}
	second, err := s.AddSite(ctx, "example.com", "")
	if err != nil || second.ID == first.ID {
		t.Errorf("added again as %v (%v), before it was %v", second, err, first)
	}
}

func salt(zone string, day event.Day, key byte) anonymize.Salt {
	s := anonymize.Salt{Zone: zone, Day: day, Created: time.Unix(1_700_000_000, 0).UTC()}
	for i := range s.Key {
		s.Key[i] = key + byte(i)*7
	}
	return s
}

func TestSaltsAreOnePerZoneAndDay(t *testing.T) {
	s := open(t)
	var wg sync.WaitGroup
	got := make([]anonymize.Salt, 4)
	errs := make([]error, 4)
	for i := range got {
		wg.Go(func() { got[i], errs[i] = s.AddSalt(t.Context(), salt("Europe/Berlin", 20_000, byte(100+i))) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i].Key != got[0].Key {
			t.Error("two collectors use different salts for one day")
		}
	}
	want := salt("UTC", 20_000, 200)
	if kept, err := s.AddSalt(t.Context(), want); err != nil || kept != want {
		t.Errorf("another zone's salt came back changed (%v)", err)
	}
	all, err := s.LoadSalts(t.Context())
	if err != nil || len(all) != 2 || all[0].Key != got[0].Key || all[1] != want {
		t.Errorf("loaded %v (%v)", all, err)
	}
}

func TestDroppedSaltsLeaveNoByte(t *testing.T) {
	dir := t.TempDir()
	e := testkit.NewEngine(t, dir)
	s := openOn(t, e, "halfmask")
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	old, today, other := salt("Europe/Berlin", 20_000, 1), salt("Europe/Berlin", 20_002, 101), salt("UTC", 20_000, 201)
	for _, salt := range []anonymize.Salt{old, salt("Europe/Berlin", 20_001, 51), today, other} {
		if _, err := s.AddSalt(t.Context(), salt); err != nil {
			t.Fatal(err)
		}
	}
	if !onDisk(t, dir, old.Key[:]) {
		t.Fatal("the search does not find a salt that is there: it proves nothing")
	}
	if err := s.DropSalts(t.Context(), "Europe/Berlin", 20_002); err != nil {
		t.Fatal(err)
	}
	if onDisk(t, dir, old.Key[:]) {
		t.Error("a destroyed salt's bytes are still on the disk")
	}
	all, err := s.LoadSalts(t.Context())
	if err != nil || len(all) != 2 || all[0] != today || all[1] != other {
		t.Errorf("left are %v (%v)", all, err)
	}
	// Forgotten for good: the day can have a salt again.
	again := salt("Europe/Berlin", 20_000, 77)
	if kept, err := s.AddSalt(t.Context(), again); err != nil || kept != again {
		t.Errorf("a new salt for a dropped day: %v (%v)", kept, err)
	}
}

// onDisk searches every file below dir.
func onDisk(t *testing.T, dir string, needle []byte) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil // ClickHouse removes files meanwhile
		}
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, needle) {
			found = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestVisitorsSince(t *testing.T) {
	s := open(t)
	insert(t, s, batchOf(s, 1, "t", append(daysAgo(3, 1), daysAgo(3, 0)...)...), nil)
	other := daysAgo(9, 0)
	for _, e := range other {
		e.Site = 2
	}
	insert(t, s, batchOf(s, 2, "u", other...), nil)
	seen := map[event.VisitorID]int{}
	err := s.VisitorsSince(t.Context(), 1, noon().Add(time.Second), func(v event.VisitorID) error { seen[v]++; return nil })
	if err != nil || len(seen) != 2 || seen[2] != 1 || seen[3] != 1 {
		t.Errorf("saw %v (%v), want 2 and 3 once", seen, err)
	}
}
