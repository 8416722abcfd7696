package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// stairs are the things that were started, to be stopped the other way.
type stairs struct {
	log   *slog.Logger
	steps []step
}

type step struct {
	name string
	by   share
	stop func(context.Context) error
}

// share is the part of a stop's time, 0 to 1, after which a step is cut short:
// one that never ends, because of a slow client or an engine that hangs, must
// leave time to the steps below it.
type share float64

const (
	partedBy  share = 0.3 // clients had time to finish their requests
	shippedBy share = 0.6 // what is not stored by then stays in the spool
	engineBy  share = 0.8 // an engine that is still there is killed
	allBy     share = 1
)

func (s *stairs) started(name string, by share, stop func(context.Context) error) {
	s.steps = append(s.steps, step{name, by, stop})
}

// close stops everything in reverse order. A step that fails does not keep
// the others from being stopped.
func (s *stairs) close(ctx context.Context) error {
	first := time.Now()
	last, limited := ctx.Deadline()
	stop := func(each step) error {
		if !limited {
			return each.stop(ctx)
		}
		ctx, cancel := context.WithDeadline(ctx, first.Add(time.Duration(float64(each.by)*float64(last.Sub(first)))))
		defer cancel()
		return each.stop(ctx)
	}
	var errs []error
	for len(s.steps) > 0 {
		top := s.steps[len(s.steps)-1]
		s.steps = s.steps[:len(s.steps)-1]
		began := time.Now()
		if err := stop(top); err != nil {
			errs = append(errs, fmt.Errorf("cannot stop %s cleanly: %w", top.name, err))
		}
		s.log.Debug("stopped one part", "part", top.name, "took", time.Since(began))
	}
	return errors.Join(errs...)
}

// waiting makes a step of a stop that knows no context: it is waited for until
// ctx ends, and left alone then.
func waiting(stop func() error) func(context.Context) error {
	return func(ctx context.Context) error {
		done := make(chan error, 1)
		go func() { done <- stop() }()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}
