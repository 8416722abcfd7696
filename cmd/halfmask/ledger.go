package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/halfmask/halfmask/collector"
	"github.com/halfmask/halfmask/ingest/ledger"
	"github.com/halfmask/halfmask/ingest/spool"
)

// auditInterval is how often the books are compared with storage.
const auditInterval = time.Hour

// eventsPerConnection is how many events one request can be about, at most.
const eventsPerConnection = 64

// openLedger opens the books, before anything can be counted.
func (h *house) openLedger(context.Context) (err error) {
	h.ledger, err = ledger.Open(ledger.Options{
		File: h.settings.path(ledgerFile), Spool: h.spool,
		MaxInFlight: uint64(h.settings.MaxConnections) * eventsPerConnection,
		Logger:      h.log, Registerer: h.metrics,
	})
	if err != nil {
		return err
	}
	h.started("the ledger", allBy, func(context.Context) error { return h.ledger.Close() })
	return nil
}

// books gives the door its counters.
func (h *house) books(fate, reason string, desc *prometheus.Desc) collector.Counter {
	return h.ledger.Counter(ledger.Fate(fate), reason, desc)
}

// runAudits compares the books with storage until ctx ends.
func (h *house) runAudits(ctx context.Context) {
	for {
		c, err := h.ledger.Audit(ctx, h.store)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			h.log.Warn("the ledger could not be compared with storage; it is tried again within the hour", "error", err)
		case c.Missing != 0:
			h.log.Error("storage does not hold what was stored there: run 'halfmask ledger --verify'", "missing", c.Missing)
		}
		select {
		case <-ctx.Done():
			return
		case <-h.recount:
		case <-time.After(auditInterval):
		}
	}
}

// recountSoon has the books compared with storage.
func (h *house) recountSoon() {
	select {
	case h.recount <- struct{}{}:
	default:
	}
}

// ledgerArgs are what 'halfmask ledger' asks for.
type ledgerArgs struct{ Verify, WriteOff bool }

// readLedger answers 'halfmask ledger'.
func (h *house) readLedger(ctx context.Context, args ledgerArgs) (ledger.Balance, error) {
	if !args.Verify && !args.WriteOff {
		return h.ledger.Balance(), nil
	}
	select {
	case <-h.up:
	case <-ctx.Done():
		return ledger.Balance{}, ctx.Err()
	case <-time.After(commandPatience):
		return ledger.Balance{}, errors.New("storage is not ready, so the books cannot be compared with it; without --verify they can be read")
	}
	return compare(ctx, h.ledger, h.store, args)
}

// compare audits the books, or writes off what is wrong with them.
func compare(ctx context.Context, l *ledger.Ledger, s ledger.Storage, args ledgerArgs) (ledger.Balance, error) {
	if args.WriteOff {
		return l.WriteOff(ctx, s)
	}
	if _, err := l.Audit(ctx, s); err != nil {
		return ledger.Balance{}, err
	}
	return l.Balance(), nil
}

type ledgerCommand struct {
	place    `embed:""`
	Verify   bool `help:"Also compare with what ClickHouse holds, day by day."`
	WriteOff bool `help:"Book what does not add up as written off, after looking into it, so that the next loss shows."`
	JSON     bool `name:"json" help:"Print JSON."`
}

// Validate is called by the parser.
func (c *ledgerCommand) Validate() error { return c.validate() }

// Run prints the books and fails if they do not balance.
func (c *ledgerCommand) Run(ctx context.Context, s *streams) error {
	args := ledgerArgs{c.Verify, c.WriteOff}
	return c.reach(ctx, func(remote caller) error {
		b, err := call[ledger.Balance](ctx, remote, "ledger", args)
		if err != nil {
			return err
		}
		return c.show(s, &b)
	}, func() error { return c.alone(ctx, s, args) })
}

