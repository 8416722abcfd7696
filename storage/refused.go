package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/batch"
)

// Refused finds which of the batch's events ClickHouse refuses, of the UTC days
// in only, or all if only is nil: their places in b.Events, ascending, and at
// least limit+1 of them if there are more than limit.
//
// It asks by sending ever smaller pieces of the batch to a table that has the
// columns and constraints of events and throws everything away, so nothing is
// stored anywhere. A place is returned only if its event was refused alone.
func (s *Store) Refused(ctx context.Context, b batch.Batch, only map[event.Day]bool, limit int) ([]int, error) {
	f := &sieve{store: s, block: newBlock(b.Count), limit: limit}
	place := -1
	for e := range b.Events {
		if place++; only != nil && !only[event.DayOf(e.At, time.UTC)] {
			continue
		}
		// What the block refuses is not in it.
		if f.block.add(e, b.Spool, b.Seq) != nil {
			f.bad = append(f.bad, place)
		} else {
			f.places = append(f.places, place)
		}
	}
	// Made anew each time, it is never older than events.
	err := s.exec(ctx, statement{name: "Refused", sql: sqlText("Refused")})
	if err == nil {
		err = f.search(ctx, 0, f.block.rows())
	}
	if err != nil {
		return nil, fmt.Errorf("cannot find the bad events of batch %d: %w", b.Seq, err)
	}
	slices.Sort(f.bad)
	return f.bad, nil
}

// sieve is a search for bad rows.
type sieve struct {
	store  *Store
	block  *block
	places []int // of the block's rows in the batch
	bad    []int // places found
	limit  int
}

// search looks at the rows from from to before to. Each half is asked about on
// its own, since a block may be refused for what none of its rows is refused for.
func (f *sieve) search(ctx context.Context, from, to int) error {
	if from == to || len(f.bad) > f.limit {
		return nil
	}
	err := f.probe(ctx, f.block.rowsOf(from, to))
	var failure *Failure
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &failure) || failure.Class != Data:
		return err
	case to-from == 1:
		f.bad = append(f.bad, f.places[from])
		return nil
	}
	middle := from + (to-from)/2
	if err := f.search(ctx, from, middle); err != nil {
		return err
	}
	return f.search(ctx, middle, to)
}

func (f *sieve) probe(ctx context.Context, rows *block) error {
	prepared, err := f.store.prepare(ctx, "Refused", insertProbe, "", clickhouse.Settings{})
	if err != nil {
		return err
	}
	if err := rows.fill(prepared); err != nil {
		_ = prepared.Abort()
		return f.store.observe("Refused.fill", time.Now(), err)
	}
	return f.store.send(ctx, "Refused", prepared)
}
