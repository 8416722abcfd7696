package engine

import (
	"encoding/json"
	"log/slog"
	"os"
	"sync"
	"time"
)

// A clock that jumps forward makes everything look expired, and the engine then
// deletes by TTL, within seconds and for good. So the newest wall-clock time seen
// is kept in a file, and a clock that is more than a day ahead of what can be
// explained is doubted:
//
//   - within one boot of the machine, the time that has really passed is known from
//     the kernel's own counter, which nobody can set;
//   - across boots it is not (the machine may have been off for days), so there the
//     kernel is asked whether a time service vouches for the clock.
//
// In doubt the engine runs without TTL merges and ClockDoubt is not 0, so that the
// caller deletes nothing by age either; inserting, reading and everything else
// goes on, and the reading user's row filter still hides what the clock calls old.
// The doubt ends when a time service vouches for the clock, or after the clock
// has run steadily for a day, which gives an operator that day to notice. TTL
// merges come back with the engine's next start; until then expired rows are the
// caller's janitor's to drop.
const (
	jumpAllowed  = 25 * time.Hour // a day, and an hour of daylight saving for clocks that keep local time
	doubtLasts   = 25 * time.Hour
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

// guard watches the clock. assess and tick are called by one goroutine.
type guard struct {
	path  string
	clock clock
	log   *slog.Logger

	mu      sync.Mutex
	ahead   time.Duration // 0: believable
	doubted time.Duration // uptime at which the doubt began
	last    mark          // of the latest look
	saved   mark
	known   bool          // saved holds something
	tried   time.Duration // uptime at which save was last tried
}

func newGuard(path string, c clock, log *slog.Logger) *guard {
	g := &guard{path: path, clock: c, log: log}
	if b, err := os.ReadFile(path); err == nil && json.Unmarshal(b, &g.saved) == nil {
		g.known = !g.saved.Wall.IsZero() // an unreadable mark is no mark: as at the first start
	}
	return g
}

func (g *guard) doubt() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ahead
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

// tick looks at the clock while the engine runs. It reports whether a doubt has just
// begun.
func (g *guard) tick() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.look()
	before := g.ahead
	switch {
	case before == 0:
		g.suspect(now, g.last)
	case g.clock.synced(), now.Uptime-g.doubted >= doubtLasts:
		g.ahead = 0
		g.log.Info("the clock is believed again; deletion by age goes on")
	}
	g.last = now
	if now.Uptime-g.tried >= markInterval {
		g.save(now)
	}
	return before == 0 && g.ahead > 0
}

// suspect begins a doubt if now is too far ahead of an earlier look.
func (g *guard) suspect(now, earlier mark) {
	ahead := now.Wall.Sub(earlier.Wall)
	if now.Boot == earlier.Boot {
		ahead -= now.Uptime - earlier.Uptime
	}
	if ahead <= jumpAllowed || g.clock.synced() {
		return
	}
	if g.known && now.Wall.Sub(g.saved.Wall) <= jumpAllowed {
		return // a clock that was set back has come home
	}
	g.ahead, g.doubted = ahead, now.Uptime
	g.log.Error("the clock is far ahead of the last time seen and no time service vouches for it: "+
		"nothing is deleted by age until one does, or for a day; set the clock, or delete the file and start again if the time is right",
		"ahead", ahead.Round(time.Minute), "last_seen", earlier.Wall, "file", g.path)
}

// save keeps now as the mark unless it is doubted or older than the mark.
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
