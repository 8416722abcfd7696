package storage

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/halfmask/halfmask/internal/testkit"
)

func TestMigrateTwiceDoesNothingTheSecondTime(t *testing.T) {
	s := open(t)
	var told []string
	if err := s.Migrate(t.Context(), func(step string) { told = append(told, step) }); err != nil {
		t.Fatal(err)
	}
	if len(told) != 0 {
		t.Errorf("the second run applied %q", told)
	}
}

func TestMigrateTellsItsProgress(t *testing.T) {
	e, database := testkit.Database(t)
	s := openOn(t, e, database)
	var told []string
	if err := s.Migrate(t.Context(), func(step string) { told = append(told, step) }); err != nil {
		t.Fatal(err)
	}
	if len(told) == 0 || !strings.Contains(told[0], "step 1 of") {
		t.Errorf("told %q", told)
	}
}

func TestMigrateByManyAtOnce(t *testing.T) {
	e, database := testkit.Database(t)
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		s := openOn(t, e, database)
		wg.Go(func() { errs[i] = s.Migrate(t.Context(), nil) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	s := openOn(t, e, database)
	if n := ask[uint64](t, s, "SELECT count() FROM events"); n != 0 {
		t.Errorf("a new database holds %d events", n)
	}
}

func TestMigrateGoesOnAfterAnInterruption(t *testing.T) {
	e, database := testkit.Database(t)
	s := openOn(t, e, database)
	steps := []migration{
		{1, "good", []string{"CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = MergeTree ORDER BY x", "nonsense"}},
	}
	if err := s.migrate(t.Context(), steps, nil); err == nil {
		t.Fatal("a broken statement was applied")
	}
	steps[0].statements[1] = "CREATE TABLE IF NOT EXISTS b (x UInt8) ENGINE = MergeTree ORDER BY x"
	if err := s.migrate(t.Context(), steps, nil); err != nil {
		t.Fatal(err)
	}
	if n := ask[uint64](t, s, "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name IN ('a', 'b')"); n != 2 {
		t.Errorf("%d of 2 tables exist", n)
	}
}

func TestMigrateRefusesANewerDatabase(t *testing.T) {
	s := open(t)
	do(t, s, "INSERT INTO migrations VALUES (4000, 'future', now())")
	err := s.Migrate(t.Context(), nil)
	if !errors.Is(err, ErrNewer) {
		t.Fatalf("got %v, want ErrNewer", err)
	}
	if !strings.Contains(err.Error(), "4000") {
		t.Errorf("%q does not name the database's version", err)
	}
}

func TestMigrationFilesAreNumberedWithoutGaps(t *testing.T) {
	if _, err := migrations(migrationFiles); err != nil {
		t.Error(err)
	}
	for _, names := range [][]string{{"0002_b.sql"}, {"0001_a.sql", "0003_c.sql"}, {"first.sql"}} {
		files := fstest.MapFS{}
		for _, name := range names {
			files["migrations/"+name] = &fstest.MapFile{Data: []byte("SELECT 1;\n")}
		}
		if _, err := migrations(files); err == nil {
			t.Errorf("%v were taken", names)
		}
	}
}

func TestParseDSN(t *testing.T) {
	const secret = "s3cr:t"
	o, err := ParseDSN("clickhouse://me:s3cr%3At@a.example/stats?secure=true&reader=dash&reader_password=x", "")
	if err != nil {
		t.Fatal(err)
	}
	if want := (Credentials{"me", secret}); o.Writer != want {
		t.Error("writer's credentials are wrong")
	}
	if o.Reader != (Credentials{"dash", "x"}) || o.Database != "stats" || o.TLS == nil {
		t.Errorf("got %v", o)
	}
	if got := fmt.Sprint(o.Addr); got != "[a.example:9440]" {
		t.Errorf("addresses are %s", got)
	}
	if got := fmt.Sprintf("%v %+v %#v", o, o, o.Writer); strings.Contains(got, secret) {
		t.Errorf("printing options shows the password: %s", got)
	}
}

func TestParseDSNRefuses(t *testing.T) {
	for _, dsn := range []string{
		"", "clickhouse://", "http://u:hunter2@h", "clickhouse://u:hunter2@h/%zz",
		"clickhouse://u:hunter2@h?secure=perhaps", "clickhouse://u:hunter2@h?skip_verify=true",
		"clickhouse://u:hunter2@h?hunter2=1", "clickhouse://u:hun\nter2@h", "clickhouse://u:hunter2@h?reader_password=hunter2",
		"clickhouse://u:hunter2/@h", "clickhouse://h,/db", "clickhouse://u:hunter2@a.example,b.example/db",
		"clickhouse://u:hunter2@h:hunter2/db", "clickhouse://u:hunter2@h?quorum=1", "clickhouse://u:hunter2@a b/db", "clickhouse://u:hunter2@h:9000:9000/db",
	} {
		_, err := ParseDSN(dsn, "")
		if err == nil {
			t.Errorf("%q was taken", dsn)
		} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "ter2") {
			t.Errorf("%q tells the password: %v", dsn, err)
		}
	}
}

func TestParseDSNOfACluster(t *testing.T) {
	o, err := ParseDSN("clickhouse://me:a%40b%2Cc@one.example:9001,two.example,[::1]:9003/stats?quorum=2", "blue")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(o.Addr); got != "[one.example:9001 two.example:9000 [::1]:9003]" {
		t.Errorf("addresses are %s", got)
	}
	if o.Cluster != "blue" || o.Quorum != 2 || o.Database != "stats" || o.Writer.Password != "a@b,c" {
		t.Error("cluster, quorum, database or password is wrong")
	}
	for _, dsn := range []string{"clickhouse://u:hunter2@a,,b/db", "clickhouse://u:hunter2@a,b/db?quorum=3", "clickhouse://u:hunter2@a,b/db?quorum=0", "clickhouse://u:hunter2@a,b/db?quorum=auto"} {
		if _, err := ParseDSN(dsn, "blue"); err == nil {
			t.Errorf("%q was taken", dsn)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q tells the password: %v", dsn, err)
		}
	}
}

func TestReplicatedTables(t *testing.T) {
	steps, err := migrations(migrationFiles)
	if err != nil {
		t.Fatal(err)
	}
	all := []string{sqlText("Migrate.create")}
	for _, step := range steps {
		all = append(all, step.statements...)
	}
	for _, sql := range all {
		got := replicated(sql)
		if !strings.Contains(sql, "CREATE TABLE IF NOT EXISTS") {
			t.Errorf("a migration is not a table that each replica can make for itself: %s", sql)
		}
		memory := strings.Contains(sql, "ENGINE = Memory")
		if n := strings.Count(got, "ENGINE = Replicated"); n != 1 && !memory {
			t.Errorf("%d engines replicate in\n%s", n, got)
		}
		if strings.Contains(got, "non_replicated") || strings.Contains(sql, "non_replicated") != strings.Contains(got, " replicated_deduplication_window = ") {
			t.Errorf("the window for tokens is wrong in\n%s", got)
		}
	}
}
