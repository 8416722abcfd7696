package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/spool"
)

// desk is a folder with a real spool and its books.
type desk struct {
	t        *testing.T
	dir      string
	spool    *spool.Spool
	ledger   *Ledger
	received *Cell
	accepted *Cell
	bots     *Cell
}

var today = event.DayOf(time.Now(), time.UTC)

// sit opens the books of a folder.
func sit(t *testing.T, dir, boot string) *desk {
	t.Helper()
	s, err := spool.Open(spool.Options{Dir: filepath.Join(dir, "spool"), SegmentBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	l, err := Open(Options{File: filepath.Join(dir, "ledger"), Spool: s, MaxInFlight: 10, boot: boot})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &desk{
		t: t, dir: dir, spool: s, ledger: l,
		received: l.Counter(Received, "event", nil), accepted: l.Counter(Accepted, "", nil), bots: l.Counter(Dropped, "bot", nil),
	}
}

// take lets n events through the door.
func (d *desk) take(n int) {
	d.t.Helper()
	for range n {
		d.received.Inc()
		d.append()
		d.accepted.Inc()
	}
}

func (d *desk) append() {
	d.t.Helper()
	if err := d.spool.Append([]byte("an event")); err != nil {
		d.t.Fatal(err)
	}
}

// next seals what there is and hands it out.
func (d *desk) next() *spool.Segment {
	d.t.Helper()
	d.spool.Seal()
	g, err := d.spool.Next(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return g
}

// store stores and settles everything that waits.
func (d *desk) store() {
	d.t.Helper()
	for events, _ := d.spool.Pending(); events > 0; events, _ = d.spool.Pending() {
		d.settle(d.next())
	}
}

func (d *desk) settle(g *spool.Segment) {
	d.t.Helper()
	err := d.ledger.Settled(g.Seq, map[event.Day]uint64{today: uint64(g.Count)}, 0, func() error { return d.spool.Settle(g.Seq) })
	if err != nil {
		d.t.Fatal(err)
	}
}

// killed is the folder as a kill -9 would leave it now: what is in the page
// cache, mapped or written.
func (d *desk) killed() string {
	d.t.Helper()
	dir := d.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(d.dir)); err != nil {
		d.t.Fatal(err)
	}
	return dir
}

func (d *desk) close() {
	d.t.Helper()
	if err := errors.Join(d.ledger.Close(), d.spool.Close()); err != nil {
		d.t.Fatal(err)
	}
}

// is compares a page with "received stored spooled quarantined interrupted
// written-off in-flight residue".
func (d *desk) is(want string) {
	d.t.Helper()
	b := d.ledger.Balance()
	got := fmt.Sprint(b.Received.Total(), b.Stored, b.Spooled, b.Quarantined, b.Interrupted, b.WrittenOff, b.InFlight, b.Residue)
	if got != want {
		d.t.Errorf("the books say %s, want %s", got, want)
	}
}

func TestTheBooksFollowAnEvent(t *testing.T) {
	d := sit(t, t.TempDir(), "one")
	d.is("0 0 0 0 0 0 0 0")
	d.take(5)
	d.received.Inc()
	d.is("6 0 5 0 0 0 1 0")
	d.bots.Inc()
	d.is("6 0 5 0 0 0 0 0")
	d.store()
	d.take(3)
	d.is("9 5 3 0 0 0 0 0")
	g := d.next()
	if err := d.ledger.Quarantined(g.Seq, 3, func() error { return d.spool.Quarantine(g.Seq) }); err != nil {
		t.Fatal(err)
	}
	d.is("9 5 0 3 0 0 0 0")
	d.close()
	d = sit(t, d.dir, "one")
	d.is("9 5 0 3 0 0 0 0")
	if got := d.ledger.Balance().Dropped["bot"]; got != 1 {
		t.Errorf("%d bots survived the restart, want 1", got)
	}
	// Moved back by hand, it is taken anew.
	d.close()
	name := fmt.Sprintf("%016x.seg", g.Seq)
	if err := os.Rename(filepath.Join(d.dir, "spool", "quarantine", name), filepath.Join(d.dir, "spool", name)); err != nil {
		t.Fatal(err)
	}
	d = sit(t, d.dir, "one")
	d.is("9 5 0 3 0 0 0 0")
	d.store()
	d.is("9 8 0 0 0 0 0 0")
}

// A kill may come between any two steps of an event and of a segment.
func TestAKillBetweenAnyTwoSteps(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(d *desk) string
		want string
	}{
		{"received", func(d *desk) string { d.received.Inc(); return d.killed() }, "5 0 4 0 1 0 0 0"},
		{"in the spool", func(d *desk) string { d.received.Inc(); d.append(); return d.killed() }, "5 0 5 0 0 0 0 0"},
		{"two, one of them in the spool", func(d *desk) string {
			d.received.Inc()
			d.received.Inc()
			d.append()
			return d.killed()
		}, "6 0 5 0 1 0 0 0"},
		{"before a segment is booked", func(d *desk) string {
			d.next()
			return d.killed()
		}, "4 0 4 0 0 0 0 0"},
		{"between booking and leaving", func(d *desk) (dir string) {
			g := d.next()
			_ = d.ledger.Settled(g.Seq, map[event.Day]uint64{today: 4}, 0, func() error { dir = d.killed(); return errors.New("killed") })
			return dir
		}, "4 4 0 0 0 0 0 0"},
		{"between booking and quarantine", func(d *desk) (dir string) {
			g := d.next()
			_ = d.ledger.Quarantined(g.Seq, 4, func() error { dir = d.killed(); return errors.New("killed") })
			return dir
		}, "4 0 0 4 0 0 0 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := sit(t, t.TempDir(), "one")
			first.take(4)
			d := sit(t, c.do(first), "one")
			d.is(c.want)
			accepted := d.ledger.Balance().Accepted
			d.store()
			b := d.ledger.Balance()
			if b.Residue != 0 || b.Stored != accepted || b.Spooled != 0 || b.Quarantined != 0 {
				t.Errorf("once all is stored: %+v", b)
			}
		})
	}
}

