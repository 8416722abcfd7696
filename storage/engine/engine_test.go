package engine_test

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/halfmask/halfmask/internal/testkit"
	"github.com/halfmask/halfmask/storage/engine"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == parentCommand {
		parent(os.Args[2], os.Args[3])
	}
	testkit.Main(m)
}

// connect logs in to e, whichever child it has at the time.
func connect(t *testing.T, e *engine.Engine, as engine.Credentials, database string) driver.Conn {
	t.Helper()
	conn, err := clickhouse.Open(&clickhouse.Options{
		Addr:        []string{"engine"},
		Auth:        clickhouse.Auth{Username: as.User, Password: as.Password, Database: database},
		DialContext: func(ctx context.Context, _ string) (net.Conn, error) { return e.Dial(ctx) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func exec(t *testing.T, conn driver.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if err := conn.Exec(context.Background(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func count(t *testing.T, conn driver.Conn, table string) uint64 {
	t.Helper()
	var n uint64
	if err := conn.QueryRow(context.Background(), "SELECT count() FROM "+table).Scan(&n); err != nil {
		t.Fatalf("count %s: %v", table, err)
	}
	return n
}

// eventually waits for something another process does.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// wantCode fails unless err is the engine's exception with one of the codes.
func wantCode(t *testing.T, what string, err error, codes ...int32) {
	t.Helper()
	exception, _ := err.(*clickhouse.Exception)
	if exception == nil {
		t.Errorf("%s: got %v, want a refusal with one of the codes %v", what, err, codes)
		return
	}
	for _, c := range codes {
		if exception.Code == c {
			return
		}
	}
	t.Errorf("%s: refused with code %d (%s), want one of %v", what, exception.Code, exception.Message, codes)
}

func TestOpenAnswers(t *testing.T) {
	e, database := testkit.Database(t)
	if !e.Up() || e.PID() == 0 || len(e.Epoch()) != 16 {
		t.Errorf("Up %v, PID %d, Epoch %q", e.Up(), e.PID(), e.Epoch())
	}
	conn := connect(t, e, e.Writer(), database)
	exec(t, conn,
		"CREATE TABLE events (ts DateTime('UTC'), n UInt8) ENGINE = MergeTree PARTITION BY toDate(ts) ORDER BY ts",
		"INSERT INTO events VALUES (now(), 1), (now(), 2)")
	if n := count(t, conn, "events"); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
	if err := e.Sync(); err != nil {
		t.Error(err)
	}
}

func TestOpenExplains(t *testing.T) {
	library, err := testkit.Library()
	if err != nil {
		t.Fatal(err)
	}
	notALibrary := t.TempDir() + "/libchdb.so"
	if err := os.WriteFile(notALibrary, []byte("no"), 0o600); err != nil {
		t.Fatal(err)
	}
	program := t.TempDir() + "/clickhouse"
	script := "#!/bin/sh\necho \"Code: 1. DB::Exception: I was called as $1 ${2%%=*} ${3%%=*}\" >&2\nexit 3\n"
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		options engine.Options
		want    string
	}{
		"no library":      {engine.Options{Dir: t.TempDir()}, "make engine"},
		"missing library": {engine.Options{Library: "/nowhere/libchdb.so", Dir: t.TempDir()}, "not at /nowhere/libchdb.so: run `make engine`"},
		"broken library":  {engine.Options{Library: notALibrary, Dir: t.TempDir()}, "cannot load the engine's library"},
		"broken program":  {engine.Options{Library: program, Dir: t.TempDir()}, "I was called as local --config-file --query"},
		"no folder":       {engine.Options{Library: library}, "no data folder"},
		"bad database":    {engine.Options{Library: library, Dir: t.TempDir(), Database: "a;b"}, "database name"},
		"bad retention":   {engine.Options{Library: library, Dir: t.TempDir(), Retention: "1 DAY) OR (1"}, "retention"},
		"no memory":       {engine.Options{Library: library, Dir: t.TempDir(), MemoryLimit: 1 << 20}, "256 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := engine.Open(t.Context(), c.options)
			if err == nil {
				_ = e.Close(t.Context())
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
		})
	}
}

func TestOpenGivesUpWithItsContext(t *testing.T) {
	library, err := testkit.Library()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if e, err := engine.Open(ctx, engine.Options{Library: library, Dir: dir}); err == nil {
		_ = e.Close(t.Context())
		t.Fatal("started under an ended context")
	}
	testkit.NewEngine(t, dir) // and left nothing behind that holds the folder
}

func TestCloseTwice(t *testing.T) {
	dir := t.TempDir()
	e := testkit.NewEngine(t, dir)
	writer := connect(t, e, e.Writer(), "halfmask")
	exec(t, writer, "CREATE TABLE t (n UInt8) ENGINE = MergeTree ORDER BY n", "INSERT INTO t VALUES (1)")
	writer.Close()
	pid := e.PID()
	for i := range 2 {
		if err := e.Close(t.Context()); err != nil {
			t.Errorf("close %d: %v", i, err)
		}
	}
	if alive(pid) {
		t.Error("the child is still there")
	}
	if e.Up() || e.PID() != 0 || e.Epoch() != "" {
		t.Errorf("after Close: Up %v, PID %d, Epoch %q", e.Up(), e.PID(), e.Epoch())
	}
	if _, err := e.Dial(t.Context()); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("dial after close: %v", err)
	}
	again := testkit.NewEngine(t, dir)
	if again.Writer() == e.Writer() || again.Reader() == e.Reader() {
		t.Error("the passwords of a new Open are the old ones")
	}
	if n := count(t, connect(t, again, again.Writer(), "halfmask"), "t"); n != 1 {
		t.Errorf("%d rows after reopening, want 1", n)
	}
}

func TestCloseKillsAHungChild(t *testing.T) {
	e := testkit.NewEngine(t, t.TempDir())
	pid := e.PID()
	stopProcess(t, pid)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Close(ctx); err != nil {
		t.Error(err)
	}
	if alive(pid) {
		t.Error("the hung child survived Close")
	}
}

func TestSecondOwnerOfTheFolder(t *testing.T) {
	dir := t.TempDir()
	testkit.NewEngine(t, dir)
	library, _ := testkit.Library()
	e, err := engine.Tuned(t.Context(), engine.Options{Library: library, Dir: dir}, engine.Clock{})
	if err == nil {
		_ = e.Close(t.Context())
		t.Fatal("two engines own one folder")
	}
	if want := fmt.Sprintf("another process uses the engine's data folder %s", dir); !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not say %q", err, want)
	}
}

// TestOpenTellsOfADamagedFolder guards against an engine that, instead of ending,
// waits for somebody at its terminal.
func TestOpenTellsOfADamagedFolder(t *testing.T) {
	dir := t.TempDir()
	e := testkit.NewEngine(t, dir)
	writer := connect(t, e, e.Writer(), "halfmask")
	exec(t, writer, "CREATE TABLE t (n UInt8) ENGINE = MergeTree ORDER BY n")
	writer.Close()
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	damaged := 0
	err := filepath.WalkDir(filepath.Join(dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Base(path) == "t.sql" {
			damaged++
			return os.Truncate(path, 0)
		}
		return err
	})
	if err != nil || damaged != 1 {
		t.Fatalf("damaged %d files: %v", damaged, err)
	}
	library, _ := testkit.Library()
	e, err = engine.Open(t.Context(), engine.Options{Library: library, Dir: dir})
	if err == nil {
		_ = e.Close(t.Context())
		t.Fatal("started on a damaged folder")
	}
	for _, want := range []string{"damaged", "restore a backup", "Code: ", "t.sql"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}
