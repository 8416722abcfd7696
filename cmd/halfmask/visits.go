package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/record"
	"github.com/halfmask/halfmask/ingest/session"
)

// The visits that were going on when the last run ended go on: a graceful stop
// leaves a snapshot, after a crash they are pieced together from storage and
// from what still waits in the spool.

// recallVisits takes over the snapshot of a graceful stop, if there is one. It
// is used once: after a crash it would be out of date.
func (h *house) recallVisits() bool {
	file := h.settings.path(visitsFile)
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err == nil {
		err = h.visits.Load(bufio.NewReader(f))
		err = errors.Join(err, f.Close())
	}
	if err = errors.Join(err, os.Remove(file)); err != nil {
		h.log.Warn("going on without the snapshot of visits", "error", err)
		return false
	}
	return true
}

// saveVisits leaves a snapshot, unless visits of an earlier run are still
// missing: the next start would take it for all there is, while without one it
// finds them, and those of this run, in storage and in the spool.
func (h *house) saveVisits() error {
	if !h.recalled {
		return nil
	}
	file := h.settings.path(visitsFile)
	f, err := os.OpenFile(file+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	if err := errors.Join(h.visits.Save(w), w.Flush(), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(file+".new"))
	}
	return os.Rename(file+".new", file)
}

// lookBack is how far back the events of a visit that goes on, or of a visitor
// of today, are looked for: a day, even one on which clocks are set back.
const lookBack = 25 * time.Hour

// restoreVisits learns from storage and the spool which visits were going on
// and who was here today already. Events may come in meanwhile.
func (h *house) restoreVisits(ctx context.Context) error {
	began := time.Now()
	events := 0
	zones := map[event.SiteID]*time.Location{}
	for _, s := range h.sites.Sites() {
		zones[s.ID] = s.Zone
	}
	restore := func(e *event.Event) {
		if zone, ok := zones[e.Site]; ok {
			h.visits.Restore(e, event.DayOf(e.At, zone))
			events++
		}
	}
	// A visit may have begun in storage and gone on in the spool.
	since := h.waitingSince(began).Add(-session.Timeout)
	if err := h.store.Recent(ctx, since, func(e *event.Event) error {
		restore(e)
		return nil
	}); err != nil {
		return fmt.Errorf("cannot restore the visits: %w", err)
	}
	for _, s := range h.sites.Sites() {
		today := event.DayOf(began, s.Zone)
		if err := h.store.VisitorsSince(ctx, s.ID, today.Start(s.Zone), func(v event.VisitorID) error {
			h.visits.RestoreVisitor(s.ID, v, today)
			return nil
		}); err != nil {
			return fmt.Errorf("cannot restore the day's visitors: %w", err)
		}
	}
	for segment, err := range h.spool.Backlog() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			h.log.Warn("a segment of the spool cannot be read for restoring visits", "error", err)
			continue
		}
		var e event.Event
		for payload := range segment.Records() {
			if record.Decode(payload, &e) == nil && began.Sub(e.At) < lookBack {
				restore(&e)
			}
		}
	}
	h.recalled = true
	h.log.Debug("restored the visits", "events", events, "took", time.Since(began))
	return nil
}

// waitingSince returns when the oldest event that waits in the spool happened,
// within reason, or now.
func (h *house) waitingSince(now time.Time) time.Time {
	for segment, err := range h.spool.Backlog() {
		if err != nil {
			continue
		}
		var e event.Event
		for payload := range segment.Records() {
			if record.Decode(payload, &e) != nil || e.At.After(now) {
				continue
			}
			if earliest := now.Add(-lookBack); e.At.Before(earliest) {
				return earliest
			}
			return e.At
		}
	}
	return now
}