func TestALossShows(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(t *testing.T, dir string)
	}{
		{"a segment is deleted", func(t *testing.T, dir string) {
			files, err := filepath.Glob(filepath.Join(dir, "spool", "*.seg"))
			if err != nil || len(files) == 0 {
				t.Fatal(files, err)
			}
			for _, f := range files {
				if err := os.Remove(f); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"the spool is deleted", func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "spool")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := sit(t, t.TempDir(), "one")
			d.take(7)
			d.store()
			d.take(4)
			d.received.Inc()
			dir := d.killed()
			c.harm(t, dir)
			d = sit(t, dir, "one")
			d.is("12 7 0 0 1 0 0 4")
			d.close()
			d = sit(t, dir, "one") // it does not go away by itself
			d.take(2)
			d.is("14 7 2 0 1 0 0 4")
			b, err := d.ledger.WriteOff(t.Context(), nil)
			if err != nil || b.Residue != 4 {
				t.Errorf("written off %d, %v", b.Residue, err)
			}
			d.is("14 7 2 0 1 4 0 0")
			d.close()
			sit(t, dir, "one").is("14 7 2 0 1 4 0 0")
		})
	}
}

func TestWhatNobodyReceivedShows(t *testing.T) {
	d := sit(t, t.TempDir(), "one")
	d.take(2)
	d.append()
	d.append()
	d.is("2 0 4 0 0 0 0 -2")
	d.received.Inc()
	d.is("3 0 4 0 0 0 1 -1") // proven, whatever becomes of the one in flight
	d.bots.Inc()
	d.is("3 0 4 0 0 0 0 -2")
	if b := d.ledger.Balance(); b.Off() != 2 {
		t.Errorf("off by %d", b.Off())
	}
	if _, err := d.ledger.WriteOff(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	d.is("3 0 4 0 0 -2 0 0")
}

func TestMoreThanConnectionsCanCarryIsNoInterruption(t *testing.T) {
	d := sit(t, t.TempDir(), "one")
	for range 15 { // 10 are allowed
		d.received.Inc()
	}
	d = sit(t, d.killed(), "one")
	d.is("15 0 0 0 10 0 0 5")
	d.close()
	d = sit(t, d.dir, "one")
	d.is("15 0 0 0 10 0 0 5")
	if _, err := d.ledger.WriteOff(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	d.is("15 0 0 0 10 5 0 0")
	d.received.Inc()
	d.is("16 0 0 0 10 5 1 0")
}

// After a power failure the counters are those of the last copy, and the spool
// tells what came since.
func TestAPowerFailure(t *testing.T) {
	d := sit(t, t.TempDir(), "one")
	d.take(3)
	d.bots.Inc()
	d.received.Inc()
	d.store() // writes a copy: 4 received, 3 stored
	d.take(5)
	dir := d.killed()
	// The mapped page tore: half of it was never written.
	f, err := os.OpenFile(filepath.Join(dir, "ledger"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 1000), cellsAt); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	d = sit(t, dir, "two")
	d.is("9 3 5 0 0 0 0 0")
	b := d.ledger.Balance()
	if b.Received[recovered] != 5 || b.Accepted != 8 || b.Dropped["bot"] != 1 {
		t.Errorf("the books: %+v", b)
	}
	d.store()
	d.is("9 8 0 0 0 0 0 0")
}

// A deletion that was not synced may be undone; the segment is settled again
// and counted once.
func TestAPowerFailureBringsASegmentBack(t *testing.T) {
	d := sit(t, t.TempDir(), "one")
	d.take(3)
	g := d.next()
	before := d.killed()
	d.settle(g)
	d.take(1)
	after := d.killed()
	name := fmt.Sprintf("%016x.seg", g.Seq)
	if err := os.Rename(filepath.Join(before, "spool", name), filepath.Join(after, "spool", name)); err != nil {
		t.Fatal(err)
	}
	d = sit(t, after, "two")
	d.is("4 3 1 0 0 0 0 0")
	d.store()
	d.is("4 4 0 0 0 0 0 0")
}

func TestDamagedBooks(t *testing.T) {
	for name, harm := range map[string]func(all []byte) []byte{
		"empty":         func(all []byte) []byte { return nil },
		"cut":           func(all []byte) []byte { return all[:copiesAt+100] },
		"all of it bad": func(all []byte) []byte { return []byte(strings.Repeat("x", len(all))) },
	} {
		t.Run(name, func(t *testing.T) {
			d := sit(t, t.TempDir(), "one")
			d.take(3)
			d.close()
			file := filepath.Join(d.dir, "ledger")
			all, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, harm(all), 0o600); err != nil {
				t.Fatal(err)
			}
			d = sit(t, d.dir, "one")
			d.is("3 0 3 0 0 0 0 0") // what the spool knows
			d.store()
			d.is("3 3 0 0 0 0 0 0")
		})
	}
	t.Run("one copy", func(t *testing.T) {
		d := sit(t, t.TempDir(), "one")
		d.take(3)
		d.store()
		d.close()
		file := filepath.Join(d.dir, "ledger")
		all, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[copiesAt+int(d.ledger.state.generation%2)*copyLen+8] ^= 1
		if err := os.WriteFile(file, all, 0o600); err != nil {
			t.Fatal(err)
		}
		sit(t, d.dir, "two").is("3 3 0 0 0 0 0 0")
	})
}

// Under load, with scrapes in between, nothing that is on its way passes for
// lost.
func TestNoFalseAlarm(t *testing.T) {
	d := sit(t, t.TempDir(), "one")
	var senders, others sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		senders.Go(func() {
			for range 3000 {
				d.received.Inc()
				if err := d.spool.Append([]byte("an event")); err != nil {
					t.Error(err)
				}
				d.accepted.Inc()
			}
		})
	}
	others.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			d.spool.Seal()
			if events, _ := d.spool.Pending(); events == 0 {
				continue
			}
			g, err := d.spool.Next(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			d.settle(g)
		}
	})
	others.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if b := d.ledger.Balance(); b.Residue != 0 {
				t.Errorf("a residue of %d under load", b.Residue)
				return
			}
		}
	})
	senders.Wait()
	close(done)
	others.Wait()
	d.store()
	d.is("12000 12000 0 0 0 0 0 0")
}

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
