package collector

import (
	"sync/atomic"
	"time"
)

// hints are the moments at which an operator was last told of something.
type hints struct {
	accept, full, peerFull, forwarded, rate, panicked atomic.Int64 // Unix seconds
}

// hint logs a warning, the same one at most once a minute: whoever can provoke
// it cannot fill a disk with it.
func (c *Collector) hint(last *atomic.Int64, msg string, args ...any) {
	if due(last) {
		c.log.Warn(msg, args...)
	}
}

func due(last *atomic.Int64) bool {
	now, before := time.Now().Unix(), last.Load()
	return now-before >= 60 && last.CompareAndSwap(before, now)
}

// silence is the HTTP server's logger. Every message of that server about a
// connection names the peer's address, and some repeat what was sent: nothing
// of it may reach a log. What happened is counted where it happens.
type silence struct{}

// Printf does nothing.
func (silence) Printf(string, ...any) {}
