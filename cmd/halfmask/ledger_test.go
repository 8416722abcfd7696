package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/halfmask/halfmask/ingest/ledger"
	"github.com/halfmask/halfmask/internal/testkit"
)

// books runs 'halfmask ledger' and returns the page and the exit status.
func books(t *testing.T, data string, args ...string) (b ledger.Balance, status int) {
	t.Helper()
	status, out, stderr := try(t, "", append([]string{"ledger", "--json", "--data", data}, args...)...)
	if err := json.Unmarshal([]byte(out), &b); err != nil {
		t.Fatalf("%v: %s%s", err, out, stderr)
	}
	return b, status
}

func TestTheLedgerNoticesWhatIsLost(t *testing.T) {
	server, data := testkit.NewEngine(t, t.TempDir()), filepath.Join(t.TempDir(), "data")
	own := []string{"--clickhouse", dsn(t, server)}
	if status, _, stderr := try(t, "", "ledger", "--data", filepath.Join(data, "none")); status != 1 || !strings.Contains(stderr, "data folder") {
		t.Errorf("without a data folder: status %d, %s", status, stderr)
	}
	addSite(t, data, dsn(t, server))
	if status, _, stderr := try(t, "", "ledger", "--data", data); status != 1 || !strings.Contains(stderr, "halfmask serve") {
		t.Errorf("without books: status %d, %s", status, stderr)
	}

	s := serve(t, data, append(own, "--batch-interval", "10ms")...)
	for range 3 {
		s.view(t, "/")
	}
	eventually(t, "all is stored", func() bool { return s.metric(t, "halfmask_ledger_stored_events_total") == "3" })
	if b, status := books(t, data, "--verify"); status != 0 || b.Received["event"] != 3 || b.Stored != 3 || b.Storage.Found != 3 {
		t.Errorf("beside the server: status %d, %+v", status, b)
	}
	if residue := s.metric(t, "halfmask_ledger_residue_events"); residue != "0" {
		t.Errorf("a residue of %s", residue)
	}

	// Rows are deleted behind Halfmask's back.
	db := clickhouse.OpenDB(options(t, dsn(t, server)))
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "ALTER TABLE events DELETE WHERE 1 SETTINGS mutations_sync = 2"); err != nil {
		t.Fatal(err)
	}
	if b, status := books(t, data, "--verify"); status != 1 || b.Storage.Missing != 3 {
		t.Errorf("after rows were deleted: status %d, %+v", status, b)
	}
	if residue := s.metric(t, "halfmask_ledger_residue_events"); residue != "3" {
		t.Errorf("after rows were deleted, a residue of %s", residue)
	}
	if status, out, stderr := try(t, "", "ledger", "--data", data); status != 1 || !strings.Contains(out, "lacks 3 of the 3") || !strings.Contains(stderr, "--write-off") {
		t.Errorf("status %d:\n%s%s", status, out, stderr)
	}
	if status := s.end(t); status != 0 {
		t.Fatal(status)
	}
	if _, status := books(t, data, append(own, "--write-off")...); status != 0 {
		t.Errorf("writing off without a server: status %d", status)
	}
	if b, status := books(t, data, append(own, "--verify")...); status != 0 || b.Stored != 3 || b.Deleted != 3 {
		t.Errorf("after writing off: status %d, %+v", status, b)
	}

	// A segment is deleted while storage is away.
	s = serve(t, data, "--clickhouse", nowhere)
	s.view(t, "/")
	s.view(t, "/")
	if status := s.end(t); status != 0 {
		t.Fatal(status)
	}
	if b, status := books(t, data); status != 0 || b.Spooled != 2 {
		t.Errorf("without a server, from the file: status %d, %+v", status, b)
	}
	segments, err := filepath.Glob(filepath.Join(data, spoolFolder, "*.seg"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	for _, file := range segments {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if b, status := books(t, data); status != 1 || b.Residue != 2 {
		t.Errorf("without a server, after a loss: status %d, %+v", status, b)
	}
	s = serve(t, data, own...)
	if residue := s.metric(t, "halfmask_ledger_residue_events"); residue != "2" {
		t.Errorf("after the start, a residue of %s", residue)
	}
}

// A site that is removed takes its events along; that is no loss.
func TestTheLedgerKnowsOfRemovedSites(t *testing.T) {
	server, data := testkit.NewEngine(t, t.TempDir()), filepath.Join(t.TempDir(), "data")
	addSite(t, data, dsn(t, server))
	s := serve(t, data, "--clickhouse", dsn(t, server), "--batch-interval", "10ms")
	s.view(t, "/")
	eventually(t, "all is stored", func() bool { return s.metric(t, "halfmask_ledger_stored_events_total") == "1" })
	if _, status := books(t, data, "--verify"); status != 0 {
		t.Errorf("before: status %d", status)
	}
	if status, _, stderr := try(t, "", "site", "remove", "--yes", "example.com", "--data", data); status != 0 {
		t.Fatal(stderr)
	}
	eventually(t, "the books know", func() bool { return s.metric(t, "halfmask_ledger_deleted_events_total") == "1" })
	if b, status := books(t, data, "--verify"); status != 0 || b.Storage.Expected != 0 {
		t.Errorf("after: status %d, %+v", status, b)
	}
}

func options(t *testing.T, dsn string) *clickhouse.Options {
	t.Helper()
	o, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return o
}
