package ledger

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// The metrics that the books have beside those of their counters. All of them
// survive restarts.
var (
	storedDesc      = desc("stored_events_total", "Events that left the spool for storage's disk, in all runs.")
	quarantinedDesc = desc("quarantined_events_total", "Events put aside because storage refuses them or they cannot be read, in all runs.")
	interruptedDesc = desc("interrupted_events_total", "Events that a kill interrupted before the spool had them; they were not answered.")
	writtenOffDesc  = desc("written_off_events_total", "Residue that somebody has looked into and written off.", "what")
	deletedDesc     = desc("deleted_events_total", "Stored events that are gone although not too old: of sites that were removed, or written off.")
	spooledDesc     = desc("spooled_events", "Events in the spool that are not booked as stored yet.")
	inFlightDesc    = desc("in_flight_events", "Events received that are not answered yet.")
	residueDesc     = desc("residue_events", "Events that the books cannot account for, whichever way, storage included: must be 0.")
	storageDesc     = desc("storage_missing_events", "Events that storage lacked (negative: had too many) when it was last compared.")
	comparedDesc    = desc("compared_timestamp_seconds", "When the books were last compared with storage; 0 if not in this run.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("halfmask_ledger_"+name, help, labels, nil)
}

func (l *Ledger) register() error {
	if l.opts.Registerer == nil {
		return nil
	}
	if err := l.opts.Registerer.Register(l); err != nil {
		return fmt.Errorf("cannot register the ledger's metrics: %w", err)
	}
	return nil
}

// Describe implements prometheus.Collector. It names nothing, because whose
// counters these are is not known in advance.
func (l *Ledger) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (l *Ledger) Collect(c chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	b := l.balance()
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	for _, n := range l.lines {
		counter(n.desc, n.cell.Value(), n.labels...)
	}
	counter(storedDesc, b.Stored)
	counter(quarantinedDesc, l.state.quarantined)
	counter(interruptedDesc, b.Interrupted)
	counter(writtenOffDesc, l.count(writtenOff, missing).Value(), missing)
	counter(writtenOffDesc, l.count(writtenOff, surplus).Value(), surplus)
	counter(deletedDesc, b.Deleted)
	gauge(spooledDesc, float64(b.Spooled))
	gauge(inFlightDesc, float64(b.InFlight))
	gauge(residueDesc, float64(b.Off()))
	gauge(storageDesc, float64(b.Storage.Missing))
	at := 0.0
	if !b.Storage.At.IsZero() {
		at = float64(b.Storage.At.Unix())
	}
	gauge(comparedDesc, at)
}
