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
			if g.observe() != c.doubt {
				t.Errorf("doubt %v, want %v", g.observe(), c.doubt)
			}
			again := newGuard(path, f.clock(), slog.New(slog.DiscardHandler))
			again.assess()
			if again.observe() != c.doubt {
				t.Errorf("doubt %v after another start, want %v still", again.observe(), c.doubt)
			}
		})
	}
}

// quiet is a guard that has assessed the clock.
func quiet(path string, f *fakeClock) *guard {
	g := newGuard(path, f.clock(), slog.New(slog.DiscardHandler))
	g.assess()
	return g
}

func noon() *fakeClock {
	return &fakeClock{wall: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), boot: "a", uptime: time.Hour}
}

const year = 365 * day

func TestGuardWhileRunning(t *testing.T) {
	for name, c := range map[string]struct {
		steps []func(*fakeClock)
		doubt time.Duration
	}{
		"time passes":                       {[]func(*fakeClock){passes(time.Second), passes(time.Hour), passes(90 * day)}, 0},
		"corrected by seconds":              {[]func(*fakeClock){sets(3 * time.Second), passes(time.Minute), sets(-5 * time.Second)}, 0},
		"corrected by an hour":              {[]func(*fakeClock){sets(time.Hour), sets(-time.Hour)}, 0},
		"suspended for a week":              {[]func(*fakeClock){passes(7 * day)}, 0},
		"ten years back":                    {[]func(*fakeClock){sets(-10 * year), passes(day)}, 0},
		"ten years back and home":           {[]func(*fakeClock){sets(-10 * year), passes(3 * day), sets(10 * year), passes(time.Second)}, 0},
		"ten years ahead":                   {[]func(*fakeClock){sets(10 * year)}, 10 * year},
		"ten years ahead and home":          {[]func(*fakeClock){sets(10 * year), passes(time.Hour), sets(-10 * year)}, 0},
		"ahead twice":                       {[]func(*fakeClock){sets(200 * day), passes(time.Hour), sets(200 * day)}, 200 * day},
		"ten years ahead, for 30 days":      {[]func(*fakeClock){sets(10 * year), passes(30 * day), passes(time.Second)}, 10 * year},
		"three days ahead":                  {[]func(*fakeClock){sets(3 * day), passes(24 * time.Hour)}, 3 * day},
		"three days ahead, for a day":       {[]func(*fakeClock){sets(3 * day), passes(26 * time.Hour)}, 0},
		"ten years ahead, then vouched for": {[]func(*fakeClock){sets(10 * year), vouched}, 0},
		"vouched for":                       {[]func(*fakeClock){vouched, sets(10 * year)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f, path := noon(), filepath.Join(t.TempDir(), markFile)
			g := quiet(path, f)
			for i, step := range c.steps {
				step(f)
				if got := g.observe(); i == len(c.steps)-1 && got != c.doubt {
					t.Errorf("doubt %v, want %v", got, c.doubt)
				}
			}
			if got := quiet(path, f).observe(); got > 0 != (c.doubt > 0) {
				t.Errorf("doubt %v after another start, %v before", got, c.doubt)
			}
		})
	}
}

func passes(d time.Duration) func(*fakeClock) { return func(f *fakeClock) { f.pass(d) } }
func sets(d time.Duration) func(*fakeClock)   { return func(f *fakeClock) { f.wall = f.wall.Add(d) } }
func vouched(f *fakeClock)                    { f.synced = true }

func TestConfirmedClock(t *testing.T) {
	f, path := noon(), filepath.Join(t.TempDir(), markFile)
	g := quiet(path, f)
	if ahead, now := g.confirm(); ahead != 0 || !now.Equal(f.wall) {
		t.Errorf("confirming a clock that nobody doubts: %v ahead at %v", ahead, now)
	}
	f.wall = f.wall.Add(10 * year)
	if g.observe() == 0 {
		t.Fatal("no doubt")
	}
	if ahead, now := g.confirm(); ahead != 10*year || !now.Equal(f.wall) {
		t.Errorf("confirmed %v ahead at %v", ahead, now)
	}
	f.pass(time.Second)
	if got := g.observe(); got != 0 {
		t.Errorf("doubt %v after the confirmation", got)
	}
	if got := quiet(path, f).observe(); got != 0 {
		t.Errorf("doubt %v after the confirmation and another start", got)
	}
}

// TestGuardWithoutItsMark: the files of the start before stand in for a mark that
// was lost or that could never be written.
func TestGuardWithoutItsMark(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, markFile)
	if err := os.Mkdir(path, 0o700); err != nil { // can be neither read nor replaced
		t.Fatal(err)
	}
	f := noon()
	if got := quiet(path, f).observe(); got != 0 {
		t.Errorf("doubt %v at the first start", got)
	}
	g := quiet(path, f)
	for range 3 {
		f.pass(markInterval) // it fails to keep the time, and goes on
		if got := g.observe(); got != 0 {
			t.Errorf("doubt %v without a reason", got)
		}
	}
	written := filepath.Join(dir, usersFile)
	if err := os.WriteFile(written, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(written, f.wall, f.wall); err != nil {
		t.Fatal(err)
	}
	f.wall, f.boot, f.uptime = f.wall.Add(10*year), "b", 0
	if got := quiet(path, f).observe(); got != 10*year {
		t.Errorf("doubt %v after a jump between two starts, want ten years", got)
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
		if g.observe() != 0 {
			t.Errorf("mark %q: doubt %v, want none, as at the first start", content, g.observe())
		}
	}
}
