package collector

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/halfmask/halfmask/collector/beacon"
	"github.com/halfmask/halfmask/collector/consent"
	"github.com/halfmask/halfmask/event"
)

// endpoint is where events come in.
type endpoint uint8

const (
	nowhere endpoint = iota
	eventEndpoint
	pixelEndpoint
	endpoints
)

var endpointNames = [endpoints]string{eventEndpoint: "event", pixelEndpoint: "pixel"}

// rejection is why an event was the sender's fault.
type rejection uint8

const (
	bodyTooLarge rejection = iota
	headersTooMany
	badFraming
	encodedBody
	badJSON
	missingField
	invalidField
	unknownSite
	rateLimited
	rejections
)

var rejectionNames = [rejections]string{
	bodyTooLarge:   "body_too_large",
	headersTooMany: "too_many_headers",
	badFraming:     "bad_framing",
	encodedBody:    "encoded_body",
	badJSON:        beacon.ClassRequest,
	missingField:   beacon.ClassMissing,
	invalidField:   beacon.ClassInvalid,
	unknownSite:    "unknown_site",
	rateLimited:    "rate_limited",
}

// class is what went wrong with a connection.
type class uint8

const (
	classHeaderTooLarge class = iota
	classBodyTooLarge
	classTimeout
	classTruncated
	classMalformed
	classFull
	classPeerFull
	classAccept
	classes
)

var classNames = [classes]string{
	classHeaderTooLarge: "header_too_large",
	classBodyTooLarge:   "body_too_large",
	classTimeout:        "timeout",
	classTruncated:      "truncated",
	classMalformed:      "malformed",
	classFull:           "too_many",
	classPeerFull:       "too_many_of_one_peer",
	classAccept:         "accept",
}

// The reasons that the door itself adds to those of an Outcome.
const (
	noAddress = "no_address" // dropped: where it came from cannot be read
	panicked  = "panic"      // refused: a fault of ours
)

// Counter counts events.
type Counter interface{ Inc() }

// metrics are counted in events unless their name says otherwise: a beacon for
// two sites is two events. received is the sum of accepted, dropped, suppressed,
// refused, rejected and what is being answered.
type metrics struct {
	received   [endpoints]Counter
	accepted   Counter
	dropped    []Counter // by Outcome
	noAddress  Counter
	suppressed []Counter // by consent.Signal
	refused    []Counter // by Outcome
	panicked   Counter
	rejected   [rejections]Counter

	notFound         prometheus.Counter
	badMethod        prometheus.Counter
	connectionErrors [classes]prometheus.Counter
	panics           prometheus.Counter
}

func newMetrics(o *Options, connections func() int) *metrics {
	with := promauto.With(o.Registerer)
	booked := bookedBy(o)
	vec := func(name, help, label string) *prometheus.CounterVec {
		return with.NewCounterVec(prometheus.CounterOpts{Name: "halfmask_collector_" + name, Help: help}, []string{label})
	}
	counter := func(name, help string) prometheus.Counter {
		return with.NewCounter(prometheus.CounterOpts{Name: "halfmask_collector_" + name, Help: help})
	}
	m := &metrics{
		accepted: booked("accepted", "accepted_events_total", "Events that will be stored.", "")(""),
		panics:   counter("panics_total", "Requests that ended in a panic, a fault of Halfmask's."),
	}
	received := booked("received", "received_events_total", "Events sent to the door, by endpoint.", "endpoint")
	for e := nowhere + 1; e < endpoints; e++ {
		m.received[e] = received(endpointNames[e])
	}

	dropped := booked("dropped", "dropped_events_total", "Events dropped on purpose, by reason.", "reason")
	refused := booked("refused", "refused_events_total", "Events not stored through no fault of the sender, by reason.", "reason")
	for _, o := range event.Outcomes() {
		var d, f Counter
		if o.Dropped() {
			d = dropped(o.String())
		} else if o.Refused() {
			f = refused(o.String())
		}
		m.dropped, m.refused = append(m.dropped, d), append(m.refused, f)
	}
	m.noAddress = dropped(noAddress)
	m.panicked = refused(panicked)

	suppressed := booked("suppressed", "suppressed_events_total", "Requests answered unread because the visitor does not want to be counted, by signal.", "signal")
	m.suppressed = append(m.suppressed, nil) // consent.None
	for _, s := range consent.Signals() {
		m.suppressed = append(m.suppressed, suppressed(s.String()))
	}

	rejected := booked("rejected", "rejected_requests_total", "Events refused because of what was sent, by reason.", "reason")
	for i := range m.rejected {
		m.rejected[i] = rejected(rejectionNames[i])
	}
	unrouted := vec("unrouted_requests_total", "Requests for what is not there, by reason.", "reason")
	m.notFound, m.badMethod = unrouted.WithLabelValues("not_found"), unrouted.WithLabelValues("method_not_allowed")

	errors := vec("connection_errors_total", "Connections that were closed because of what came in, or turned away, by class.", "class")
	for i := range m.connectionErrors {
		m.connectionErrors[i] = errors.WithLabelValues(classNames[i])
	}
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "halfmask_collector_connections",
		Help: "Connections that are open.",
	}, func() float64 { return float64(connections()) })
	return m
}

// bookedBy returns how the counters that make up the books are made: by label
// value, in Options.Books or, without those, for this process alone.
func bookedBy(o *Options) func(fate, name, help, label string) func(value string) Counter {
	return func(fate, name, help, label string) func(string) Counter {
		name = "halfmask_collector_" + name
		var labels []string
		if label != "" {
			labels = []string{label}
		}
		if o.Books != nil {
			desc := prometheus.NewDesc(name, help, labels, nil)
			return func(value string) Counter { return o.Books(fate, value, desc) }
		}
		counters := promauto.With(o.Registerer).NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		return func(value string) Counter {
			if label == "" {
				return counters.WithLabelValues()
			}
			return counters.WithLabelValues(value)
		}
	}
}

// tally makes sure that every event a request is about ends in one metric. What
// is received counts before anything is done about it, so that whatever ends
// the process leaves no event that was kept and never came.
type tally struct {
	m       *metrics
	at      endpoint
	pending int // events without a result yet
}

// expect counts that the request is about n events, n being at least what it
// was before.
func (t *tally) expect(at endpoint, n int) {
	t.at = at
	for ; t.pending < n; t.pending++ {
		t.m.received[at].Inc()
	}
}

// settle counts what became of one event.
func (t *tally) settle(result Counter) {
	t.pending--
	result.Inc()
}

// settleAll counts everything that is pending.
func (t *tally) settleAll(result Counter) {
	for t.pending > 0 {
		t.settle(result)
	}
}
