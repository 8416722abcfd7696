package storage

import (
	"context"
	"os"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/halfmask/halfmask/collector/anonymize"
	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/batch"
	"github.com/halfmask/halfmask/internal/testkit"
	"github.com/halfmask/halfmask/internal/testkit/cluster"
	"github.com/halfmask/halfmask/storage/engine"
)

// The seams that other rooms declare.
var (
	_ batch.Sink          = (*Store)(nil)
	_ anonymize.SaltStore = (*Store)(nil)
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == cluster.ChildCommand {
		os.Exit(cluster.Main(os.Args[2:]))
	}
	testkit.Main(m)
}

// open returns a migrated store over a database of the test's own, on the
// engine that the package's tests share.
func open(t testing.TB) *Store {
	t.Helper()
	e, database := testkit.Database(t)
	s := openOn(t, e, database)
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func openOn(t testing.TB, e *engine.Engine, database string) *Store {
	t.Helper()
	s, err := Open(t.Context(), options(e, database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func options(e *engine.Engine, database string) Options {
	return Options{
		Dial:     e.Dial,
		Database: database,
		Writer:   Credentials(e.Writer()),
		Reader:   Credentials(e.Reader()),
		Epoch:    e.Epoch,
		Sync:     e.Sync,
	}
}

// ask returns the one value that a SELECT gives the writer.
func ask[T any](t testing.TB, s *Store, sql string) T {
	t.Helper()
	var v T
	if err := s.writer.QueryRow(context.WithoutCancel(t.Context()), sql).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// do runs a command as the writer.
func do(t testing.TB, s *Store, sql string) {
	t.Helper()
	if err := s.exec(t.Context(), statement{name: "test", sql: sql}); err != nil {
		t.Fatal(err)
	}
}

// borrowed is a string over memory that its owner will overwrite.
func borrowed(b []byte) string { return unsafe.String(&b[0], len(b)) }

func contains(s, part string) bool { return strings.Contains(s, part) }

func equal(a, b *event.Event) bool { return reflect.DeepEqual(a, b) }

func TestAClosedStoreSaysSo(t *testing.T) {
	e, database := testkit.Database(t)
	s, err := Open(t.Context(), options(e, database))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err == nil || !contains(err.Error(), "closed") {
		t.Errorf("after Close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing it again: %v", err)
	}
}
