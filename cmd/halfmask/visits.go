package main

import (
	"context"
	"fmt"
	"time"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/record"
	"github.com/halfmask/halfmask/ingest/session"
	"github.com/halfmask/halfmask/ingest/spool"
)

// The visits that were going on when the last run ended go on. Their table is a
// mapped file, which a kill leaves as it was; what was under way then is in the
// spool. Only if the machine went down they are pieced together from storage
// and from what still waits in the spool.

// openVisits takes over the table of the last run.
func (h *house) openVisits() (err error) {
	options := session.Options{MaxVisits: h.settings.MaxVisits, Logger: h.log, Registerer: h.metrics}
	began := time.Now()
	h.visits, err = session.Open(h.settings.path(visitsFile), options)
	if err != nil {
		h.log.Warn("visits that are going on will not survive the end of this run", "error", err)
		if h.visits, err = session.New(options); err != nil {
			return err
		}
	}
	h.started("the visits", allBy, func(context.Context) error { return h.visits.Close() })
	if h.visits.Killed() {
		h.replayLatest(began)
	}
	h.log.Debug("opened the visits", "complete", h.visits.Complete(), "killed", h.visits.Killed(), "took", time.Since(began))
	return nil
}

// underWay is how many segments the events that were under way at a kill can
// be in: the active one, and the one before if it was just sealed.
const underWay = 2

// replayLatest has the table learn of events that were spooled when a kill came
// before it could.
func (h *house) replayLatest(now time.Time) {
	restore := h.restorer(now)
	for segment, err := range h.spool.Latest(underWay) {
		if err != nil {
			h.log.Warn("a segment of the spool cannot be read for restoring visits", "error", err)
			continue
		}
		each(segment, func(e *event.Event) {
			if now.Sub(e.At) < session.Timeout {
				restore(e)
			}
		})
	}
}

// restorer returns what restores an event of a site that is known, unless it
// lies in the future.
func (h *house) restorer(now time.Time) func(*event.Event) {
	zones := map[event.SiteID]*time.Location{}
	for _, s := range h.sites.Sites() {
		zones[s.ID] = s.Zone
	}
	return func(e *event.Event) {
		if zone, ok := zones[e.Site]; ok && e.At.Sub(now) < session.Timeout {
			h.visits.Restore(e, event.DayOf(e.At, zone))
		}
	}
}

// each decodes a segment's events.
func each(segment *spool.Segment, f func(*event.Event)) {
	var e event.Event
	for payload := range segment.Records() {
		if record.Decode(payload, &e) == nil {
			f(&e)
		}
	}
}

// lookBack is how far back the events of a visit that goes on, or of a visitor
// of today, are looked for: a day, even one on which clocks are set back.
const lookBack = 25 * time.Hour

// restoreVisits learns from storage and the spool which visits were going on
// and who was here today already. Events may come in meanwhile.
func (h *house) restoreVisits(ctx context.Context) error {
	began := time.Now()
	events := 0
	known := h.restorer(began)
	restore := func(e *event.Event) {
		known(e)
		events++
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
		each(segment, func(e *event.Event) {
			if began.Sub(e.At) < lookBack {
				restore(e)
			}
		})
	}
	h.visits.Completed()
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
