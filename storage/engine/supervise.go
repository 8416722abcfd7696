package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"
)

// supervise starts the child, reports the first start, and from then on starts
// it again whenever it is gone, until stop.
//
// Its goroutine keeps its thread: the kernel's parent-death signal is sent when
// the *thread* that forked ends.
func (e *Engine) supervise(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(e.done)

	c, err := e.startFirst()
	if err != nil {
		started <- err
		return
	}
	e.setLive(c)
	started <- nil
	backoff := backoffFirst
	for {
		e.setLive(c)
		e.log.Info("engine started", "pid", c.pid(), "address", c.address, "took", c.ready.Sub(c.begun).Round(time.Millisecond))
		clean := e.watch(c)
		e.setLive(nil)
		if clean {
			e.log.Info("engine stopped")
			return
		}
		if time.Since(c.ready) > backoffReset {
			backoff = backoffFirst
		}
		if c, backoff = e.startAgain(backoff); c == nil {
			return
		}
	}
}

// startFirst starts the child; while a predecessor is still leaving the data
// folder it tries again.
func (e *Engine) startFirst() (*child, error) {
	deadline := time.Now().Add(e.tuning.lockPatience)
	for {
		c, err := e.start()
		if err == nil || !errors.Is(err, ErrLocked) || time.Now().After(deadline) {
			return c, err
		}
		if !e.sleep(backoffFirst) {
			return nil, ErrClosed
		}
	}
}

// startAgain tries until the child runs, and returns the next back-off; nil
// when asked to stop.
func (e *Engine) startAgain(backoff time.Duration) (*child, time.Duration) {
	for {
		if !e.sleep(backoff) {
			return nil, 0
		}
		backoff = min(2*backoff, backoffLast)
		e.restarts.Add(1)
		c, err := e.start()
		if err == nil {
			return c, backoff
		}
		select {
		case <-e.stop:
			return nil, 0
		default:
		}
		e.log.Error("cannot start the engine again", "error", err, "next_try_in", backoff)
	}
}

// sleep waits for d and reports whether it was not asked to stop.
func (e *Engine) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-e.stop:
		return false
	}
}

// watch returns when the child is gone. It reports whether that was asked for.
func (e *Engine) watch(c *child) (clean bool) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	probe := time.NewTimer(e.tuning.probeEvery)
	defer probe.Stop()
	answer := make(chan error, 1)
	failures := 0
	for {
		select {
		case <-c.gone:
			e.log.Error("engine died", "pid", c.pid(), "exit", c.describeExit(), "after", time.Since(c.ready).Round(time.Millisecond))
			return false
		case <-e.stop:
			e.bringDown(c)
			return true
		case <-second.C:
			if e.guard.tick() {
				e.stopTTL(c)
			}
		case <-probe.C:
			go func() { answer <- e.probe(c) }()
		case err := <-answer:
			if err == nil {
				failures = 0
				probe.Reset(e.tuning.probeEvery)
				continue
			}
			failures++
			e.log.Warn("engine does not answer", "pid", c.pid(), "times", failures, "error", err)
			if failures == probeFailures {
				e.log.Error("engine hangs; replacing it", "pid", c.pid())
				c.kill()
				<-c.gone
				return false
			}
			probe.Reset(e.tuning.probeEvery / 5)
		}
	}
}

// bringDown ends the child's life-line and waits; it kills the child when told to.
func (e *Engine) bringDown(c *child) {
	c.endLife()
	select {
	case <-c.gone:
		// A refused native login as "default" makes the engine abort in the middle
		// of its shutdown, after its data is closed: any end is a clean one here.
	case <-e.kill:
		e.log.Warn("engine did not stop in time; killing it", "pid", c.pid())
		c.kill()
		<-c.gone
	}
}

// probe asks the child one question over a connection of its own. Any answer will
// do, a refusal too: an engine that is out of memory or of query slots lives.
func (e *Engine) probe(c *child) error {
	err := c.query(e.writer, e.tuning.probeTimeout, "SELECT 1")
	if isAnswer(err) {
		return nil
	}
	return err
}

// stopTTL keeps the engine from deleting by a clock that has just jumped.
func (e *Engine) stopTTL(c *child) {
	if err := c.query(e.writer, e.tuning.probeTimeout, "SYSTEM STOP TTL MERGES"); err != nil {
		e.log.Error("cannot stop deletion by age after a clock jump; replacing the engine", "error", err)
		c.kill() // it starts again without TTL merges
		return
	}
	e.log.Warn("deletion by age is stopped until the engine's next start")
}

// start starts one child and returns when it answers.
func (e *Engine) start() (*child, error) {
	e.guard.assess()
	if err := e.writeConfig(); err != nil {
		return nil, err
	}
	c, err := startChild(e.options)
	if err != nil {
		return nil, err
	}
	if err := e.awaitReady(c); err != nil {
		c.kill()
		<-c.gone
		return nil, err
	}
	return c, nil
}

// awaitReady returns when the child has told its port and answered a query. Loading
// many tables may take long, so only the child's end and ours bound it.
func (e *Engine) awaitReady(c *child) error {
	slow := time.NewTicker(10 * time.Second)
	defer slow.Stop()
	for port := c.port; ; {
		select {
		case p, ok := <-port:
			if !ok {
				port = nil // it ends: wait for that
				continue
			}
			c.address = fmt.Sprintf("127.0.0.1:%d", p)
			if err := c.query(e.writer, startTimeout, "SELECT 1"); err != nil {
				return fmt.Errorf("the engine listens but does not answer: %w", err)
			}
			c.ready = time.Now()
			return nil
		case <-c.gone:
			return c.startError()
		case <-e.stop:
			return ErrClosed
		case <-slow.C:
			e.log.Info("engine is still starting", slog.Duration("for", time.Since(c.begun).Round(time.Second)))
		}
	}
}
