package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/batch"
)

// Insert stores the batch's events as one block: those of the UTC days in
// only, or all if only is nil. It is acknowledged as a whole.
//
// One block, one token: the server recognises a repetition by token, day and
// the block's number, so a batch cut in two and repeated in one piece would
// lose rows. When ctx ends first the outcome is unknown and the block may yet
// arrive. An error that wraps batch.ErrBadData will come back every time; any
// other is worth another try.
func (s *Store) Insert(ctx context.Context, b batch.Batch, only map[event.Day]bool) error {
	if err := s.insert(ctx, b, only); err != nil {
		var f *Failure
		if errors.As(err, &f) && f.Class == Data {
			return fmt.Errorf("cannot insert batch %d: %w: %w", b.Seq, batch.ErrBadData, err)
		}
		return fmt.Errorf("cannot insert batch %d: %w", b.Seq, err)
	}
	return nil
}

// errRestarted is why a batch is not sent although ClickHouse answers.
var errRestarted = errors.New("ClickHouse was restarted since the batch's token was made")

func (s *Store) insert(ctx context.Context, b batch.Batch, only map[event.Day]bool) error {
	block := newBlock(b.Count)
	for e := range b.Events {
		if only != nil && !only[event.DayOf(e.At, time.UTC)] {
			continue
		}
		if err := block.add(e, b.Spool, b.Seq); err != nil {
			return err
		}
	}
	if block.rows() == 0 {
		return nil
	}
	settings := clickhouse.Settings{}
	s.quorum(settings)
	prepared, err := s.prepare(ctx, "Insert", insertEvents, b.Token, settings)
	if err != nil {
		return err
	}
	// The block must not reach a later run of the server than its token was made
	// for: the repetition would then carry another token, and both would count.
	// This connection is one run's; if the run that answers now is the token's,
	// it is this one.
	if epoch, err := s.Epoch(ctx); err != nil || !strings.HasSuffix(b.Token, "-"+epoch) {
		_ = prepared.Abort()
		return cmp.Or(err, errRestarted)
	}
	// Filling costs no round trip, so nobody needs to be able to leave.
	if err := block.fill(prepared); err != nil {
		_ = prepared.Abort()
		return s.observe("Insert.fill", time.Now(), err)
	}
	if err := s.send(ctx, "Insert", prepared); err != nil {
		return err
	}
	s.metrics.rows.Add(float64(block.rows()))
	return nil
}

// prepare opens an INSERT. Whatever a repetition must not do twice carries a
// token; without one the block's content is its own.
func (s *Store) prepare(ctx context.Context, name, into, token string, settings clickhouse.Settings) (driver.Batch, error) {
	return wait(ctx, s, name+".prepare", func(ctx context.Context) (driver.Batch, error) {
		settings["async_insert"] = 0
		if token != "" {
			setting, value, err := s.deduplication(ctx)
			if err != nil {
				return nil, err
			}
			settings[setting], settings["insert_deduplication_token"] = value, token
		}
		return s.writer.PrepareBatch(clickhouse.Context(ctx, clickhouse.WithQueryID(insertID(token)), clickhouse.WithSettings(settings)), into)
	}, func(b driver.Batch) { _ = b.Abort() })
}

// insertID names an attempt to insert under a token: the token and something of
// the attempt's own. The rows are sent only once the server has accepted the
// query by that name, so an insert that can still bring rows is one that running
// finds.
func insertID(token string) string {
	if token == "" {
		return newQueryID()
	}
	return token + "/" + newQueryID()
}

// Running reports whether ClickHouse is at work on an insert of the batch, under
// whatever token and of whichever collector. A cluster need not be asked: there a
// token that is known keeps every insert under it harmless, wherever it is. But
// its Keepers must have had the time to agree on what is known.
func (s *Store) Running(ctx context.Context, spool, seq uint64) (bool, error) {
	if s.clustered() {
		return !s.hosts.settled(), nil
	}
	n, err := s.running(ctx, fmt.Sprintf("%016x-%016x", spool, seq))
	if err != nil {
		return false, fmt.Errorf("cannot learn whether batch %d is being inserted: %w", seq, err)
	}
	return n, nil
}

// running reports whether an insert under a token that begins so is under way.
func (s *Store) running(ctx context.Context, token string) (bool, error) {
	var n uint64
	_, err := s.one(ctx, statement{name: "Running", sql: sqlText("Running"), args: []any{clickhouse.Named("token", token)}}, &n)
	return n > 0, err
}

// deduplication names the setting that makes the server heed tokens whatever
// its profile says. Servers before 26.2 know it by its old name.
func (s *Store) deduplication(ctx context.Context) (setting string, value any, err error) {
	known := s.dedup.Load()
	if known == nil {
		var modern bool
		if err := s.writer.QueryRow(ctx, sqlText("Insert.deduplication")).Scan(&modern); err != nil {
			return "", nil, err
		}
		known = &modern
		s.dedup.Store(known)
	}
	if *known {
		return "deduplicate_insert", "enable", nil
	}
	return "insert_deduplicate", 1, nil
}

func (s *Store) send(ctx context.Context, name string, b driver.Batch) error {
	_, err := wait(ctx, s, name, func(context.Context) (struct{}, error) { return struct{}{}, b.Send() }, nil)
	return err
}

// row is one row for one of the small tables.
type row struct {
	name   string // the method: a metric label
	into   string // INSERT INTO table (columns)
	token  string // makes a repetition harmless, if set
	values []any
}

func (s *Store) insertRow(ctx context.Context, r row) error {
	b, err := s.prepare(ctx, r.name, r.into, r.token, clickhouse.Settings{})
	if err != nil {
		return err
	}
	if err := b.Append(r.values...); err != nil {
		_ = b.Abort()
		return s.observe(r.name, time.Now(), err)
	}
	return s.send(ctx, r.name, b)
}
