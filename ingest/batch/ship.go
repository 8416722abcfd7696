package batch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/halfmask/halfmask/event"
)

// failure is why an attempt to store a batch did not succeed, with the reason
// under which it is counted.
type failure struct {
	reason string
	err    error
}

func (f *failure) Error() string { return fmt.Sprintf("cannot %s: %v", f.reason, f.err) }
func (f *failure) Unwrap() error { return f.err }

var errSpent = errors.New("storage recorded an insert that failed as done; it is repeated under another token")

var errAtWork = errors.New("storage is still at work on an earlier insert of it")

var errStillRunning = errors.New("an insert sent to an earlier run of the server has not returned yet")

// ship stores a batch, however long that takes. It returns an error only when
// ctx has ended; the job can then be shipped again.
func (s *Shipper) ship(ctx context.Context, j *job) error {
	if j.count == 0 {
		return s.try(ctx, j, func() error { return s.leave(j) })
	}
	return s.try(ctx, j, func() error { return s.attempt(ctx, j) })
}

// try repeats f until it succeeds or ctx has ended.
func (s *Shipper) try(ctx context.Context, j *job, f func() error) error {
	for {
		err := f()
		if err == nil {
			if j.tries > 0 {
				s.log.Info("a batch is stored after failed attempts", "batch", j.segment.Seq, "failed", j.tries)
			}
			j.tries = 0
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		j.tries++
		wait := backoff(j.tries)
		s.failed(err, j.tries, "a batch cannot be stored yet", "batch", j.segment.Seq, "retry_in", wait.Round(time.Millisecond))
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// failed counts a failure, and logs it less and less often.
func (s *Shipper) failed(err error, tries int, message string, args ...any) {
	var f *failure
	if errors.As(err, &f) {
		s.metrics.failures.WithLabelValues(f.reason).Inc()
	}
	if tries&(tries-1) == 0 || tries%64 == 0 {
		s.log.Warn(message, append(args, "attempt", tries, "error", err)...)
	}
}

// backoff returns how long to wait after so many failures, with jitter so that
// several collectors do not come back at once.
func backoff(tries int) time.Duration {
	d := backoffLast
	if n := tries - 1; n < 6 {
		d = min(backoffFirst<<n, backoffLast)
	}
	return d/2 + rand.N(d/2+1)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// attempt brings a job one step further: asks, inserts, waits. nil means that
// it is acknowledged or quarantined.
func (s *Shipper) attempt(ctx context.Context, j *job) error {
	if j.inflight == nil {
		if done, err := s.sift(ctx, j); done || err != nil {
			return err
		}
		done, err := s.begin(ctx, j)
		if done || err != nil {
			return err
		}
		// While storage works there is time to read what comes next, but only
		// what is sealed already: waiting would make the spool seal early.
		s.readAhead()
	}
	a := j.inflight
	select {
	case <-ctx.Done():
		return ctx.Err() // Drain may still wait for it
	case <-time.After(s.opts.InsertTimeout - time.Since(a.started)):
		j.inflight, j.verify = nil, true
		j.given = append(j.given, a)
		return &failure{failTimeout, fmt.Errorf("no answer within %v", s.opts.InsertTimeout)}
	case <-a.done:
	}
	j.inflight = nil
	if a.err == nil {
		s.metrics.inserted(a, j.count)
		if !a.repeats {
			s.acknowledge(j, a.epoch)
			return nil
		}
		// It may have been taken for what an earlier insert had brought.
		j.verify, j.answered = true, a.epoch
		return s.attempt(ctx, j)
	}
	// Some days may be stored: only asking tells.
	j.verify = true
	if !errors.Is(a.err, ErrBadData) {
		return &failure{failInsert, a.err}
	}
	if j.bad++; j.bad < badTries {
		j.sift = j.bad >= siftTries
		return &failure{failBadData, a.err}
	}
	return s.quarantine(j, a.err)
}

// begin starts an insert of what is missing. It reports whether nothing is.
func (s *Shipper) begin(ctx context.Context, j *job) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	epoch, err := s.opts.Sink.Epoch(ctx)
	if err != nil {
		j.verify = true
		return false, &failure{failEpoch, err}
	}
	s.doubt.meet(epoch)
	if j.spentIn != epoch {
		// A later process begins with the first token; it must find that used
		// whenever an insert under another may still be on its way.
		j.spentIn, j.spent = epoch, 0
	}
	if j.otherEpochRunning(epoch) {
		// It carries another token, so nothing would keep it and a new insert
		// apart. Its connection died with the server: it will return.
		return false, &failure{failInsert, errStillRunning}
	}
	var only map[event.Day]bool
	if j.verify {
		// Only what is asked after nobody is at work on the batch any more tells
		// that rows will never come.
		settled, err := s.settled(ctx, j, epoch)
		if err != nil {
			return false, err
		}
		if err := s.check(ctx, j); err != nil {
			return false, err
		}
		stored, err := s.opts.Sink.Stored(ctx, s.opts.Source.ID(), j.segment.Seq)
		if err != nil {
			return false, &failure{failStored, err}
		}
		only = s.missing(j, stored)
		if len(only) == 0 {
			s.acknowledge(j, epoch)
			return true, nil
		}
		if j.answered == epoch {
			if !settled {
				return false, &failure{failRunning, errAtWork}
			}
			return s.spend(j, epoch, only)
		}
	}
	j.inflight = s.insert(ctx, j, epoch, only)
	return false, nil
}

// settled reports whether the server is at work on no insert of the batch. It
// asks only if this run of it said yes to a repetition: the token that it then
// knew keeps every other insert under it harmless until it is spent.
func (s *Shipper) settled(ctx context.Context, j *job, epoch string) (bool, error) {
	if j.answered != epoch {
		return true, nil
	}
	running, err := s.opts.Sink.Running(ctx, s.opts.Source.ID(), j.segment.Seq)
	if err != nil {
		return false, &failure{failRunning, err}
	}
	return !running, nil
}

// spend gives up a token under which this run of the server said yes without
// holding the rows: it recorded the token, then its disk failed it, and it takes
// every repetition for done. Nobody is at work on an insert under that token, so
// none can bring the rows any more, and it is safe to use another.
//
// What is not there after several is past its time; or, if it is too young for
// that, the server's disk keeps failing, and the segment is put aside for
// somebody to look at, so that it neither dams the river nor is lost.
func (s *Shipper) spend(j *job, epoch string, missing map[event.Day]bool) (done bool, err error) {
	j.answered = ""
	if j.spent++; j.spent < spentTokens {
		return false, &failure{failSpent, errSpent}
	}
	s.metrics.failures.WithLabelValues(failSpent).Inc()
	for day := range missing {
		if event.DayOf(time.Now(), time.UTC)-day < youngest {
			return true, s.quarantine(j, errSpent)
		}
	}
	s.log.Error("storage acknowledges events of a batch and does not keep them: they are too old", "batch", j.segment.Seq)
	s.acknowledge(j, epoch)
	return true, nil
}

// otherEpochRunning reports whether an insert that was given up may still
// reach storage under the token of another epoch.
func (j *job) otherEpochRunning(epoch string) bool {
	running := j.given[:0]
	other := false
	for _, a := range j.given {
		if a.running() {
			running = append(running, a)
			other = other || a.epoch != epoch
		}
	}
	j.given = running
	return other
}

// insert starts an insert in a goroutine of its own. Its context never ends:
// the local engine dies of a cancelled insert.
func (s *Shipper) insert(ctx context.Context, j *job, epoch string, only map[event.Day]bool) *attempt {
	id := s.opts.Source.ID()
	b := Batch{
		Spool: id, Seq: j.segment.Seq, Token: token(id, j.segment.Seq, j.spent, epoch),
		Events: s.events(j.segment, j.skip), Count: j.count,
	}
	a := &attempt{epoch: epoch, repeats: only != nil, days: len(only), started: time.Now(), done: make(chan struct{})}
	ctx = context.WithoutCancel(ctx)
	go func() {
		defer close(a.done)
		a.err = s.opts.Sink.Insert(ctx, b, only)
	}()
	return a
}

// acknowledge notes that storage has the batch; it waits for a flush now.
func (s *Shipper) acknowledge(j *job, epoch string) {
	if !j.stored {
		j.stored = true
		s.metrics.stored.Add(float64(j.count - j.short))
	}
	s.metrics.lastSuccess.SetToCurrentTime()
	j.epoch = epoch
	if len(s.acked) == 0 {
		s.flushDue = time.Now().Add(flushAfter)
	}
	s.acked = append(s.acked, j)
}
