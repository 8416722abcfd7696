package storage

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one step of the schema: NNNN_name.sql. Each of its statements
// can be repeated (IF NOT EXISTS and the like): ClickHouse has no transactions
// around DDL, so being interrupted, or running beside another collector, must
// be harmless instead.
type migration struct {
	version    uint32
	name       string
	statements []string
}

// ErrNewer is what Migrate's error is when the database was written by a
// newer program.
var ErrNewer = errors.New("the database is newer than this program")

// Migrate creates the database and brings its tables up to date, telling
// progress (which may be nil) each step. It may be interrupted and repeated,
// and several collectors may run it at once. A database that a newer program
// has migrated is refused with ErrNewer and left alone.
func (s *Store) Migrate(ctx context.Context, progress func(string)) error {
	steps, err := migrations(migrationFiles)
	if err != nil {
		return err
	}
	return s.migrate(ctx, steps, progress)
}

func (s *Store) migrate(ctx context.Context, steps []migration, progress func(string)) error {
	if progress == nil {
		progress = func(string) {}
	}
	if err := s.createDatabase(ctx); err != nil {
		return fmt.Errorf("cannot create database: %w", err)
	}
	if s.clustered() {
		if err := s.checkCluster(ctx); err != nil {
			return fmt.Errorf("cannot use the cluster: %w", err)
		}
	}
	if err := s.define(ctx, sqlText("Migrate.create")); err != nil {
		return fmt.Errorf("cannot create table of migrations: %w", err)
	}
	applied, err := s.applied(ctx)
	if err != nil {
		return fmt.Errorf("cannot read which migrations were applied: %w", err)
	}
	newest := steps[len(steps)-1].version
	for version := range applied {
		if version > newest {
			return fmt.Errorf("cannot migrate the database from version %d to %d: %w; start the newer halfmask that wrote it, or restore a backup", version, newest, ErrNewer)
		}
	}
	for _, step := range steps {
		if applied[step.version] {
			continue
		}
		progress(fmt.Sprintf("migrating the database: step %d of %d (%s)", step.version, newest, step.name))
		if err := s.apply(ctx, step); err != nil {
			return fmt.Errorf("cannot apply migration %04d_%s (it is safe to try again): %w", step.version, step.name, err)
		}
	}
	if err := s.spread(ctx); err != nil {
		s.log.Warn("some replicas lack tables; they get them when they are back", "error", err)
	}
	return nil
}

// define runs a statement of the schema.
func (s *Store) define(ctx context.Context, sql string) error {
	if s.clustered() {
		sql = replicated(sql)
	}
	return s.exec(ctx, statement{name: "migrate", sql: sql})
}

func (s *Store) apply(ctx context.Context, step migration) error {
	for _, sql := range step.statements {
		if err := s.define(ctx, sql); err != nil {
			return err
		}
	}
	return s.insertRow(ctx, row{
		name:   "migrate",
		into:   "INSERT INTO migrations (version, name, applied)",
		values: []any{step.version, step.name, time.Now()},
	})
}

func (s *Store) applied(ctx context.Context) (map[uint32]bool, error) {
	versions := map[uint32]bool{}
	err := s.selectRows(ctx, s.writer, statement{name: "migrate", sql: sqlText("Migrate.applied")}, func(scan scanner) error {
		var v uint32
		if err := scan(&v); err != nil {
			return err
		}
		versions[v] = true
		return nil
	})
	return versions, err
}

// createDatabase does nothing if the database is there: a connection to one
// that is not fails before any statement, so it is made from outside.
func (s *Store) createDatabase(ctx context.Context) error {
	err := s.Ping(ctx)
	var f *Failure
	const unknownDatabase = 81
	if err == nil || !errors.As(err, &f) || f.Code != unknownDatabase {
		return err
	}
	o := s.options
	if s.hosts != nil {
		o.Dial = s.hosts.dial
	}
	outside, err := o.pool(o.Writer, "", 1, writerTimeout)
	if err != nil {
		return err
	}
	_, err = wait(ctx, s, "migrate", func(ctx context.Context) (struct{}, error) {
		defer func() { _ = outside.Close() }()
		return struct{}{}, outside.Exec(ctx, "CREATE DATABASE IF NOT EXISTS {name:Identifier}", clickhouse.Named("name", s.options.Database))
	}, nil)
	return err
}

// migrations reads the steps in order of their numbers, which must have no gap.
func migrations(files fs.FS) ([]migration, error) {
	paths, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		return nil, fmt.Errorf("cannot list migrations: %w", err)
	}
	var steps []migration
	for i, path := range paths {
		number, name, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(path, "migrations/"), ".sql"), "_")
		version, err := strconv.ParseUint(number, 10, 32)
		if !ok || err != nil || int(version) != i+1 {
			return nil, fmt.Errorf("cannot use migration %s: want %04d_name.sql here", path, i+1)
		}
		text, err := fs.ReadFile(files, path)
		if err != nil {
			return nil, fmt.Errorf("cannot read migration %s: %w", path, err)
		}
		steps = append(steps, migration{version: uint32(version), name: name, statements: statements(string(text))})
	}
	return steps, nil
}

// statements cuts a file at the semicolons that end a line.
func statements(text string) []string {
	var all []string
	for _, s := range strings.Split(text, ";\n") {
		if s = strings.TrimSpace(s); s != "" {
			all = append(all, s)
		}
	}
	return all
}
