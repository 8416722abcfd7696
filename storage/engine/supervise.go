package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"
)

// supervise starts the child, reports the first start, and from then on starts
// it again whenever it is gone, until stop. A first start that fails is the end
// if once is set.
//
// Its goroutine keeps its thread: the kernel's parent-death signal is sent when
// the *thread* that forked ends.
func (e *Engine) supervise(once bool) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(e.done)

	c, err := e.startFirst()
	if e.first = err; err == nil {
		e.setLive(c)
	}
	close(e.tried)
	if err != nil && once {
		return
	}
	for {
		if c != nil {
			e.setLive(c)
			e.log.Info("engine started", "pid", c.pid(), "address", c.address, "took", c.ready.Sub(c.begun).Round(time.Millisecond))
			clean := e.watch(c)
			e.setLive(nil)
			if clean {
				e.log.Info("engine stopped")
				return
			}
		}
		if c = e.startAgain(err); c == nil {
			return
		}
		err = nil
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
		if !e.sleep(lockPause) {
			return nil, ErrClosed
		}
	}
}

// startAgain tries until the child runs; nil when asked to stop. err is why the
// start before failed, if it did.
func (e *Engine) startAgain(err error) *child {
	for {
		wait := min(e.pacer.ended(time.Now()), e.tuning.longestPause)
		select {
		case <-e.stop:
			return nil
		default:
		}
		if err != nil {
			e.log.Error("cannot start the engine; it is tried again", "error", err, "in", wait)
		}
		if !e.sleep(wait) {
			return nil
		}
		e.restarts.Add(1)
		var c *child
		if c, err = e.start(); err == nil {
			return c
		}
	}
}

// sleep waits for d and reports whether it was not asked to stop.
func (e *Engine) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-e.stop:
		return false
	case <-timer.C:
		return true
	}
}

// watch returns when the child is gone. It reports whether that was asked for.
func (e *Engine) watch(c *child) (clean bool) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	probe := time.NewTimer(e.tuning.probeEvery)
	defer probe.Stop()
	answer := make(chan error, 1)
	var health health
	doubting := false
	for {
		select {
		case <-c.gone:
			e.log.Error("engine died", "pid", c.pid(), "exit", c.describeExit(), "after", time.Since(c.ready).Round(time.Millisecond))
			return false
		case <-e.stop:
			e.bringDown(c)
			return true
		case <-second.C:
			doubt := e.guard.observe() > 0
			if doubt && !doubting {
				e.stopTTL(c)
			}
			doubting = doubt
			if e.lookForRoom() {
				e.log.Warn("the disk has room again; replacing the engine, which may have acknowledged what it could not write", "pid", c.pid())
				c.kill()
				<-c.gone
				return false
			}
		case <-probe.C:
			go func() { answer <- e.probe(c) }()
		case err := <-answer:
			if err == nil {
				health.answered()
				probe.Reset(e.tuning.probeEvery)
				continue
			}
			if e.judge(c, &health, err) == hung {
				c.kill()
				<-c.gone
				return false
			}
			probe.Reset(e.tuning.probeEvery / 5)
		}
	}
}

// judge says what to think of a child that failed a check.
func (e *Engine) judge(c *child, h *health, err error) verdict {
	v := h.failed(time.Now(), effortOf(c.pid()))
	log := e.log.With("pid", c.pid(), "times", h.failures, "for", time.Since(h.since).Round(time.Second))
	switch v {
	case busy:
		log.Warn("engine does not answer, but it is at work; waiting", "error", err)
	case hung:
		log.Error("engine hangs; replacing it", "error", err)
	default:
		log.Warn("engine does not answer", "error", err)
	}
	return v
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

// stopTTL tells tables that were made since the engine's start, too, to delete
// nothing by age; the others were told by the boot script.
func (e *Engine) stopTTL(c *child) {
	if err := c.query(e.writer, e.tuning.probeTimeout, "SYSTEM STOP TTL MERGES"); err != nil {
		e.log.Error("cannot make sure after a clock jump that nothing is deleted by age; replacing the engine", "error", err)
		c.kill()
		return
	}
	e.log.Info("deletion by age is stopped")
}

// start starts one child and returns when it answers.
func (e *Engine) start() (*child, error) {
	e.short.Store(false) // whatever the run before could not write is asked about again
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
// many tables may take long, so it is not bounded as long as the child does
// something.
func (e *Engine) awaitReady(c *child) error {
	look := time.NewTicker(e.tuning.startLook)
	defer look.Stop()
	var progress progress
	progress.idle(time.Now(), effortOf(c.pid()))
	answer := make(chan error, 1)
	for port, said := c.port, 0; ; {
		select {
		case p, ok := <-port:
			port = nil
			if !ok {
				continue // it ends: wait for that
			}
			c.address = fmt.Sprintf("127.0.0.1:%d", p)
			go func() { answer <- c.query(e.writer, startTimeout, "SELECT 1") }()
		case err := <-answer:
			if err != nil {
				return fmt.Errorf("the engine listens but does not answer: %w", err)
			}
			c.ready = time.Now()
			return nil
		case <-c.gone:
			return c.startError()
		case <-e.stop:
			return ErrClosed
		case <-look.C:
			if idle := progress.idle(time.Now(), effortOf(c.pid())); idle >= startIdle*e.tuning.startLook {
				return fmt.Errorf("the engine has done nothing for %v of its start; it hangs", idle.Round(time.Second))
			}
			if said++; said%10 == 0 {
				e.log.Info("engine is still starting", slog.Duration("for", time.Since(c.begun).Round(time.Second)))
			}
		}
	}
}
