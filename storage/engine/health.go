package engine

import "time"

// An engine that does not answer is either hung, and must be replaced, or merely
// slow, and must not be: to kill it costs what it was doing, a reconciliation of
// the batches under way, and a start on a machine that is overloaded already. What
// tells the two apart is whether it does anything. So an engine that fails
// probeFailures checks in a row (10 to 20 s after it last answered) is replaced if
// it used less than a tenth of a core since the first of them and none of its
// threads waits for a disk; stopped, deadlocked and waiting for a network file
// system that is gone for good look like that or like a disk that does not answer.
// One that is busy (a heavy merge on a weak machine, swapping, a loaded disk) gets
// busyPatience, after which it is of no use to anybody either.
const (
	probeFailures = 3 // in a row, before the child may count as hung
	busyShare     = 10
	busyPatience  = time.Minute
)

// effort is what a process has done so far.
type effort struct {
	cpu   time.Duration // of all its threads
	disk  bool          // one of them waits for a disk at this moment
	known bool          // false if it cannot be seen
}

// health judges a child by its answers.
type health struct {
	failures int
	since    time.Time // of the first failure in a row
	before   effort    // at that moment
	disk     bool      // a thread waited for a disk at one of the failures
}

type verdict int

const (
	well verdict = iota
	silent
	busy
	hung
)

// failed notes a failed check and judges.
func (h *health) failed(now time.Time, e effort) verdict {
	if h.failures == 0 {
		h.since, h.before, h.disk = now, e, false
	}
	h.failures++
	h.disk = h.disk || e.disk
	lasts := now.Sub(h.since)
	switch {
	case h.failures < probeFailures:
		return silent
	case lasts < busyPatience && e.known && h.before.known && (h.disk || busyShare*(e.cpu-h.before.cpu) >= lasts):
		return busy
	}
	return hung
}

// answered notes that the child is well.
func (h *health) answered() { *h = health{} }

// progress tells whether a child that is starting does anything: it may take long
// to load many tables.
type progress struct {
	since  time.Time // it last did something
	before effort
}

// idle returns for how long the child has done nothing, by looks some seconds
// apart.
func (p *progress) idle(now time.Time, e effort) time.Duration {
	if p.since.IsZero() || e.disk || e.cpu-p.before.cpu >= 10*time.Millisecond {
		p.since, p.before = now, e
	}
	return now.Sub(p.since)
}
