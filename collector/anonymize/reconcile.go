package anonymize

import (
	"context"
	"fmt"
	"time"

	"github.com/halfmask/halfmask/event"
)

const (
	// interval is how often Run looks at the clock. Timers do not notice a clock
	// that was set or a machine that slept, so a deadline alone would be missed.
	interval = time.Minute
	// retry is how soon Run comes back to what failed; it doubles up to interval.
	retry = time.Second
)

// Attach gives the Keeper its store and agrees with it on the salts. If that
// fails the Keeper works on with what it has, and Run tries again.
func (k *Keeper) Attach(ctx context.Context, store SaltStore) error {
	k.mu.Lock()
	k.store, k.known = store, false
	k.mu.Unlock()
	defer k.nudge()
	return k.reconcile(ctx)
}

// Run turns the days, destroys salts, writes the snapshot and keeps the store
// informed until ctx is done. It returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	pause := retry
	failed := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
		case <-timer.C:
		}
		k.mu.Lock()
		k.tend(time.Now())
		k.mu.Unlock()

		err := k.save()
		if e := k.reconcile(ctx); err == nil {
			err = e
		}
		if err == nil {
			err = k.save() // what the store answered
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			if failed {
				k.logger.Info("the salts are safe again")
			}
			failed, pause = false, retry
			timer.Reset(interval)
		default:
			if !failed {
				k.logger.Warn("the salts are kept in memory until this succeeds; it is tried again", "error", err)
			}
			failed = true
			timer.Reset(pause)
			pause = min(2*pause, interval)
		}
	}
}

// reconcile learns the store's salts, offers it those it does not know, and
// has it destroy those that are too old.
func (k *Keeper) reconcile(ctx context.Context) error {
	k.mu.Lock()
	store, known := k.store, k.known
	k.mu.Unlock()
	if store == nil {
		return nil
	}
	if !known {
		salts, err := store.LoadSalts(ctx)
		if err != nil {
			return k.failed("load", fmt.Errorf("cannot load the salts from storage: %w", err))
		}
		k.learn(salts...)
		clear(salts)
		k.mu.Lock()
		k.known = true
		k.mu.Unlock()
	}
	offers, drops := k.due(time.Now())
	defer clear(offers)
	for _, offer := range offers {
		counts, err := store.AddSalt(ctx, offer)
		if err != nil {
			return k.failed("add", fmt.Errorf("cannot add a salt to storage: %w", err))
		}
		k.learn(counts)
	}
	for zone, before := range drops {
		if err := store.DropSalts(ctx, zone, before); err != nil {
			return k.failed("drop", fmt.Errorf("cannot drop old salts from storage: %w", err))
		}
		k.mu.Lock()
		if z := (*k.zones.Load())[zone]; z != nil {
			z.dropped = before
		}
		k.mu.Unlock()
	}
	return nil
}

// learn takes the store's salts, leaving out those whose time is over.
func (k *Keeper) learn(salts ...Salt) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range salts {
		if k.adopt(s, true) {
			k.logger.Info("storage has another salt for a day in use; visitors of that day may count twice", "zone", s.Zone, "day", s.Day.String())
		}
	}
	k.tend(time.Now())
}

// due lists the salts that the store has not confirmed and, by zone, the day
// before which the store still has to destroy salts.
func (k *Keeper) due(now time.Time) (offers []Salt, drops map[string]event.Day) {
	k.mu.Lock()
	defer k.mu.Unlock()
	drops = make(map[string]event.Day)
	for name, z := range *k.zones.Load() {
		first := dayBefore(event.DayOf(now, z.loc), z.loc)
		if z.dropped < first {
			drops[name] = first
		}
		for _, s := range z.salts {
			if !s.agreed && s.day >= first {
				offers = append(offers, s.export(name))
			}
		}
	}
	return offers, drops
}

// save writes the snapshot if it is out of date.
func (k *Keeper) save() error {
	k.mu.Lock()
	if k.file == nil || !k.dirty {
		k.mu.Unlock()
		return nil
	}
	var kept []Salt
	for name, z := range *k.zones.Load() {
		for _, s := range z.salts {
			kept = append(kept, s.export(name))
		}
	}
	k.dirty = false
	k.mu.Unlock()
	defer clear(kept)
	if err := k.file.write(kept); err != nil {
		k.mu.Lock()
		k.dirty = true
		k.mu.Unlock()
		return k.failed("snapshot", err)
	}
	return nil
}

func (k *Keeper) failed(step string, err error) error {
	k.failures.WithLabelValues(step).Inc()
	return err
}
