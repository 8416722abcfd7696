package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sort"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/halfmask/halfmask/storage/engine"
)

// check waits until everything is stored, stops halfmask in order and compares
// what ClickHouse holds with what was answered.
func (r *rig) check(ctx context.Context) error {
	if err := r.drained(ctx); err != nil {
		return err
	}
	residue, err := r.metric("halfmask_ledger_residue_events")
	if err == nil {
		fmt.Fprintf(r.out, "  the ledger's residue is %v\n", residue)
		if residue != 0 {
			err = fmt.Errorf("the ledger's residue is %v, not 0", residue)
		}
	}
	if err := errors.Join(err, r.stop()); err != nil {
		return err
	}
	aside, err := filepath.Glob(filepath.Join(r.data, "spool", "quarantine", "*"))
	if err != nil || len(aside) > 0 {
		return errors.Join(err, fmt.Errorf("%d segments are in quarantine", len(aside)))
	}
	found, err := r.count(ctx)
	if err != nil {
		return err
	}
	t := r.load.tally()
	fmt.Fprintf(r.out, "  sent %d: accepted %d, refused with 503 %d, answer cut off %d; stored %d, of them %d whose answer was cut off\n",
		t.sent, t.accepted, t.refused, t.cut, found.stored, found.unanswered)
	fmt.Fprintf(r.out, "  lost %d, doubled %d\n", len(found.lost), len(found.doubled))
	var faults []error
	if len(found.lost)+len(found.doubled) > 0 {
		faults = append(faults, fmt.Errorf("%d accepted events are lost%s, %d are stored more than once%s",
			len(found.lost), r.where(found.lost), len(found.doubled), r.where(found.doubled)))
	}
	if found.stranger > 0 {
		faults = append(faults, fmt.Errorf("%d events are stored that nobody sent", found.stranger))
	}
	if t.dropped > 0 || len(t.odd) > 0 {
		faults = append(faults, fmt.Errorf("%d events were dropped, and these statuses answered: %v", t.dropped, t.odd))
	}
	return errors.Join(faults...)
}

type findings struct {
	stored, unanswered, stranger int
	lost, doubled                []uint64
}

// count asks ClickHouse for every number and how often it is there.
func (r *rig) count(ctx context.Context) (f findings, err error) {
	e, err := engine.Open(ctx, engine.Options{
		Library: r.options.library, Dir: filepath.Join(r.data, "engine"),
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, e.Close(context.WithoutCancel(ctx))) }()
	conn, err := clickhouse.Open(&clickhouse.Options{
		Addr:        []string{"engine"},
		Auth:        clickhouse.Auth{Database: "halfmask", Username: e.Writer().User, Password: e.Writer().Password},
		DialContext: func(ctx context.Context, _ string) (net.Conn, error) { return e.Dial(ctx) },
	})
	if err != nil {
		return f, err
	}
	defer conn.Close()
	rows, err := conn.Query(context.WithoutCancel(ctx), "SELECT "+idSQL+" AS id, count() FROM events GROUP BY id")
	if err != nil {
		return f, err
	}
	defer rows.Close()
	last := r.load.next.Load()
	var stored numbers
	for rows.Next() {
		var id, n uint64
		if err := rows.Scan(&id, &n); err != nil {
			return f, err
		}
		if id == 0 || id > last {
			f.stranger += int(n)
			continue
		}
		f.stored++
		stored.add(id)
		if n > 1 {
			f.doubled = append(f.doubled, id)
		}
		if !r.load.accepted.has(id) {
			f.unanswered++
		}
	}
	for id := uint64(1); id <= last; id++ {
		if r.load.accepted.has(id) && !stored.has(id) {
			f.lost = append(f.lost, id)
		}
	}
	return f, rows.Err()
}

// where names the kills around which numbers were sent.
func (r *rig) where(ids []uint64) (text string) {
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	for i, id := range ids {
		if i == 5 {
			return text + " ..."
		}
		at := sort.Search(len(r.first), func(i int) bool { return r.first[i] > id })
		kind := ""
		if at < len(r.killed) {
			kind = " of " + r.killed[at]
		}
		text += fmt.Sprintf(" (%d, sent before kill %d%s)", id, at, kind)
	}
	return text
}
