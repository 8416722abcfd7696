// Package ingest turns hits into events and keeps them: robots leave, user
// agent and referrer become what is kept of them, what identifies a person is
// taken out of texts, values that are too many become (other), the visit
// decides the facts, and the event goes into the spool. The order of these
// steps is all it knows.
//
// It promises that a hit was spooled if its outcome is Accepted and only then,
// but for RefusedUnsynced, where the disk failed and nobody can say; and that
// nothing of a robot is kept, not even in memory.
package ingest

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/enrich"
	"github.com/halfmask/halfmask/ingest/record"
	"github.com/halfmask/halfmask/ingest/session"
	"github.com/halfmask/halfmask/ingest/spool"
)

// Spool keeps the bytes of events.
type Spool interface {
	// Append takes the payload, or returns an error and takes nothing:
	// spool.ErrFull while there is no room, spool.ErrClosed from the end on. The
	// payload is the caller's again when it returns.
	Append(payload []byte) (spool.Position, error)
	// Wait returns when what was appended there is as safe as was promised, or
	// spool.ErrUnsafe.
	Wait(spool.Position) error
}

// Options are what a Recorder works with. Those above the line are required.
type Options struct {
	Enricher *enrich.Enricher
	Sessions *session.Table
	Spool    Spool

	Limits enrich.Limits // of distinct values a site and day

	Logger     *slog.Logger          // nil: nothing is logged
	Registerer prometheus.Registerer // nil: no metrics
}

// Recorder records hits. It is safe for concurrent use and allocates nothing
// for what it has seen before.
type Recorder struct {
	enricher *enrich.Enricher
	caps     *enrich.Caps
	sessions *session.Table
	spool    Spool
	logger   *slog.Logger
	scratch  sync.Pool
	outcomes []prometheus.Counter // by outcome

	complained atomic.Int64 // Unix seconds of the last error that was logged
}

// New returns a Recorder. It panics if the registerer has its metrics already.
func New(o Options) *Recorder {
	r := &Recorder{enricher: o.Enricher, caps: enrich.NewCaps(o.Limits, o.Registerer), sessions: o.Sessions, spool: o.Spool, logger: o.Logger}
	if r.logger == nil {
		r.logger = slog.New(slog.DiscardHandler)
	}
	r.scratch.New = func() any { return &scratch{of: r} }
	hits := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "halfmask_ingest_hits_total",
		Help: "Hits that came through the door, by what became of them.",
	}, []string{"outcome"})
	for _, outcome := range event.Outcomes() {
		r.outcomes = append(r.outcomes, hits.WithLabelValues(outcome.String()))
	}
	if o.Registerer != nil {
		o.Registerer.MustRegister(hits)
	}
	return r
}

// Record takes a hit, whose strings it does not hold on to, and tells what
// became of it. If the outcome is Accepted the event is in the spool, as safe as
// the spool promises.
func (r *Recorder) Record(hit *event.Hit) event.Outcome {
	outcome := r.record(hit)
	r.outcomes[outcome].Inc()
	return outcome
}

func (r *Recorder) record(hit *event.Hit) event.Outcome {
	client, bot := r.enricher.Client(hit.UserAgent)
	if bot {
		return event.DroppedBot
	}
	s := r.scratch.Get().(*scratch)
	defer r.release(s)
	e := &s.event
	s.props = append(s.props, hit.Props...) // the hit's are for its next site, too
	*e = event.Event{
		At: hit.At, Site: hit.Site.ID, Kind: hit.Kind, Name: hit.Name, Interactive: hit.Interactive,
		Hostname: hit.Hostname, Path: hit.Path, Props: s.props, Scroll: hit.Scroll, Engaged: hit.Engaged,
		Network: hit.Network, Place: hit.Place, Client: client, Visitor: hit.Visitor,
	}
	s.scrubber.Event(e)
	r.caps.Event(e)
	s.hit = hit
	outcome, err := r.sessions.Apply(e, hit.Previous, hit.Day, s)
	switch {
	case err == nil && outcome == event.Accepted:
		// Outside the visitor's lock, so that those who wait share one sync.
		if err := r.spool.Wait(s.position); err != nil {
			return event.RefusedUnsynced
		}
		return outcome
	case err == nil:
		return outcome
	case errors.Is(err, spool.ErrClosed):
		return event.RefusedStopping
	case !errors.Is(err, spool.ErrFull):
		r.complain(hit.At, err)
	}
	return event.RefusedSpoolFull
}

// complain logs an error that has no outcome of its own, once in ten seconds.
func (r *Recorder) complain(at time.Time, err error) {
	last := r.complained.Load()
	if now := at.Unix(); now-last >= 10 && r.complained.CompareAndSwap(last, now) {
		r.logger.Error("cannot spool an event; it was refused", "error", err)
	}
}

// scratch is what one Record works with. As the sessions' Opener it encodes
// and spools under the visitor's lock, so that a visitor's events are spooled
// in the order in which they were decided.
type scratch struct {
	of       *Recorder
	hit      *event.Hit
	event    event.Event
	props    []event.Prop
	scrubber enrich.Scrubber
	payload  []byte
	position spool.Position // of the event, once it is kept
}

// Open implements session.Opener.
func (s *scratch) Open(e *event.Event) {
	s.of.enricher.Origin(s.hit, &e.Origin)
	s.scrubber.Origin(&e.Origin)
	s.of.caps.Origin(e)
}

// Keep implements session.Keeper.
func (s *scratch) Keep(e *event.Event) (err error) {
	s.payload = record.Append(s.payload[:0], e)
	s.position, err = s.of.spool.Append(s.payload)
	return err
}

// largest is how much scratch space is kept for the next hit.
const largest = 16 << 10

func (r *Recorder) release(s *scratch) {
	// They borrow the request's memory.
	s.event, s.hit = event.Event{}, nil
	clear(s.props)
	s.props = s.props[:0]
	s.scrubber.Reset()
	s.position = spool.Position{} // it keeps a segment from being forgotten
	if cap(s.payload) > largest {
		s.payload = nil
	}
	r.scratch.Put(s)
}
