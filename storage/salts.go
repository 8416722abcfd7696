package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/halfmask/halfmask/collector/anonymize"
	"github.com/halfmask/halfmask/event"
)

// LoadSalts returns every salt that is still kept.
func (s *Store) LoadSalts(ctx context.Context) ([]anonymize.Salt, error) {
	var all []anonymize.Salt
	err := s.selectRows(ctx, s.writer, statement{name: "LoadSalts", sql: sqlText("LoadSalts")}, func(scan scanner) error {
		salt, err := scanSalt(scan)
		all = append(all, salt)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot load salts: %w", err)
	}
	return all, nil
}

// AddSalt stores salt unless one for its zone and day exists, and returns the
// one that counts: for every collector the same.
func (s *Store) AddSalt(ctx context.Context, salt anonymize.Salt) (anonymize.Salt, error) {
	read := func(ctx context.Context) (kept anonymize.Salt, ok bool, err error) {
		err = s.selectRows(ctx, s.writer, statement{
			name: "AddSalt", sql: sqlText("AddSalt"),
			args: []any{clickhouse.Named("zone", salt.Zone), clickhouse.Named("day", int32(salt.Day))},
		}, func(scan scanner) error {
			ok = true
			kept, err = scanSalt(scan)
			return err
		})
		return kept, ok, err
	}
	kept, ok, err := read(ctx)
	if err == nil && !ok {
		kept, err = insertOnce(ctx, s, row{
			name: "AddSalt", into: "INSERT INTO salts (zone, day, key, created)",
			values: []any{salt.Zone, int32(salt.Day), string(salt.Key[:]), salt.Created},
			token:  fmt.Sprintf("salt-%s-%d", salt.Zone, salt.Day),
		}, read)
	}
	if err != nil {
		return anonymize.Salt{}, fmt.Errorf("cannot add the salt of %s for %s: %w", salt.Zone, salt.Day, err)
	}
	return kept, nil
}

func scanSalt(scan scanner) (salt anonymize.Salt, err error) {
	var day int32
	var key string
	if err := scan(&salt.Zone, &day, &key, &salt.Created); err != nil {
		return salt, err
	}
	salt.Day = event.Day(day)
	copy(salt.Key[:], key)
	return salt, nil
}

const (
	partsGoneInterval = 100 * time.Millisecond
	partsGoneAttempts = 600
)

// DropSalts destroys the salts of zone before day. When it returns nil their
// bytes are gone from ClickHouse's folder, including parts that a merge had
// replaced.
func (s *Store) DropSalts(ctx context.Context, zone string, before event.Day) error {
	if err := s.dropSalts(ctx, zone, before); err != nil {
		return fmt.Errorf("cannot destroy the salts of %s before %s: %w", zone, before, err)
	}
	return nil
}

func (s *Store) dropSalts(ctx context.Context, zone string, before event.Day) error {
	var partitions []string
	err := s.selectRows(ctx, s.writer, statement{
		name: "DropSalts", sql: sqlText("DropSalts.partitions"),
		args: []any{clickhouse.Named("zone", zone), clickhouse.Named("before", int32(before))},
	}, func(scan scanner) error {
		var id string
		err := scan(&id)
		partitions = append(partitions, id)
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range partitions {
		if err := s.exec(ctx, statement{name: "DropSalts", sql: sqlText("DropSalts"), args: []any{clickhouse.Named("id", id)}}); err != nil {
			return err
		}
	}
	for _, id := range partitions {
		gone := func(ctx context.Context, one *Store) error { return one.awaitGone(ctx, id) }
		if err := s.each(ctx, gone); err != nil {
			return err
		}
	}
	return nil
}

// awaitGone waits until no part of the partition of salts is left, active or not.
func (s *Store) awaitGone(ctx context.Context, id string) error {
	ticker := time.NewTicker(partsGoneInterval)
	defer ticker.Stop()
	for range partsGoneAttempts {
		var parts uint64
		if _, err := s.one(ctx, statement{
			name: "DropSalts", sql: sqlText("DropSalts.parts"), args: []any{clickhouse.Named("id", id)},
		}, &parts); err != nil {
			return err
		}
		if parts == 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.New("a part is still on the disk; it will be tried again")
}
