package engine

import "github.com/prometheus/client_golang/prometheus"

// metrics reads the engine's state when it is scraped; between scrapes it costs
// nothing.
type metrics struct {
	engine                        *Engine
	up, restarts, resident, doubt *prometheus.Desc
}

func newMetrics(e *Engine) *metrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("halfmask_engine_"+name, help, nil, nil)
	}
	return &metrics{
		engine:   e,
		up:       desc("up", "Whether the local ClickHouse engine runs and has answered."),
		restarts: desc("restarts_total", "Times the local engine was started again after it died or hung."),
		resident: desc("resident_bytes", "Resident memory of the local engine's process."),
		doubt:    desc("clock_doubt_seconds", "How far the wall clock ran ahead of every explanation; above 0 nothing is deleted by age."),
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.up
	ch <- m.restarts
	ch <- m.resident
	ch <- m.doubt
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	up, resident := 0.0, 0.0
	if pid := m.engine.PID(); pid != 0 {
		up, resident = 1, residentBytes(pid)
	}
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	gauge(m.up, up)
	gauge(m.resident, resident)
	gauge(m.doubt, m.engine.ClockDoubt().Seconds())
	ch <- prometheus.MustNewConstMetric(m.restarts, prometheus.CounterValue, float64(m.engine.Restarts()))
}
