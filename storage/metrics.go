package storage

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what an operator sees of this room. Every label comes from a
// closed set: statements and error classes have names in this package.
type metrics struct {
	duration *prometheus.HistogramVec
	errors   *prometheus.CounterVec
	rows     prometheus.Counter
	dropped  prometheus.Counter
	suspect  prometheus.Gauge
	broken   prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (metrics, error) {
	m := metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "halfmask_storage_query_duration_seconds",
			Help:    "Time that statements took, by the method that ran them.",
			Buckets: []float64{.002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"query"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "halfmask_storage_errors_total",
			Help: "Statements that failed, by the class of the failure.",
		}, []string{"class"}),
		rows: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "halfmask_storage_inserted_rows_total",
			Help: "Rows of events that ClickHouse acknowledged, including those it recognised as a repetition.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "halfmask_storage_retained_partitions_dropped_total",
			Help: "Days of events dropped because they became too old.",
		}),
		broken: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "halfmask_storage_damaged_parts_total",
			Help: "Parts of events that a check after a crash found damaged and detached.",
		}),
		suspect: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "halfmask_storage_clock_suspect",
			Help: "1 while nothing is dropped because the clock jumped forward and has not been confirmed.",
		}),
	}
	for _, c := range classes {
		m.errors.WithLabelValues(string(c))
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.duration, m.errors, m.rows, m.dropped, m.suspect, m.broken} {
		if err := r.Register(c); err != nil {
			return m, err
		}
	}
	return m, nil
}

// observe counts one statement and returns its error, classified.
func (s *Store) observe(name string, start time.Time, err error) error {
	s.metrics.duration.WithLabelValues(name).Observe(time.Since(start).Seconds())
	if err == nil {
		return nil
	}
	f := classify(err)
	if f.Code != 0 || f.Class == Network {
		s.doubt(f)
	}
	s.metrics.errors.WithLabelValues(string(f.Class)).Inc()
	return f
}
