package engine

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// fakeClock is a machine's clocks.
type fakeClock struct {
	wall   time.Time
	boot   string
	uptime time.Duration
	synced bool
}

func (f *fakeClock) clock() clock {
	return clock{
		now:    func() time.Time { return f.wall },
		uptime: func() (string, time.Duration) { return f.boot, f.uptime },
		synced: func() bool { return f.synced },
	}
}

// pass lets time pass on every clock.
func (f *fakeClock) pass(d time.Duration) { f.wall, f.uptime = f.wall.Add(d), f.uptime+d }

const day = 24 * time.Hour

func TestGuardAtTheStart(t *testing.T) {
	for name, c := range map[string]struct {
		since func(*fakeClock) // what happened since the mark was saved
		doubt time.Duration
	}{
		"at once":                     {func(*fakeClock) {}, 0},
		"a minute later":              {func(f *fakeClock) { f.pass(time.Minute) }, 0},
		"a week later":                {func(f *fakeClock) { f.pass(7 * day) }, 0},
		"set back":                    {func(f *fakeClock) { f.wall = f.wall.Add(-400 * day) }, 0},
		"daylight saving":             {func(f *fakeClock) { f.pass(day); f.wall = f.wall.Add(time.Hour) }, 0},
		"set 200 days forward":        {func(f *fakeClock) { f.wall = f.wall.Add(200 * day) }, 200 * day},
		"forward after a week":        {func(f *fakeClock) { f.pass(7 * day); f.wall = f.wall.Add(200 * day) }, 200 * day},
		"forward, vouched for":        {func(f *fakeClock) { f.wall = f.wall.Add(200 * day); f.synced = true }, 0},
		"rebooted":                    {func(f *fakeClock) { f.wall = f.wall.Add(time.Hour); f.boot, f.uptime = "b", 0 }, 0},
		"off for two days":            {func(f *fakeClock) { f.wall = f.wall.Add(2 * day); f.boot, f.uptime = "b", 0 }, 2 * day},
		"off for two days, vouched":   {func(f *fakeClock) { f.wall = f.wall.Add(2 * day); f.boot, f.uptime, f.synced = "b", 0, true }, 0},
		"kernel without such a clock": {func(f *fakeClock) { f.wall = f.wall.Add(2 * day); f.boot, f.uptime = "", 0 }, 2 * day},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), markFile)
			f := &fakeClock{wall: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), boot: "a", uptime: 100 * time.Hour}
			newGuard(path, f.clock(), slog.New(slog.DiscardHandler)).assess()
			c.since(f)
			g := newGuard(path, f.clock(), slog.New(slog.DiscardHandler))
			g.assess()
			if g.doubt() != c.doubt {
				t.Errorf("doubt %v, want %v", g.doubt(), c.doubt)
			}
			again := newGuard(path, f.clock(), slog.New(slog.DiscardHandler))
			again.assess()
			if again.doubt() != c.doubt {
				t.Errorf("doubt %v after another start, want %v still", again.doubt(), c.doubt)
			}
		})
	}
}

func TestGuardWhileRunning(t *testing.T) {
	f := &fakeClock{wall: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), boot: "a", uptime: time.Hour}
	path := filepath.Join(t.TempDir(), markFile)
	g := newGuard(path, f.clock(), slog.New(slog.DiscardHandler))
	g.assess()
	for range 100 {
		f.pass(time.Second)
		if g.tick() || g.doubt() != 0 {
			t.Fatal("doubt without a reason")
		}
	}
	f.wall = f.wall.Add(-10 * day)
	if g.tick() || g.doubt() != 0 {
		t.Error("a clock set back is doubted")
	}
	f.wall = f.wall.Add(10 * day)
	if g.tick() || g.doubt() != 0 {
		t.Error("a clock set back and then right again is doubted")
	}
	f.wall = f.wall.Add(200 * day)
	if !g.tick() {
		t.Error("the beginning of a doubt is not told")
	}
	if g.tick() {
		t.Error("the beginning of a doubt is told twice")
	}
	if g.doubt() != 200*day {
		t.Errorf("doubt %v, want 200 days", g.doubt())
	}
	f.pass(24 * time.Hour)
	g.tick()
	if g.doubt() == 0 {
		t.Error("believed after a day")
	}
	f.pass(time.Hour)
	g.tick()
	if g.doubt() != 0 {
		t.Error("a clock that has run steadily for more than a day is still doubted")
	}
	f.wall = f.wall.Add(200 * day)
	g.tick()
	f.synced = true
	f.pass(time.Second)
	g.tick()
	if g.doubt() != 0 {
		t.Error("a clock that is vouched for is doubted")
	}
}

func TestGuardReadsAnyMark(t *testing.T) {
	for _, content := range []string{"", "{", "null", "[]", `{"wall":"x"}`, "\x00\x00"} {
		path := filepath.Join(t.TempDir(), markFile)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		f := &fakeClock{wall: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), boot: "a"}
		g := newGuard(path, f.clock(), slog.New(slog.DiscardHandler))
		g.assess()
		if g.doubt() != 0 {
			t.Errorf("mark %q: doubt %v, want none, as at the first start", content, g.doubt())
		}
	}
}
