package testkit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/halfmask/halfmask/storage/engine"
)

// databases is how many tests of one binary can have a database of their own.
const databases = 300

// shared is the test binary's one engine.
var shared sharedEngine

type sharedEngine struct {
	mu     sync.Mutex
	engine *engine.Engine
	err    error
	dir    string
	used   int
}

// Engine returns the test binary's engine, which all its tests share. It is
// started by the first that asks and stopped by Main. Do not close it, and do not
// kill its child: NewEngine is for that. Without an engine's library the test
// fails and says what to run.
func Engine(t testing.TB) *engine.Engine {
	t.Helper()
	e, err := shared.get()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Database returns the shared engine and the name of an empty database that is
// the test's own: both of the engine's users have their rights in it, as in the
// real one.
func Database(t testing.TB) (e *engine.Engine, name string) {
	t.Helper()
	e = Engine(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.used == databases {
		t.Fatalf("more than %d tests want a database: raise testkit's limit", databases)
	}
	name = databaseName(shared.used)
	shared.used++
	return e, name
}

func databaseName(i int) string { return fmt.Sprintf("test_%03d", i) }

// NewEngine starts an engine of the test's own in dir, with the usual database
// "halfmask", and closes it at the test's end: for tests that kill or restart it.
func NewEngine(t testing.TB, dir string) *engine.Engine {
	t.Helper()
	library, err := Library()
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(t.Context(), engine.Options{Library: library, Dir: dir, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closeEngine(e); err != nil {
			t.Error(err)
		}
	})
	return e
}

// Library finds the engine's library: $HALFMASK_ENGINE, or where `make engine`
// puts it.
func Library() (string, error) {
	if !hooked {
		return "", errors.New("the package needs: func TestMain(m *testing.M) { testkit.Main(m) }")
	}
	explicit := os.Getenv("HALFMASK_ENGINE")
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	return engine.Find(explicit, filepath.Join(root, "bin"))
}

// moduleRoot is the nearest folder above that holds go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the test's folder")
		}
		dir = up
	}
}

func (s *sharedEngine) get() (*engine.Engine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engine == nil && s.err == nil {
		s.engine, s.err = s.start()
	}
	return s.engine, s.err
}

func (s *sharedEngine) start() (*engine.Engine, error) {
	library, err := Library()
	if err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "halfmask-test-engine-"); err != nil {
		return nil, err
	}
	names := make([]string, databases)
	for i := range names {
		names[i] = databaseName(i)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return engine.Open(ctx, engine.Options{
		Library: library, Dir: s.dir, MoreDatabases: names,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
}

func (s *sharedEngine) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engine != nil {
		_ = closeEngine(s.engine)
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

// closeEngine gives the engine the five seconds it takes to drop connections that
// a test left open, and some more.
func closeEngine(e *engine.Engine) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return e.Close(ctx)
}
