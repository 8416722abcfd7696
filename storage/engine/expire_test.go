package engine_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfmask/halfmask/internal/testkit"
	"github.com/halfmask/halfmask/storage/engine"
)

// TestTheEngineDeletesNothingByAge starts an engine over rows that its clock calls
// expired, whether that clock is ahead without a reason or not: to delete is the
// janitor's, who asks for the doubt.
func TestTheEngineDeletesNothingByAge(t *testing.T) {
	library, err := testkit.Library()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ahead, vouched := time.Duration(0), false
	clock := engine.Clock{
		Now:    func() time.Time { return time.Now().Add(ahead) },
		Uptime: func() (string, time.Duration) { return "a boot", time.Duration(time.Now().UnixNano()) },
		Synced: func() bool { return vouched },
	}
	open := func() *engine.Engine {
		t.Helper()
		e, err := engine.Tuned(t.Context(), engine.Options{Library: library, Dir: dir}, clock)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close(t.Context()) })
		return e
	}
	e := open()
	if e.ClockDoubt() != 0 {
		t.Fatalf("doubt of %v at the first start", e.ClockDoubt())
	}
	_ = e.Close(t.Context())

	ahead = 200 * 24 * time.Hour
	const rows, table = 60, "t"
	for i := range 3 {
		e = open()
		if d := e.ClockDoubt(); d < 199*24*time.Hour {
			t.Fatalf("doubt of %v, want 200 days", d)
		}
		writer := connect(t, e, e.Writer(), "halfmask")
		if i == 0 {
			exec(t, writer,
				"CREATE TABLE t (ts DateTime('UTC'), n UInt64) ENGINE = MergeTree PARTITION BY toMonth(ts) ORDER BY n "+
					"TTL toStartOfDay(ts) + INTERVAL 3 MONTH DELETE SETTINGS ttl_only_drop_parts = 1, merge_with_ttl_timeout = 0",
				"SYSTEM STOP TTL MERGES t", // the boot script could not yet
				"INSERT INTO t SELECT now() - INTERVAL (100 + number) DAY, number FROM numbers(30)",
				"INSERT INTO t SELECT now() - INTERVAL (100 + number) DAY, number FROM numbers(30)")
		}
		exec(t, writer, "OPTIMIZE TABLE t FINAL") // which would delete them
		if n := count(t, writer, table); n != rows {
			t.Fatalf("start %d: %d of %d rows left", i, n, rows)
		}
		writer.Close()
		_ = e.Close(t.Context())
	}

	vouched = true
	e = open()
	if e.ClockDoubt() != 0 {
		t.Fatalf("doubt of %v in a clock that is vouched for", e.ClockDoubt())
	}
	writer := connect(t, e, e.Writer(), "halfmask")
	exec(t, writer, "OPTIMIZE TABLE t FINAL")
	if n := count(t, writer, table); n != rows {
		t.Errorf("the engine itself deleted %d expired rows", rows-n)
	}
	exec(t, writer, "ALTER TABLE t DELETE WHERE 1 SETTINGS mutations_sync = 2") // as the janitor may
	if n := count(t, writer, table); n != 0 {
		t.Errorf("%d rows cannot be deleted at all", n)
	}
	writer.Close()
}

// TestAClockThatJumpsDeletesNothing has the jump happen while the engine runs.
func TestAClockThatJumpsDeletesNothing(t *testing.T) {
	library, err := testkit.Library()
	if err != nil {
		t.Fatal(err)
	}
	var ahead atomic.Int64
	clock := engine.Clock{
		Now:    func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
		Uptime: func() (string, time.Duration) { return "a boot", time.Duration(time.Now().UnixNano()) },
		Synced: func() bool { return false },
	}
	said := make(said, 100)
	e, err := engine.Tuned(t.Context(), engine.Options{Library: library, Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(said, nil))}, clock)
	if err != nil {
		t.Fatal(err)
	}
	writer := connect(t, e, e.Writer(), "halfmask")
	t.Cleanup(func() { writer.Close(); _ = e.Close(context.Background()) })
	exec(t, writer,
		"CREATE TABLE t (ts DateTime('UTC'), n UInt64) ENGINE = MergeTree ORDER BY n TTL ts + INTERVAL 3 MONTH DELETE",
		"SYSTEM STOP MERGES t", // until the engine has noticed
		"INSERT INTO t SELECT now() - INTERVAL (100 + number) DAY, number FROM numbers(30)")
	ahead.Store(int64(200 * 24 * time.Hour))
	for line := range said {
		if strings.Contains(line, "deletion by age is stopped") {
			break
		}
	}
	exec(t, writer, "SYSTEM START MERGES t", "OPTIMIZE TABLE t FINAL")
	if n := count(t, writer, "t"); n != 30 {
		t.Errorf("%d of 30 rows left", n)
	}
	if e.ClockDoubt() == 0 {
		t.Error("the jump is not told")
	}
}

// said hands on what is logged.
type said chan string

func (s said) Write(p []byte) (int, error) {
	s <- string(p)
	return len(p), nil
}
