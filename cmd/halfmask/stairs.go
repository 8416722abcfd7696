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
	stop func(context.Context) error
}

func (s *stairs) started(name string, stop func(context.Context) error) {
	s.steps = append(s.steps, step{name, stop})
}

// close stops everything in reverse order. A step that fails does not keep
// the others from being stopped.
func (s *stairs) close(ctx context.Context) error {
	var errs []error
	for len(s.steps) > 0 {
		last := s.steps[len(s.steps)-1]
		s.steps = s.steps[:len(s.steps)-1]
		began := time.Now()
		if err := last.stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("cannot stop %s cleanly: %w", last.name, err))
		}
		s.log.Debug("stopped one part", "part", last.name, "took", time.Since(began))
	}
	return errors.Join(errs...)
}
