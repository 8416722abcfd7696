package storage

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Two faults make a cancellable context dangerous to the driver. The local
// engine may abort when an INSERT is cancelled, and the driver itself panics,
// in a goroutine of its own where nothing can recover it, when a connection
// breaks while a streaming SELECT is being cancelled. So the functions below
// are the only ones that call it, always under context.WithoutCancel:
// statements are bounded by the server, SELECTs that nobody waits for are
// stopped with KILL QUERY, and everything else is left to end by itself.

// statement is one question or command. Its SQL is constant text; whatever
// varies is in args, bound by the server as {name:Type}.
type statement struct {
	name string // the method that runs it: a metric label
	sql  string
	args []any
}

// limits are the settings that bound a SELECT. A user whose profile is
// readonly=1 has its bounds there and may not send any.
type limits struct {
	mu       sync.Mutex
	known    bool
	settings clickhouse.Settings
}

// The reader's bounds. They are those of the local engine's read-only profile,
// for servers where the user's own are wider.
func readerSettings() clickhouse.Settings {
	return clickhouse.Settings{
		"max_execution_time": 10,
		"max_memory_usage":   1_000_000_000,
		"max_result_rows":    maxRows,
	}
}

// wait runs f detached from ctx's end and stops waiting for it then; f's late
// result, if it still comes, goes to late. The error is a *Failure.
func wait[T any](ctx context.Context, s *Store, name string, f func(context.Context) (T, error), late func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var zero T
	start := time.Now()
	if err := ctx.Err(); err != nil {
		return zero, s.observe(name, start, err)
	}
	done := make(chan result, 1)
	s.calls.Add(1)
	go func() {
		defer s.calls.Done()
		v, err := f(context.WithoutCancel(ctx))
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, s.observe(name, start, r.err)
	case <-ctx.Done():
		s.doubt(ctx.Err())
		go func() {
			if r := <-done; r.err == nil && late != nil {
				late(r.value)
			}
		}()
		return zero, s.observe(name, start, ctx.Err())
	}
}

// doubt turns to another replica of a cluster if the active one may be why a
// statement failed.
func (s *Store) doubt(err error) {
	if s.hosts == nil || err == nil || errors.Is(err, context.Canceled) {
		return
	}
	switch f := classify(err); {
	case f.Class == Network, errors.Is(err, context.DeadlineExceeded), f.Class == Keeper, f.Class == Schema:
		s.hosts.failed()
	}
}

// exec runs a command as the writer. If ctx ends first, the command goes on.
func (s *Store) exec(ctx context.Context, st statement) error {
	_, err := wait(ctx, s, st.name, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.writer.Exec(clickhouse.Context(ctx, clickhouse.WithQueryID(newQueryID())), st.sql, st.args...)
	}, nil)
	return err
}

// scanner reads the present row's columns into dest.
type scanner func(dest ...any) error

// selectRows runs a SELECT and calls row for each row. row is never called
// after selectRows returned; if it fails, the statement is stopped and its
// error returned as it is.
func (s *Store) selectRows(ctx context.Context, p *pool, st statement, row func(scanner) error) error {
	start := time.Now()
	if err := ctx.Err(); err != nil {
		return s.observe(st.name, start, err)
	}
	settings, err := s.settings(ctx, p)
	if err != nil {
		return err
	}
	q := &selection{store: s, pool: p, statement: st, id: newQueryID(), settings: settings, row: row, done: make(chan struct{})}
	s.calls.Add(1)
	go func() {
		defer s.calls.Done()
		defer close(q.done)
		q.err = q.run(context.WithoutCancel(ctx))
	}()
	select {
	case <-q.done:
		if q.rowErr != nil {
			_ = s.observe(st.name, start, nil)
			return q.rowErr
		}
		return s.observe(st.name, start, q.err)
	case <-ctx.Done():
		if p == s.writer {
			s.doubt(ctx.Err())
		}
		q.leave()
		return s.observe(st.name, start, ctx.Err())
	}
}

// selection is a SELECT under way, in its own goroutine.
type selection struct {
	store     *Store
	pool      *pool
	statement statement
	id        string
	settings  clickhouse.Settings

	mu   sync.Mutex // held while row runs
	left bool       // nobody waits any more
	row  func(scanner) error

	done   chan struct{}
	err    error // the server's, once done
	rowErr error // row's, once done
}

func (q *selection) run(ctx context.Context) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithQueryID(q.id), clickhouse.WithSettings(q.settings))
	if q.gone() {
		return nil
	}
	rows, err := q.pool.Query(ctx, q.statement.sql, q.statement.args...)
	if err != nil {
		return err
	}
	for rows.Next() {
		if !q.deliver(rows) {
			q.stop()
			break
		}
	}
	// Close reads what is left of the answer, so that the connection can be
	// used again; stopping the statement keeps that short.
	if err := rows.Close(); err != nil && q.rowErr == nil {
		return err
	}
	return rows.Err()
}

// deliver hands one row on, unless nobody waits.
func (q *selection) deliver(rows driver.Rows) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.left {
		return false
	}
	q.rowErr = q.row(rows.Scan)
	return q.rowErr == nil
}

func (q *selection) gone() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.left
}

// leave makes sure that row is not called any more and stops the statement.
func (q *selection) leave() {
	q.mu.Lock()
	q.left = true
	q.mu.Unlock()
	q.stop()
}

const (
	killInterval = 100 * time.Millisecond
	killAttempts = 20
)

// stop asks the server, in the background, to end the statement. It asks again
// because the statement may be under way to the server still; if the writer
// may not kill, the statement's own limits end it.
func (q *selection) stop() {
	q.store.calls.Add(1)
	go func() {
		defer q.store.calls.Done()
		ticker := time.NewTicker(killInterval)
		defer ticker.Stop()
		for range killAttempts {
			ctx := clickhouse.Context(context.Background(), clickhouse.WithQueryID(newQueryID()))
			start := time.Now()
			err := q.store.writer.Exec(ctx, "KILL QUERY WHERE query_id = {id:String} ASYNC", clickhouse.Named("id", q.id))
			if q.store.observe("kill", start, err) != nil {
				return
			}
			select {
			case <-q.done:
				return
			case <-ticker.C:
			}
		}
	}()
}

// settings returns the bounds to send with a SELECT.
func (s *Store) settings(ctx context.Context, p *pool) (clickhouse.Settings, error) {
	if p == s.writer {
		return clickhouse.Settings{"max_execution_time": int(writerTimeout / time.Second)}, nil
	}
	if known, settings := p.limits.get(); known {
		return settings, nil
	}
	readonly, err := wait(ctx, s, "settings", func(ctx context.Context) (v string, err error) {
		return v, p.QueryRow(ctx, "SELECT toString(getSetting('readonly'))").Scan(&v)
	}, nil)
	if err != nil {
		return nil, err
	}
	var settings clickhouse.Settings
	switch readonly {
	case "0":
		settings = readerSettings()
		settings["readonly"] = 1
	case "2":
		settings = readerSettings()
	}
	p.limits.set(settings)
	return settings, nil
}

func (l *limits) get() (bool, clickhouse.Settings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known, l.settings
}

func (l *limits) set(s clickhouse.Settings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known, l.settings = true, s
}

// newQueryID returns 16 random bytes in hexadecimal.
func newQueryID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
