package engine

import "time"

// pacer decides how long an engine that is gone waits for its next start. A
// single crash is answered at once: events wait in the spool meanwhile, but the
// dashboard does not answer. What fails again and again is slowed down, or each
// start, which takes a quarter of a second of two cores and begins with loading
// every table, would be all that the machine does: the fourth within a minute
// waits 100 ms, each further one twice as long, none longer than 5 s.
type pacer struct {
	recent [16]time.Time // the latest ends and failed starts, as a ring
	at     int
}

const (
	freeRestarts = 3           // within paceWindow, that do not wait
	paceWindow   = time.Minute // after which an end is forgotten
	backoffFirst = 100 * time.Millisecond
	backoffLast  = 5 * time.Second
)

// ended notes an end at now and returns how long to wait for the next start.
func (p *pacer) ended(now time.Time) time.Duration {
	p.recent[p.at] = now
	p.at = (p.at + 1) % len(p.recent)
	n := 0
	for _, t := range p.recent {
		if !t.IsZero() && now.Sub(t) < paceWindow {
			n++
		}
	}
	if n <= freeRestarts {
		return 0
	}
	return min(backoffFirst<<(n-freeRestarts-1), backoffLast)
}
