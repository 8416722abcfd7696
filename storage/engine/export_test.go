package engine

import (
	"context"
	"time"
)

// Tuned opens an engine whose health is checked often, under a clock of the test's.
func Tuned(ctx context.Context, o Options, c Clock) (*Engine, error) {
	t := tuning{probeEvery: 50 * time.Millisecond, probeTimeout: time.Second, lockPatience: 500 * time.Millisecond,
		startLook: 200 * time.Millisecond, longestPause: 100 * time.Millisecond, clock: systemClock()}
	if c.Now != nil {
		t.clock = clock{now: c.Now, uptime: c.Uptime, synced: c.Synced}
	}
	return open(ctx, o, t)
}

// Clock is what the guard knows of time.
type Clock struct {
	Now    func() time.Time
	Uptime func() (string, time.Duration)
	Synced func() bool
}
