package spool

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reason says why an append was refused. The first three also say whether a
// next segment can be had.
type reason uint8

const (
	free reason = iota
	atCap
	diskFull
	refusedClosed
	refusedSize
	refusedSync
	reasons
)

var reasonNames = [reasons]string{atCap: "cap", diskFull: "disk", refusedClosed: "closed", refusedSize: "size", refusedSync: "sync"}

// counts are plain numbers under the spool's mutex, which Append holds anyway.
type counts struct {
	appended                     uint64
	refused                      [reasons]uint64
	damagedRecords, damagedBytes int64
	syncErrors                   uint64
}

// metrics reads the spool when it is scraped.
type metrics struct {
	spool      *Spool
	registerer prometheus.Registerer

	appended, refused, bytes, segments, pending, oldest, damagedRecords, damagedBytes, syncErrors *prometheus.Desc
}

func newMetrics(r prometheus.Registerer, s *Spool) (*metrics, error) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("halfmask_spool_"+name, help, labels, nil)
	}
	m := &metrics{
		spool:          s,
		registerer:     r,
		appended:       desc("appended_events_total", "Events taken into the spool."),
		refused:        desc("refused_events_total", "Events the spool did not take, or, for the reason sync, took and cannot say that they are safe.", "reason"),
		bytes:          desc("bytes", "Bytes the spool occupies on disk, its quarantine aside."),
		segments:       desc("segments", "Sealed segments that are not settled."),
		pending:        desc("pending_events", "Events in the spool that are not settled."),
		oldest:         desc("oldest_age_seconds", "Age of the oldest event that is not settled; 0 if there is none."),
		damagedRecords: desc("damaged_records_total", "Events lost because their bytes on disk were damaged."),
		damagedBytes:   desc("damaged_bytes_total", "Bytes skipped because they were damaged on disk."),
		syncErrors:     desc("sync_errors_total", "Syncs or writes of a segment that the disk failed."),
	}
	if r == nil {
		return m, nil
	}
	if err := r.Register(m); err != nil {
		return nil, fmt.Errorf("cannot register metrics: %w", err)
	}
	return m, nil
}

func (m *metrics) unregister() {
	if m.registerer != nil {
		m.registerer.Unregister(m)
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(c chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, c) }

// Collect implements prometheus.Collector.
func (m *metrics) Collect(c chan<- prometheus.Metric) {
	s := m.spool
	s.mu.Lock()
	n := s.counts
	bytes, segments, pending := s.bytes, len(s.entries), s.pendingEvents()
	var first time.Time
	if segments > 0 {
		first = s.entries[0].first
	} else if s.active != nil && s.active.count > 0 {
		first = s.active.first
	}
	s.mu.Unlock()

	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v float64) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	counter(m.appended, float64(n.appended))
	for r := atCap; r < reasons; r++ {
		counter(m.refused, float64(n.refused[r]), reasonNames[r])
	}
	gauge(m.bytes, float64(bytes))
	gauge(m.segments, float64(segments))
	gauge(m.pending, float64(pending))
	age := 0.0
	if !first.IsZero() {
		age = max(time.Since(first).Seconds(), 0)
	}
	gauge(m.oldest, age)
	counter(m.damagedRecords, float64(n.damagedRecords))
	counter(m.damagedBytes, float64(n.damagedBytes))
	counter(m.syncErrors, float64(n.syncErrors))
}
