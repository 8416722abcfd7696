package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

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
	if _, err := d.spool.Append([]byte("an event")); err != nil {
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

// An event whose sync failed is refused, and may be in the spool or not.
func TestAnEventThatMayBeKeptIsNoResidue(t *testing.T) {
	d := sit(t, t.TempDir(), "boot")
	d.take(3)
	unsynced := d.ledger.Counter(Refused, event.RefusedUnsynced.String(), nil)
	for range 2 {
		d.received.Inc()
		d.append()
		unsynced.Inc()
	}
	d.received.Inc() // this one is not
	unsynced.Inc()
	if b := d.ledger.Balance(); b.Residue != 0 || b.InFlight != 0 || b.Spooled != 5 {
		t.Errorf("residue %d, %d in flight, %d in the spool", b.Residue, b.InFlight, b.Spooled)
	}
	for range 2 {
		d.append() // nobody ever heard of these
	}
	if b := d.ledger.Balance(); b.Residue != -1 {
		t.Errorf("residue %d, of two too many one may be the one that was refused", b.Residue)
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
				if _, err := d.spool.Append([]byte("an event")); err != nil {
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
