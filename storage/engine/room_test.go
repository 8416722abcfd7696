package engine_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/halfmask/halfmask/internal/testkit"
	"github.com/halfmask/halfmask/storage/engine"
)

// TestAFullDiskIsNotTrusted: while the disk is full inserts are refused and nothing
// counts as safe; once it has room, what was acknowledged is asked about again,
// because the engine is another run then.
func TestAFullDiskIsNotTrusted(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=160m,mode=0700"); err != nil {
		t.Skipf("cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	library, err := testkit.Library()
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Tuned(t.Context(), engine.Options{Library: library, Dir: filepath.Join(disk, "engine")}, engine.Clock{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(context.Background())
	writer := connect(t, e, e.Writer(), "halfmask")
	exec(t, writer, "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n", "INSERT INTO t VALUES (1)")
	if err := e.Sync(); err != nil {
		t.Fatalf("with room: %v", err)
	}
	epoch := e.Epoch()

	balloon := filepath.Join(disk, "balloon")
	if err := os.WriteFile(balloon, make([]byte, 120<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "an insert into a full disk", writer.Exec(context.Background(), "INSERT INTO t VALUES (2)"), 243)
	var refused *clickhouse.Exception
	if err := e.Sync(); !errors.Is(err, engine.ErrShort) || errors.As(err, &refused) {
		t.Errorf("a full disk counts as synced: %v", err)
	}
	if e.Epoch() != epoch {
		t.Error("it was replaced while the disk is full")
	}
	if err := os.Remove(balloon); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the engine is replaced and trusted", func() bool { return e.Up() && e.Epoch() != epoch && e.Sync() == nil })
	eventually(t, "an insert is taken", func() bool { return writer.Exec(context.Background(), "INSERT INTO t VALUES (3)") == nil })
	if n := count(t, writer, "t"); n != 2 {
		t.Errorf("%d rows, want the 2 that were acknowledged", n)
	}
}
