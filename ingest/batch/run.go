package batch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/halfmask/halfmask/ingest/spool"
)

// Shipper ships segments. Run and Drain may be called concurrently; only one of
// them works at a time.
type Shipper struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	turn    chan struct{} // held by whoever works; guards what follows

	current   *job   // taken and not yet acknowledged
	queue     []*job // to be shipped before anything new, in order
	acked     []*job // waiting for a flush
	flushDue  time.Time
	flushFail int // flushes failed in a row
	nextFail  int // segments that could not be read, in a row
	doubt     doubt

	mu       sync.Mutex
	stopRun  context.CancelFunc
	draining bool
}

// Run ships until ctx ends or Drain is called, and then returns nil without
// waiting for an insert that is under way: Drain still does. It returns an
// error if the source is closed.
func (s *Shipper) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		return nil
	}
	s.stopRun = cancel
	s.mu.Unlock()

	select {
	case <-ctx.Done():
		return nil
	case s.turn <- struct{}{}:
	}
	defer func() { <-s.turn }()
	if err := s.work(ctx, false); ctx.Err() == nil {
		return fmt.Errorf("cannot ship: %w", err)
	}
	return nil
}

// Drain ends Run, seals the source and ships everything that is in it. It
// returns nil when the source is empty, all of it stored and flushed. When ctx
// ends before, it returns an error; what is left stays in the source, and the
// next process finds it. Nothing must be appended to the source meanwhile.
func (s *Shipper) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	if s.stopRun != nil {
		s.stopRun()
	}
	s.mu.Unlock()

	select {
	case <-ctx.Done():
		return fmt.Errorf("cannot drain: %w", ctx.Err())
	case s.turn <- struct{}{}:
	}
	defer func() { <-s.turn }()
	s.opts.Source.Seal()
	if err := s.work(ctx, true); err != nil {
		return fmt.Errorf("cannot ship everything, the rest stays in the spool and is shipped after the next start: %w", err)
	}
	return nil
}

// work ships until ctx ends, or, when draining, nothing is left.
func (s *Shipper) work(ctx context.Context, draining bool) error {
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if s.flushIsDue() {
			// Until it succeeds nothing new is shipped: what is acknowledged
			// stays in memory.
			if err := s.flush(ctx); err != nil {
				return err
			}
			continue
		}
		if s.current == nil {
			j, err := s.next(ctx, draining)
			if err != nil {
				return err
			}
			if j == nil && draining && len(s.acked) == 0 {
				return nil
			}
			if j == nil { // the flush cannot wait for a segment
				s.flushDue = time.Time{}
				continue
			}
			s.current = j
		}
		if err := s.ship(ctx, s.current); err != nil {
			return err
		}
		s.current = nil
	}
}

func (s *Shipper) flushIsDue() bool {
	return len(s.acked) > 0 && (len(s.acked) >= flushBatches || !time.Now().Before(s.flushDue))
}

// next returns the next job, or nil if a flush comes first or, when draining,
// the source has no more.
func (s *Shipper) next(ctx context.Context, draining bool) (*job, error) {
	if len(s.queue) > 0 {
		j := s.queue[0]
		s.queue = s.queue[1:]
		return j, nil
	}
	wait := ctx
	if draining {
		wait = ended
	} else if len(s.acked) > 0 {
		var cancel context.CancelFunc
		wait, cancel = context.WithDeadline(ctx, s.flushDue)
		defer cancel()
	}
	for {
		g, err := s.opts.Source.Next(wait)
		if err == nil {
			s.nextFail = 0
			return s.read(g), nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if wait.Err() != nil && errors.Is(err, wait.Err()) {
			return nil, nil
		}
		if errors.Is(err, spool.ErrClosed) {
			return nil, err
		}
		s.nextFail++
		s.failed(&failure{failNext, err}, s.nextFail, "the next segment cannot be read yet")
		if err := sleep(ctx, backoff(s.nextFail)); err != nil {
			return nil, err
		}
	}
}

// ended makes Next answer at once.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// readAhead reads the next segment if one is sealed.
func (s *Shipper) readAhead() {
	if len(s.queue) > 0 {
		return
	}
	// An error will come again when the segment's turn has come.
	if g, err := s.opts.Source.Next(ended); err == nil {
		s.queue = append(s.queue, s.read(g))
	}
}

// flush makes storage write what it acknowledged to disk and settles it. What
// another run of the server acknowledged is shipped again, which begins with
// asking what of it is there. It returns an error only when ctx has ended or
// the source is closed.
func (s *Shipper) flush(ctx context.Context) error {
	epoch, err := s.flushed(ctx)
	if err == nil {
		err = s.settle(epoch)
	}
	if err == nil {
		s.flushFail = 0
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, spool.ErrClosed) {
		return err
	}
	s.flushFail++
	s.failed(err, s.flushFail, "stored batches cannot be settled yet")
	return sleep(ctx, backoff(s.flushFail))
}

// flushed flushes and returns the run of the server afterwards. If that is the
// run which acknowledged a batch, no crash came between the two.
func (s *Shipper) flushed(ctx context.Context) (epoch string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := s.opts.Sink.Flush(ctx); err != nil {
		return "", &failure{failFlush, err}
	}
	if epoch, err = s.opts.Sink.Epoch(ctx); err != nil {
		return "", &failure{failEpoch, err}
	}
	return epoch, nil
}

func (s *Shipper) settle(epoch string) error {
	var again, kept []*job
	var failed error
	for _, j := range s.acked {
		if j.epoch != epoch {
			j.verify = true
			again = append(again, j)
		} else if err := s.leave(j); err != nil {
			kept = append(kept, j)
			failed = err
		}
	}
	s.acked = kept
	s.queue = append(again, s.queue...)
	return failed
}
