package ledger

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/spool"
)

// shelf stands for storage: what it holds of each day.
type shelf struct {
	kept    map[event.Day]uint64
	removed bool
	except  []uint64
}

func (s *shelf) Kept(_ context.Context, _, _ uint64, except []uint64) (map[event.Day]uint64, error) {
	s.except = except
	return s.kept, nil
}

func (s *shelf) RemovedSince(context.Context, time.Time) (bool, error) { return s.removed, nil }

func TestAudit(t *testing.T) {
	d := sit(t, t.TempDir(), "one")
	d.take(10)
	g := d.next()
	days := map[event.Day]uint64{today: 6, today - 1: 3, today - 400: 1}
	if err := d.ledger.Settled(g.Seq, days, 0, func() error { return d.spool.Settle(g.Seq) }); err != nil {
		t.Fatal(err)
	}
	d.take(2)
	waiting := d.next() // may be in storage, is not booked
	s := &shelf{kept: map[event.Day]uint64{today: 6, today - 1: 3}}
	audit := func(missing int64) {
		t.Helper()
		c, err := d.ledger.Audit(t.Context(), s)
		if err != nil || c.Missing != missing {
			t.Errorf("storage lacks %d, %v; want %d", c.Missing, err, missing)
		}
		if b := d.ledger.Balance(); b.Off() != abs(missing) {
			t.Errorf("off by %d, want %d", b.Off(), missing)
		}
	}
	audit(0) // the day that was dropped for its age does not matter
	if fmt.Sprint(s.except) != fmt.Sprint([]uint64{waiting.Seq}) {
		t.Errorf("asked for all but %v, want all but %d", s.except, waiting.Seq)
	}
	s.kept[today] = 4
	audit(2)
	s.removed = true
	audit(0)
	s.removed = false
	audit(0)
	s.kept[today-1] = 5
	audit(-2)
	if _, err := d.ledger.WriteOff(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	audit(0)
	s.kept[today] = 1
	audit(3)
	if _, err := d.ledger.WriteOff(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	audit(0)
	if b := d.ledger.Balance(); b.Deleted != 5 || b.WrittenOff != 0 || b.Residue != 0 {
		t.Errorf("the books: %+v", b)
	}
	dir := d.killed()
	d = sit(t, dir, "one")
	audit(0)
}

func TestMetrics(t *testing.T) {
	d := sit(t, t.TempDir(), "one")
	registry := prometheus.NewRegistry()
	l, err := Open(Options{File: filepath.Join(t.TempDir(), "ledger"), Spool: d.spool, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	received := l.Counter(Received, "event", prometheus.NewDesc("received_total", "In.", []string{"endpoint"}, nil))
	accepted := l.Counter(Accepted, "", prometheus.NewDesc("accepted_total", "Taken.", nil, nil))
	for range 3 {
		received.Inc()
		d.append()
	}
	accepted.Inc()
	want := `
# HELP accepted_total Taken.
# TYPE accepted_total counter
accepted_total 1
# HELP halfmask_ledger_in_flight_events Events received that are not answered yet.
# TYPE halfmask_ledger_in_flight_events gauge
halfmask_ledger_in_flight_events 2
# HELP halfmask_ledger_residue_events Events that the books cannot account for, whichever way, storage included: must be 0.
# TYPE halfmask_ledger_residue_events gauge
halfmask_ledger_residue_events 0
# HELP received_total In.
# TYPE received_total counter
received_total{endpoint="event"} 3
received_total{endpoint="recovered"} 0
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want),
		"accepted_total", "received_total", "halfmask_ledger_in_flight_events", "halfmask_ledger_residue_events"); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if all, err := registry.Gather(); err != nil || len(all) != 0 {
		t.Errorf("closed books show %d metrics, %v", len(all), err)
	}
}

func BenchmarkInc(b *testing.B) {
	dir := b.TempDir()
	s, err := spool.Open(spool.Options{Dir: filepath.Join(dir, "spool")})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	l, err := Open(Options{File: filepath.Join(dir, "ledger"), Spool: s})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	c := l.Counter(Received, "event", nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Inc()
		}
	})
}

func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	s, err := spool.Open(spool.Options{Dir: filepath.Join(dir, "spool"), SegmentBytes: 64 << 10})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	open := func(file string) (*Ledger, error) { return Open(Options{File: file, Spool: s, boot: "one"}) }
	l, err := open(filepath.Join(dir, "ledger"))
	if err != nil {
		f.Fatal(err)
	}
	l.Counter(Received, "event", nil).Inc()
	if err := l.Close(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, "ledger"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(0, []byte{1})
	f.Add(cellsAt, []byte("xyz"))
	f.Add(copiesAt+copyLen, []byte{0, 0, 0, 0, 0, 0, 0, 0, 255})
	f.Fuzz(func(t *testing.T, at int, bytes []byte) {
		data := append([]byte(nil), whole...)
		if at >= 0 && at < len(data) {
			copy(data[at:], bytes)
		}
		file := filepath.Join(t.TempDir(), "ledger")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := open(file)
		if err != nil {
			t.Fatalf("damaged books keep the program from starting: %v", err)
		}
		l.Balance()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}
