package storage

import (
	"context"
	"fmt"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/halfmask/halfmask/event"
)

// Kept counts by UTC day the rows of a spool's batches up to last, those in
// except aside. Days without any are absent.
func (s *Store) Kept(ctx context.Context, spool, last uint64, except []uint64) (map[event.Day]uint64, error) {
	if except == nil {
		except = []uint64{}
	}
	days, err := s.rowsByDay(ctx, statement{
		name: "Kept", sql: sqlText("Kept"),
		args: []any{clickhouse.Named("spool", spool), clickhouse.Named("last", last), clickhouse.Named("except", except)},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot count a spool's rows: %w", err)
	}
	return days, nil
}

// RemovedSince tells whether a site was removed since then, by whichever
// collector: its events are gone without having been lost.
func (s *Store) RemovedSince(ctx context.Context, since time.Time) (bool, error) {
	var removed uint64
	if _, err := s.one(ctx, statement{
		name: "RemovedSince", sql: sqlText("RemovedSince"), args: []any{clickhouse.Named("since", since.Unix())},
	}, &removed); err != nil {
		return false, fmt.Errorf("cannot read the audit log: %w", err)
	}
	return removed > 0, nil
}
