package engine

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A clock that jumps forward makes everything look old, and what is deleted for
// its age does not come back. So nothing here deletes by a clock alone:
//
//   - the engine itself never deletes by age (TTL merges are off for good, see
//     boot.sql.tmpl and config.xml.tmpl): between a jump and any reaction to it
//     there would be a moment in which it did. The caller's janitor deletes, and
//     asks ClockDoubt each time;
//   - the newest wall-clock time seen is kept in a file, and a clock that is more
//     than a day ahead of what can be explained is doubted. Within one boot of the
//     machine the time that has really passed is known from the kernel's own
//     counter, which nobody can set; across boots it is not (the machine may have
//     been off for days), so there the kernel is asked whether a time service
//     vouches for the clock. A correction of seconds or hours is no jump.
//
// In doubt nothing is deleted by age; inserting, reading and everything else goes
// on, and the reading user's row filter still hides what the clock calls old. A
// doubt ends when a time service vouches for the clock, when the clock comes
// home, or when somebody says that it is right (ConfirmClock). Up to a week, as a
// machine is switched off over holidays, it also ends after the clock has run
// steadily for a day: what is lost by a wrong one then is at most the week that
// would have gone next. Beyond that, nothing is deleted until somebody has looked.
const (
	jumpAllowed  = 25 * time.Hour // a day, and an hour of daylight saving for clocks that keep local time
	doubtLasts   = 25 * time.Hour
	selfBelieved = 7 * 24 * time.Hour // a longer jump is not believed by itself
	markInterval = 10 * time.Minute
)

// clock is what the guard knows of time.
type clock struct {
	now    func() time.Time                          // the wall's
	uptime func() (boot string, since time.Duration) // this boot's name and age, suspension included
	synced func() bool                               // whether a time service vouches for the wall clock
}

// mark is the newest believed time, with the counter's reading at that moment.
type mark struct {
	Wall   time.Time     `json:"wall"`
	Boot   string        `json:"boot"`
	Uptime time.Duration `json:"uptime_ns"`
}

// guard watches the clock. It may be used from any goroutine.
type guard struct {
	path  string
	clock clock
	log   *slog.Logger

	mu      sync.Mutex
	ahead   time.Duration // 0: believable
	doubted time.Duration // uptime at which the doubt began
	base    mark          // of the last look before the doubt
	last    mark          // of the latest look
	saved   mark
	known   bool          // saved holds something
	tried   time.Duration // uptime at which save was last tried
}

// newGuard reads the mark. One that is lost or unreadable, as after a power cut,
// is made up for by the times of the files beside it, which every start of the
// engine writes anew.
func newGuard(path string, c clock, log *slog.Logger) *guard {
	g := &guard{path: path, clock: c, log: log}
	if b, err := os.ReadFile(path); err == nil && json.Unmarshal(b, &g.saved) == nil && !g.saved.Wall.IsZero() {
		g.known = true
		return g
	}
	g.saved = mark{}
	for _, name := range []string{configFile, usersFile, bootFile} {
		if info, err := os.Stat(filepath.Join(filepath.Dir(path), name)); err == nil && info.ModTime().After(g.saved.Wall) {
			g.saved.Wall, g.known = info.ModTime().UTC(), true
		}
	}
	return g
}

func (g *guard) look() mark {
	boot, uptime := g.clock.uptime()
	return mark{g.clock.now().Round(0).UTC(), boot, uptime}
}

// assess compares the clock with the mark, before a start of the engine.
func (g *guard) assess() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.look()
	if g.known && g.ahead == 0 {
		g.suspect(now, g.saved)
	}
	g.last = now
	g.save(now)
}

// observe looks at the clock and returns how far ahead of every explanation it
// is; 0 is believable.
func (g *guard) observe() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.look()
	switch {
	case g.last.Wall.IsZero(): // not assessed yet
		return g.ahead
	case g.ahead == 0:
		g.suspect(now, g.last)
	case g.clock.synced():
		g.believe("a time service vouches for it")
	case g.jump(now, g.base) <= jumpAllowed:
		g.believe("it is back where it should be")
	case g.ahead <= selfBelieved && now.Uptime-g.doubted >= doubtLasts:
		g.believe("it has run steadily for a day")
	}
	g.last = now
	if now.Uptime-g.tried >= markInterval {
		g.save(now)
	}
	return g.ahead
}

// confirm believes the clock because somebody said so, and returns how far ahead
// it had seemed and the time that is believed from now on.
func (g *guard) confirm() (ahead time.Duration, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := g.look()
	ahead = g.ahead
	if ahead > 0 {
		g.believe("it was confirmed")
	}
	g.last = at
	g.save(at)
	return ahead, at.Wall
}

// believe ends a doubt. g.mu is held.
func (g *guard) believe(why string) {
	g.ahead = 0
	g.log.Info("the clock is believed again; deletion by age goes on", "because", why)
}

// believed returns the newest believed time while there is a doubt, else zero.
func (g *guard) believed() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ahead == 0 {
		return time.Time{}
	}
	return g.saved.Wall
}

// jump is how far now is ahead of what an earlier look lets expect.
func (g *guard) jump(now, earlier mark) time.Duration {
	ahead := now.Wall.Sub(earlier.Wall)
	if now.Boot == earlier.Boot {
		ahead -= now.Uptime - earlier.Uptime
	}
	return ahead
}

// suspect begins a doubt if now is too far ahead of an earlier look. g.mu is held.
func (g *guard) suspect(now, earlier mark) {
	ahead := g.jump(now, earlier)
	if ahead <= jumpAllowed || g.clock.synced() {
		return
	}
	if g.known && g.jump(now, g.saved) <= jumpAllowed {
		return // a clock that was set back has come home
	}
	g.ahead, g.doubted, g.base = ahead, now.Uptime, earlier
	until := "until it is"
	if ahead <= selfBelieved {
		until = "until it is, or for a day"
	}
	g.log.Error("the clock is far ahead of the last time seen and no time service vouches for it: nothing is deleted by age "+until+
		"; set the clock right, or, if it is right, say so: halfmask clock confirm",
		"ahead", ahead.Round(time.Minute), "now", now.Wall, "last_seen", earlier.Wall)
}

// save keeps now as the mark unless it is doubted or older than the mark. Where
// it cannot be kept everything goes on, only the next start knows less.
// g.mu is held.
func (g *guard) save(now mark) {
	g.tried = now.Uptime
	if g.ahead > 0 || g.known && now.Wall.Before(g.saved.Wall) {
		return
	}
	b, err := json.Marshal(now)
	if err == nil {
		err = replaceFile(g.path, append(b, '\n'))
	}
	if err != nil {
		g.log.Warn("cannot keep the time for the next start", "error", err)
		return
	}
	g.saved, g.known = now, true
}
