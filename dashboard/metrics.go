package dashboard

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The results of logins: a closed set.
const (
	loginOK        = "ok"
	loginFailed    = "failed"
	loginThrottled = "throttled"
	loginCrowded   = "crowded"
)

type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	logins   *prometheus.CounterVec
	faults   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "halfmask_dashboard_requests_total", Help: "Requests answered, by route and class of status code.",
		}, []string{"route", "code_class"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "halfmask_dashboard_request_duration_seconds", Help: "Time to answer a request.",
			Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "halfmask_dashboard_logins_total", Help: "Attempts to log in, by result.",
		}, []string{"result"}),
		faults: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "halfmask_dashboard_connection_faults_total", Help: "Faults of connections, which are not logged because they name addresses.",
		}, []string{"reason"}),
	}
	for _, result := range []string{loginOK, loginFailed, loginThrottled, loginCrowded} {
		m.logins.WithLabelValues(result)
	}
	reg.MustRegister(m.requests, m.duration, m.logins, m.faults)
	return m
}

// observe counts and times what h answers under a route's name.
func (m *metrics) observe(route string, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		watched := &statusWriter{ResponseWriter: w, code: http.StatusOK}
		start := time.Now()
		finished := false
		defer func() {
			if !finished {
				watched.code = http.StatusInternalServerError // a panic on its way to recovered
			}
			m.requests.WithLabelValues(route, strconv.Itoa(watched.code/100)+"xx").Inc()
			m.duration.WithLabelValues(route).Observe(time.Since(start).Seconds())
		}()
		h(watched, r)
		finished = true
	})
}

// statusWriter remembers the status code.
type statusWriter struct {
	http.ResponseWriter
	code int
}

func (w *statusWriter) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController through.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
