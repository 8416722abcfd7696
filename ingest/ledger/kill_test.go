package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfmask/halfmask/event"
)

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
