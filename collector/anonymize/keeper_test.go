package anonymize

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/halfmask/halfmask/event"
)

// memory is a SaltStore of this process; away makes every call fail.
type memory struct {
	mu    sync.Mutex
	salts []Salt
	away  bool
}

var errAway = errors.New("storage is away")

func (m *memory) LoadSalts(context.Context) ([]Salt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return nil, errAway
	}
	return slices.Clone(m.salts), nil
}

func (m *memory) AddSalt(_ context.Context, s Salt) (Salt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return Salt{}, errAway
	}
	for _, old := range m.salts {
		if old.Zone == s.Zone && old.Day == s.Day {
			return old, nil
		}
	}
	m.salts = append(m.salts, s)
	return s, nil
}

func (m *memory) DropSalts(_ context.Context, zone string, before event.Day) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return errAway
	}
	m.salts = slices.DeleteFunc(m.salts, func(s Salt) bool { return s.Zone == zone && s.Day < before })
	return nil
}

func (m *memory) days(zone string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var days []string
	for _, s := range m.salts {
		if s.Zone == zone {
			days = append(days, s.Day.String())
		}
	}
	slices.Sort(days)
	return days
}

func (m *memory) set(away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = away
}

// run starts Run and returns what stops it.
func run(t *testing.T, k *Keeper) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- k.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// look masks the same client at an instant.
func look(t *testing.T, k *Keeper, at time.Time, loc *time.Location) event.Hit {
	t.Helper()
	hit := hitAt(at, loc)
	if !New(Options{Salts: k}).Mask(&hit, netip.MustParseAddr("203.0.113.77")) {
		t.Fatal("not masked")
	}
	return hit
}

func sleepUntil(at time.Time) { time.Sleep(time.Until(at)); synctest.Wait() }

func TestDayTurnsAtTheSitesMidnight(t *testing.T) {
	for _, c := range []struct{ zone, midnight string }{
		{"UTC", "2026-11-22T00:00:00Z"},
		{"America/New_York", "2026-11-22T00:00:00-05:00"},
		{"America/New_York", "2026-11-02T00:00:00-05:00"}, // the day before had 25 hours
		{"America/New_York", "2026-03-09T00:00:00-04:00"}, // the day before had 23
		{"Africa/Cairo", "2026-04-24T01:00:00+03:00"},     // midnight is skipped
		{"America/Havana", "2026-11-01T00:00:00-04:00"},   // midnight comes twice
		{"Pacific/Apia", "2011-12-31T00:00:00+14:00"},     // the date before is skipped
		{"Asia/Kathmandu", "2026-11-22T00:00:00+05:45"},
	} {
		t.Run(fmt.Sprint(c.zone, c.midnight), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				loc := location(t, c.zone)
				midnight, err := time.Parse(time.RFC3339, c.midnight)
				if err != nil {
					t.Fatal(err)
				}
				sleepUntil(midnight.Add(-12 * time.Hour))
				k := openKeeper(t, "")
				k.Ensure(loc)
				defer run(t, k)()
				before := look(t, k, time.Now(), loc)
				sleepUntil(midnight.Add(-time.Second))
				if last := look(t, k, time.Now(), loc); last.Visitor != before.Visitor || last.Previous != 0 || last.Day != before.Day {
					t.Error("the day turned early")
				}
				sleepUntil(midnight)
				first := look(t, k, time.Now(), loc)
				if first.Visitor == before.Visitor {
					t.Error("the visitor has yesterday's pseudonym")
				}
				if first.Previous != before.Visitor {
					t.Error("a visit cannot survive midnight")
				}
				if first.Day <= before.Day {
					t.Errorf("day %s after %s", first.Day, before.Day)
				}
				sleepUntil(midnight.Add(30*time.Minute - time.Second))
				if late := look(t, k, time.Now(), loc); late.Previous != before.Visitor {
					t.Error("yesterday's pseudonym was given up before 30 minutes")
				}
				sleepUntil(midnight.Add(30 * time.Minute))
				if late := look(t, k, time.Now(), loc); late.Previous != 0 || late.Visitor != first.Visitor {
					t.Error("yesterday's pseudonym is still tried after 30 minutes")
				}
				// Where the clock shows an hour twice, the second one is the same day.
				sleepUntil(midnight.Add(90 * time.Minute))
				if late := look(t, k, time.Now(), loc); late.Visitor != first.Visitor {
					t.Error("one visitor became two in an hour that the clock showed twice")
				}
			})
		})
	}
}

func TestOldSaltsAreDestroyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "salts")
		berlin := location(t, "Europe/Berlin")
		store := &memory{}
		k := openKeeper(t, path)
		k.Ensure(berlin)
		if err := k.Attach(t.Context(), store); err != nil {
			t.Fatal(err)
		}
		defer run(t, k)()
		look(t, k, time.Now(), berlin)
		k.mu.Lock()
		first := (*k.zones.Load())["Europe/Berlin"].salts[0]
		k.mu.Unlock()
		secret := first.secret()
		raw := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, secret.k0), secret.k1)
		if !bytes.Contains(read(t, path), raw) {
			t.Fatal("the snapshot does not hold today's salt")
		}

		yesterday := first.day.Start(berlin)
		sleepUntil(yesterday.Add(47 * time.Hour))
		if _, ok := first.key(); !ok {
			t.Error("yesterday's salt is gone already")
		}
		sleepUntil(yesterday.Add(48*time.Hour + 2*time.Minute))
		if got, ok := first.key(); ok || got != (key{}) {
			t.Error("a salt older than yesterday is still in memory")
		}
		if bytes.Contains(read(t, path), raw) {
			t.Error("a salt older than yesterday is still in the snapshot")
		}
		if got, want := store.days("Europe/Berlin"), []string{"2000-01-02", "2000-01-03"}; !slices.Equal(got, want) {
			t.Errorf("the store has salts of %v, want %v", got, want)
		}
		if names := folder(t, path); len(names) != 1 {
			t.Errorf("beside the snapshot there is %v", names)
		}
	})
}

func TestTheStoresSaltCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		first, second := openKeeper(t, ""), openKeeper(t, "")
		for _, k := range []*Keeper{first, second} {
			k.Ensure(time.UTC)
			defer run(t, k)()
		}
		mine := look(t, first, time.Now(), time.UTC).Visitor
		if mine == look(t, second, time.Now(), time.UTC).Visitor {
			t.Fatal("two collectors drew the same salt")
		}
		// The first one's salt was used already and the store has none: it is added.
		if err := first.Attach(t.Context(), store); err != nil {
			t.Fatal(err)
		}
		if err := second.Attach(t.Context(), store); err != nil {
			t.Fatal(err)
		}
		if look(t, first, time.Now(), time.UTC).Visitor != mine {
			t.Error("the salt that was in use first was given up")
		}
		if look(t, second, time.Now(), time.UTC).Visitor != mine {
			t.Error("the second collector does not use the store's salt")
		}
		// Tomorrow they agree from the first second, though storage is away then.
		sleepUntil(time.Date(2000, 1, 1, 19, 0, 0, 0, time.UTC))
		store.set(true)
		sleepUntil(time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC))
		a, b := look(t, first, time.Now(), time.UTC), look(t, second, time.Now(), time.UTC)
		if a.Visitor != b.Visitor || a.Previous != mine || b.Previous != mine {
			t.Error("two collectors disagree after midnight")
		}
	})
}

func TestStorageComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{away: true}
		k := openKeeper(t, filepath.Join(t.TempDir(), "salts"))
		k.Ensure(time.UTC)
		defer run(t, k)()
		if err := k.Attach(t.Context(), store); !errors.Is(err, errAway) {
			t.Fatalf("error %v, want %v", err, errAway)
		}
		before := look(t, k, time.Now(), time.UTC).Visitor
		time.Sleep(time.Hour)
		store.set(false)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := store.days("UTC"); !slices.Equal(got, []string{"2000-01-01"}) {
			t.Errorf("the store has salts of %v", got)
		}
		if look(t, k, time.Now(), time.UTC).Visitor != before {
			t.Error("the visitor changed when storage came")
		}
	})
}

func TestAClockSetBack(t *testing.T) {
	for _, c := range []struct {
		name string
		back time.Duration
		same bool // as the day that the clock came from
	}{
		{"by an hour within the day", time.Hour, true},
		{"to yesterday, whose salt never was here", 20 * time.Hour, true},
		{"by two days", 45 * time.Hour, true},
		{"by a year: the clock was wrong before", 365 * 24 * time.Hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := openKeeper(t, "")
				sleepUntil(time.Date(2002, 5, 5, 12, 0, 0, 0, time.UTC))
				k.Ensure(time.UTC)
				now := look(t, k, time.Now(), time.UTC)
				then := look(t, k, time.Now().Add(-c.back), time.UTC)
				if (then.Visitor == now.Visitor) != c.same {
					t.Errorf("same pseudonym: %v, want %v", !c.same, c.same)
				}
				if want := event.DayOf(time.Now().Add(-c.back), time.UTC); then.Day != want {
					t.Errorf("day %s, want %s", then.Day, want)
				}
			})
		})
	}
}

func TestAClockSetBackToYesterdayFindsYesterdaysSalt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := openKeeper(t, "")
		k.Ensure(time.UTC)
		defer run(t, k)()
		yesterday := look(t, k, time.Now(), time.UTC)
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		if today := look(t, k, time.Now(), time.UTC); today.Visitor == yesterday.Visitor {
			t.Fatal("the day did not turn")
		}
		if back := look(t, k, time.Now().Add(-3*time.Hour), time.UTC); back.Visitor != yesterday.Visitor {
			t.Error("yesterday's salt was not used")
		}
	})
}

// Days pass at full speed while hits come in: every pseudonym is one that a
// live salt gives, never one of half a key or of none.
func TestTurningUnderLoad(t *testing.T) {
	k := openKeeper(t, "")
	masker := New(Options{Salts: k})
	start := time.Date(2026, 1, 1, 23, 59, 0, 0, time.UTC)
	addr := netip.MustParseAddr("203.0.113.77")
	stray := identity{site: 7, low: 0xffff_cb00_714d}.visitor(key{}, firefox)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for day := range 200 {
				for range 20 {
					hit := hitAt(start.Add(time.Duration(day)*24*time.Hour), time.UTC)
					masker.Mask(&hit, addr)
					if hit.Visitor == stray {
						t.Error("a pseudonym was derived with a destroyed salt")
					}
					if want := event.DayOf(hit.At, time.UTC); hit.Day != want {
						t.Errorf("day %s, want %s", hit.Day, want)
					}
				}
				k.mu.Lock()
				k.tend(start.Add(time.Duration(day) * 24 * time.Hour))
				k.mu.Unlock()
			}
		})
	}
	wg.Wait()
	if n := k.count(); n > 4 {
		t.Errorf("%d salts are kept", n)
	}
}

func TestNobodyPrintsASalt(t *testing.T) {
	s := Salt{Zone: "UTC", Day: 1, Key: [16]byte{0xde, 0xad}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		for _, text := range []string{fmt.Sprintf(verb, s), fmt.Sprintf(verb, []Salt{s}), fmt.Sprintf(verb, &s)} {
			if bytes.Contains([]byte(text), []byte("222")) || bytes.Contains([]byte(text), []byte("dead")) || bytes.Contains([]byte(text), []byte("0xde")) {
				t.Errorf("%s prints %s", verb, text)
			}
		}
	}
}