// alone reads the books of a folder that no server uses.
func (c *ledgerCommand) alone(ctx context.Context, s *streams, args ledgerArgs) (err error) {
	if _, err := os.Stat(c.path(ledgerFile)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there are no books in %s: they begin with the first 'halfmask serve'; name another folder with --data", c.Data)
	}
	log := slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	// Nothing is appended, so the smallest segments do.
	kept, err := spool.Open(spool.Options{Dir: c.path(spoolFolder), SegmentBytes: 64 << 10, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	l, err := ledger.Open(ledger.Options{File: c.path(ledgerFile), Spool: kept, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if !args.Verify && !args.WriteOff {
		b := l.Balance()
		return c.show(s, &b)
	}
	return c.withStorage(ctx, s, func(h *house) error {
		b, err := compare(ctx, l, h.store, args)
		if err != nil {
			return err
		}
		return c.show(s, &b)
	})
}

// show prints a page of the books.
func (c *ledgerCommand) show(s *streams, b *ledger.Balance) error {
	if c.JSON {
		if err := json.NewEncoder(s.out).Encode(b); err != nil {
			return err
		}
	} else if err := printLedger(s.out, b); err != nil {
		return err
	}
	switch {
	case c.WriteOff && b.Off() > 0:
		fmt.Fprintf(s.err, "%d events are written off; the books balance again.\n", b.Off())
	case b.Off() > 0:
		return fmt.Errorf("the books do not balance: %d events cannot be accounted for; "+
			"see \"The ledger\" in docs/operate.md for what to look at, then book them with --write-off", b.Off())
	}
	return nil
}

func printLedger(to io.Writer, b *ledger.Balance) error {
	t := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	line := func(name, n, note string) { fmt.Fprintf(t, "%s\t%13s\t%s\n", name, n, note) }
	line("received", thousands(int64(b.Received.Total())), reasons(b.Received))
	line("stored", thousands(int64(b.Stored)), "")
	line("spooled", thousands(int64(b.Spooled)), "")
	for _, r := range []struct {
		name string
		why  ledger.Reasons
	}{{"dropped", b.Dropped}, {"suppressed", b.Suppressed}, {"rejected", b.Rejected}, {"refused", b.Refused}} {
		line(r.name, thousands(int64(r.why.Total())), reasons(r.why))
	}
	line("quarantined", thousands(int64(b.Quarantined)), "")
	line("interrupted", thousands(int64(b.Interrupted)), "")
	line("written off", thousands(b.WrittenOff), "")
	if b.InFlight > 0 {
		line("in flight", thousands(int64(b.InFlight)), "")
	}
	line("residue", thousands(b.Residue), verdict(b.Residue == 0))
	if err := t.Flush(); err != nil {
		return err
	}
	switch st := b.Storage; {
	case st.At.IsZero():
		fmt.Fprintln(to, "\nNot compared with ClickHouse; --verify does.")
	case st.Missing < 0:
		fmt.Fprintf(to, "\nClickHouse holds %s events too many: %s, and %s were stored there (%s).\n",
			thousands(-st.Missing), thousands(int64(st.Found)), thousands(int64(st.Expected)), st.At.UTC().Format(time.DateTime))
	case st.Missing > 0:
		fmt.Fprintf(to, "\nClickHouse lacks %s of the %s events that were stored there (%s).\n",
			thousands(st.Missing), thousands(int64(st.Expected)), st.At.UTC().Format(time.DateTime))
	default:
		fmt.Fprintf(to, "\nClickHouse holds all %s events that it should (%s).\n", thousands(int64(st.Expected)), st.At.UTC().Format(time.DateTime))
	}
	return nil
}

func verdict(balanced bool) string {
	if balanced {
		return "received is the sum of the others"
	}
	return "received is not the sum of the others"
}

// reasons lists counts, the greatest first.
func reasons(r ledger.Reasons) string {
	var names []string
	for name, n := range r {
		if n > 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if r[a] != r[b] {
			if r[a] > r[b] {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		names[i] = name + " " + thousands(int64(r[name]))
	}
	return strings.Join(names, ", ")
}

// thousands writes a number as people read it.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(text) - 3; i > first; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
