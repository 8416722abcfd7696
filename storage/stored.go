package storage

import (
	"context"
	"errors"
	"fmt"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/halfmask/halfmask/event"
)

// Stored counts the rows of one batch by UTC day. Days without any are absent.
func (s *Store) Stored(ctx context.Context, spool, seq uint64) (map[event.Day]uint64, error) {
	if err := s.catchUp(ctx, "events"); err != nil {
		return nil, fmt.Errorf("cannot wait for the replica to have every batch: %w", err)
	}
	days, err := s.rowsByDay(ctx, statement{
		name: "Stored",
		sql:  sqlText("Stored"),
		args: []any{clickhouse.Named("spool", spool), clickhouse.Named("batch", seq)},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot count the rows of batch %d: %w", seq, err)
	}
	return days, nil
}

// rowsByDay runs a SELECT of days and their numbers of rows.
func (s *Store) rowsByDay(ctx context.Context, st statement) (map[event.Day]uint64, error) {
	days := map[event.Day]uint64{}
	err := s.selectRows(ctx, s.writer, st, func(scan scanner) error {
		var day int32
		var rows uint64
		if err := scan(&day, &rows); err != nil {
			return err
		}
		days[event.Day(day)] = rows
		return nil
	})
	return days, err
}

// Epoch names the present run of the server: it differs after every restart of
// it and is the same for every collector. Start times cannot do that, because
// clocks are set and uptime is rounded; so the name is kept where only this run
// can know it, in a table that lives in the server's memory.
//
// A cluster's is always the same: see cluster.go.
func (s *Store) Epoch(ctx context.Context) (string, error) {
	if s.clustered() {
		return clusterEpoch, nil
	}
	if s.options.Epoch != nil {
		if epoch := s.options.Epoch(); epoch != "" {
			return epoch, nil
		}
		return "", errors.New("cannot learn the server's present run: it is down")
	}
	id, err := s.epoch(ctx)
	if err == nil && id == "" {
		err = s.insertRow(ctx, row{name: "Epoch", into: "INSERT INTO epochs (id)", values: []any{newQueryID()}})
		if err == nil {
			// Another collector's row may have come first: the first one counts.
			id, err = s.epoch(ctx)
		}
	}
	if err != nil {
		return "", fmt.Errorf("cannot learn the server's present run: %w", err)
	}
	return id, nil
}

func (s *Store) epoch(ctx context.Context) (id string, err error) {
	err = s.selectRows(ctx, s.writer, statement{name: "Epoch", sql: sqlText("Epoch")}, func(scan scanner) error {
		return scan(&id)
	})
	return id, err
}
