package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
)

const (
	retainInterval = time.Hour
	retryInterval  = time.Minute
)

// started is where running time is counted from: the monotonic clock, which
// nobody can set.
var started = time.Now()

// ErrClockSuspect is what Retain's error wraps while it drops nothing because
// the clock may have jumped.
var ErrClockSuspect = errors.New("the clock is far ahead of the last time that was believed")

// Retain drops what is too old at now: every day of events that began
// RetentionMonths ago or earlier, parts that ClickHouse put aside, and expired
// sessions. A dropped day's bytes are gone when it returns. If the clock may
// have jumped forward it drops nothing and returns ErrClockSuspect; see
// clockGuard for the rule and for what that costs.
//
// The table's TTL does the same later and by ClickHouse's own clock; Retain is
// what keeps the promise within the hour.
func (s *Store) Retain(ctx context.Context, now time.Time) error {
	if err := s.believe(ctx, now, time.Since(started)); err != nil {
		return fmt.Errorf("cannot drop what is too old: %w", err)
	}
	days, err := s.expiredDays(ctx, now)
	if err != nil {
		return fmt.Errorf("cannot find what is too old: %w", err)
	}
	for _, day := range days {
		if err := s.exec(ctx, statement{name: "Retain", sql: sqlText("Retain.drop"), args: []any{clickhouse.Named("id", day.partition)}}); err != nil {
			return fmt.Errorf("cannot drop events of %s: %w", day.date, err)
		}
		s.metrics.dropped.Inc()
		s.log.Info("dropped a day of events that is too old", "day", day.date, "rows", day.rows)
	}
	err = s.each(ctx, func(ctx context.Context, one *Store) error { return one.dropDetached(ctx, now) })
	if err != nil {
		return fmt.Errorf("cannot drop parts that were put aside: %w", err)
	}
	if err := s.dropSessions(ctx, now); err != nil {
		return fmt.Errorf("cannot drop expired sessions: %w", err)
	}
	if err := s.spread(ctx); err != nil {
		return fmt.Errorf("cannot give every replica its tables: %w", err)
	}
	return nil
}

// RunJanitor calls Retain at once and then every hour until ctx ends. It logs
// what fails and tries that again after a minute. Call Retain itself before a
// dashboard opens, so that not even the first answer is from too long ago.
func (s *Store) RunJanitor(ctx context.Context) {
	for {
		next := retainInterval
		switch err := s.Retain(ctx, time.Now()); {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrClockSuspect):
			s.log.Error("nothing is dropped until the clock has been right for a day: set it, or confirm it", "error", err)
		case err != nil:
			s.log.Error("the janitor failed and will try again", "error", err)
			next = retryInterval
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// ConfirmClock says that now is the right time, whatever the last believed time
// was.
func (s *Store) ConfirmClock(ctx context.Context, now time.Time) error {
	s.clock.mu.Lock()
	s.clock.confirm(now.Round(0), time.Since(started))
	s.clock.mu.Unlock()
	if err := s.keepMark(ctx, now); err != nil {
		return fmt.Errorf("cannot confirm the clock: %w", err)
	}
	return nil
}

// believe asks whoever knows the clock and keeps the time if it is believed.
func (s *Store) believe(ctx context.Context, now time.Time, running time.Duration) error {
	if s.options.ClockDoubt != nil {
		return s.judge(s.options.ClockDoubt() == 0)
	}
	mark, err := s.mark(ctx)
	if err != nil {
		return err
	}
	s.clock.remember(mark)
	if err := s.judge(s.clock.believe(now.Round(0), running)); err != nil {
		return err
	}
	return s.keepMark(ctx, now)
}

func (s *Store) judge(believed bool) error {
	if believed {
		s.metrics.suspect.Set(0)
		return nil
	}
	s.metrics.suspect.Set(1)
	return ErrClockSuspect
}

// mark reads the last believed time, of any collector. A database without one
// is believed as far as its newest event.
func (s *Store) mark(ctx context.Context) (time.Time, error) {
	var mark time.Time
	if _, err := s.one(ctx, statement{name: "Retain", sql: sqlText("Retain.mark")}, &mark); err != nil {
		return time.Time{}, err
	}
	if mark.Unix() == 0 {
		return time.Time{}, nil
	}
	return mark, nil
}

func (s *Store) keepMark(ctx context.Context, now time.Time) error {
	return s.insertRow(ctx, row{name: "Retain", into: "INSERT INTO clock (id, mark)", values: []any{uint8(1), now}})
}

// expiredDay is a partition of events.
type expiredDay struct {
	partition, date string
	rows            uint64
}

func (s *Store) expiredDays(ctx context.Context, now time.Time) (days []expiredDay, err error) {
	err = s.selectRows(ctx, s.writer, statement{name: "Retain", sql: sqlText("Retain.expired"), args: []any{
		clickhouse.Named("now", now.Unix()), clickhouse.Named("months", uint8(s.options.RetentionMonths)),
	}}, func(scan scanner) error {
		var d expiredDay
		err := scan(&d.partition, &d.date, &d.rows)
		days = append(days, d)
		return err
	})
	return days, err
}

// dropDetached drops the parts that ClickHouse put aside because they were broken
// or unexpected: those of expired days, and the others after a day in which
// somebody may want to look at them. The TTL never touches them.
func (s *Store) dropDetached(ctx context.Context, now time.Time) error {
	var names []string
	err := s.selectRows(ctx, s.writer, statement{name: "Retain", sql: sqlText("Retain.detached"), args: []any{
		clickhouse.Named("now", now.Unix()), clickhouse.Named("months", uint8(s.options.RetentionMonths)),
	}}, func(scan scanner) error {
		var name string
		err := scan(&name)
		names = append(names, name)
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.exec(ctx, statement{name: "Retain", sql: sqlText("Retain.dropDetached"), args: []any{clickhouse.Named("part", name)}}); err != nil {
			return err
		}
		s.log.Warn("dropped a part of events that ClickHouse had put aside", "part", name)
	}
	return nil
}

func (s *Store) dropSessions(ctx context.Context, now time.Time) error {
	arg := clickhouse.Named("now", now.Unix())
	var expired uint64
	if _, err := s.one(ctx, statement{name: "Retain", sql: sqlText("Retain.expiredSessions"), args: []any{arg}}, &expired); err != nil || expired == 0 {
		return err
	}
	return s.exec(ctx, statement{name: "Retain", sql: sqlText("Retain.sessions"), args: []any{arg}})
}
