package main

import (
	"context"
	"fmt"
	"time"
)

// A clock that jumped keeps Halfmask from deleting anything by age until somebody
// says that it is right.

type clockConfirmCommand struct {
	client `embed:""`
}

// confirmed tells the time that is believed now, and how far ahead of the last
// one it had seemed; 0 if it was not doubted.
type confirmed struct {
	Now   time.Time
	Ahead time.Duration
}

// Run confirms the clock.
func (c *clockConfirmCommand) Run(ctx context.Context, s *streams) error {
	return c.with(ctx, s, func(remote caller) error {
		said, err := call[confirmed](ctx, remote, "clock.confirm", none{})
		if err != nil {
			return err
		}
		now := said.Now.UTC().Format("2006-01-02 15:04:05 MST")
		if said.Ahead == 0 {
			fmt.Fprintf(s.out, "It is %s. Nobody doubted that.\n", now)
			return nil
		}
		fmt.Fprintf(s.out, "It is %s: believed from now on, although that is %v later than expected. Events older than three months are deleted within the hour.\n",
			now, said.Ahead.Round(time.Minute))
		return nil
	})
}

// clockConfirm believes the wall clock of this machine.
func (a *admin) clockConfirm(ctx context.Context, _ none) (confirmed, error) {
	said := confirmed{Now: time.Now()}
	if a.engine != nil {
		said.Ahead, said.Now = a.engine.ConfirmClock()
	}
	return said, a.store.ConfirmClock(ctx, said.Now)
}
