package batch

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Why an attempt failed: the closed set of the failures metric's label. Each
// completes "cannot ...".
const (
	failEpoch    = "reach_storage"
	failStored   = "ask_storage"
	failInsert   = "insert"
	failTimeout  = "wait_for_insert"
	failBadData  = "insert_bad_data"
	failMismatch = "match_rows"
	failSpent    = "find_rows"
	failRunning  = "await_insert"
	failFlush    = "flush"
	failSettle   = "settle"
	failNext     = "read_segment"
	failSift     = "find_bad_events"
	failCheck    = "check_storage"
)

// Why events are put aside: the closed set of the quarantine metric's label.
const (
	asideRefused    = "refused"    // storage refuses the event
	asideBatch      = "batch"      // storage refuses the batch that the event is in
	asideUnreadable = "unreadable" // the record cannot be read
	asideIncomplete = "incomplete" // storage holds only some events of the batch's day
)

type metrics struct {
	stored      prometheus.Counter
	size        prometheus.Histogram
	duration    prometheus.Histogram
	failures    *prometheus.CounterVec
	reconciled  prometheus.Counter
	quarantined *prometheus.CounterVec
	undecodable *prometheus.CounterVec
	lastSuccess prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	m := &metrics{
		stored: f.NewCounter(prometheus.CounterOpts{
			Name: "halfmask_batch_stored_events_total",
			Help: "Events that storage has acknowledged.",
		}),
		size: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "halfmask_batch_size_events",
			Help:    "Events in an inserted batch.",
			Buckets: prometheus.ExponentialBuckets(1, 10, 7),
		}),
		duration: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "halfmask_batch_insert_duration_seconds",
			Help:    "How long storage took to acknowledge an insert.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
		}),
		failures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "halfmask_batch_failures_total",
			Help: "Attempts that failed; each is made again.",
		}, []string{"reason"}),
		reconciled: f.NewCounter(prometheus.CounterOpts{
			Name: "halfmask_batch_reconciled_days_total",
			Help: "Days of batches inserted after storage said that it lacks them.",
		}),
		quarantined: f.NewCounterVec(prometheus.CounterOpts{
			Name: "halfmask_batch_quarantined_events_total",
			Help: "Events put aside because storage refuses them or has only some of their day, or they cannot be read.",
		}, []string{"reason"}),
		undecodable: f.NewCounterVec(prometheus.CounterOpts{
			Name: "halfmask_batch_undecodable_records_total",
			Help: "Records of the spool that cannot be read.",
		}, []string{"reason"}),
		lastSuccess: f.NewGauge(prometheus.GaugeOpts{
			Name: "halfmask_batch_last_success_timestamp_seconds",
			Help: "When storage last acknowledged a batch.",
		}),
	}
	for _, reason := range []string{
		failEpoch, failStored, failInsert, failTimeout, failBadData, failMismatch, failSpent, failRunning, failFlush, failSettle, failNext, failSift, failCheck,
	} {
		m.failures.WithLabelValues(reason)
	}
	for _, reason := range []string{asideRefused, asideBatch, asideUnreadable, asideIncomplete} {
		m.quarantined.WithLabelValues(reason)
	}
	for _, reason := range []string{"version", "malformed"} {
		m.undecodable.WithLabelValues(reason)
	}
	return m
}

func (m *metrics) inserted(a *attempt, events int) {
	m.size.Observe(float64(events))
	m.duration.Observe(time.Since(a.started).Seconds())
	m.reconciled.Add(float64(a.days))
}
