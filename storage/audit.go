package storage

import (
	"context"
	"fmt"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/halfmask/halfmask/account"
)

// AddEntry appends to the audit log.
func (s *Store) AddEntry(ctx context.Context, e account.Entry) error {
	err := s.insertRow(ctx, row{
		name: "AddEntry", into: "INSERT INTO audit (at, actor, action, target)",
		values: []any{e.At, e.Actor, e.Action, e.Target},
	})
	if err != nil {
		return fmt.Errorf("cannot add to the audit log: %w", err)
	}
	return nil
}

// Entries returns the latest entries of the audit log, newest first.
func (s *Store) Entries(ctx context.Context, limit int) ([]account.Entry, error) {
	var all []account.Entry
	err := s.selectRows(ctx, s.writer, statement{
		name: "Entries", sql: sqlText("Entries"), args: []any{clickhouse.Named("limit", uint64(max(limit, 0)))},
	}, func(scan scanner) error {
		var e account.Entry
		err := scan(&e.At, &e.Actor, &e.Action, &e.Target)
		all = append(all, e)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the audit log: %w", err)
	}
	return all, nil
}
