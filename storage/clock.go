package storage

import (
	"sync"
	"time"
)

const (
	// clockSlack is how far the clock may be ahead of the latest time that was
	// believed before it needs an explanation: a day and the change of an hour.
	clockSlack = 25 * time.Hour
	// clockProof is how long a suspect clock must tick steadily to be believed.
	clockProof = 24 * time.Hour
	// clockDrift is how much wall and running time may differ meanwhile.
	clockDrift = time.Hour
)

// clockGuard decides whether the wall clock may be believed when data is about
// to be destroyed because of it.
//
// A clock that jumps forward makes everything look old, and dropped partitions
// do not come back. So the latest believed time is kept, in the database and
// here, and a clock more than 25 hours ahead of it needs an explanation: that
// this process has been running for as long. Without one nothing is dropped
// until the clock has ticked steadily for 24 hours of this process, or
// somebody confirms it (Store.ConfirmClock). New events are no evidence: they
// carry the same clock.
//
// A server that was switched off for weeks looks the same as a jump. What it
// loses by waiting is little: rows that became too old are not shown any more,
// because every question is bounded in time as well; only their bytes stay for
// another day. What it would lose by not waiting, if the clock were wrong, is
// everything.
type clockGuard struct {
	mu sync.Mutex

	mark        time.Time     // the latest wall time that was believed; zero if none
	markRunning time.Duration // the running time at that moment
	marked      bool          // by this process: markRunning counts

	suspect        bool
	suspectWall    time.Time
	suspectRunning time.Duration
}

// remember takes a mark that was kept elsewhere.
func (g *clockGuard) remember(mark time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if mark.After(g.mark) {
		g.mark, g.marked = mark, false
	}
}

// believe decides on wall, read when the process had run for running.
func (g *clockGuard) believe(wall time.Time, running time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	explained := clockSlack
	if g.marked {
		explained += running - g.markRunning
	}
	switch {
	case g.mark.IsZero(), !wall.After(g.mark.Add(explained)):
	case !g.suspect, (wall.Sub(g.suspectWall) - (running - g.suspectRunning)).Abs() > clockDrift:
		g.suspect, g.suspectWall, g.suspectRunning = true, wall, running
		return false
	case running-g.suspectRunning < clockProof:
		return false
	}
	g.confirm(wall, running)
	return true
}

// confirm believes wall. The caller holds mu.
func (g *clockGuard) confirm(wall time.Time, running time.Duration) {
	g.suspect = false
	if wall.After(g.mark) {
		g.mark = wall
	}
	g.marked, g.markRunning = true, running
}
