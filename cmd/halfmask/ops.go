package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newMetrics returns a registry that knows the process and the build.
func newMetrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	version, commit, goVersion := buildInfo()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "halfmask_build_info",
		Help:        "Always 1; the labels tell which build runs.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit, "goversion": goVersion},
	})
	info.Set(1)
	r.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// check is one line of /readyz.
type check struct {
	name string
	ok   func() bool
	// vital: without it events are refused. What is not vital is reported only:
	// the collector goes on, and the spool keeps what storage cannot take yet.
	vital bool
}

// opsHandler serves what the SRE looks at. It shows nothing of any visitor or
// site.
func opsHandler(metrics prometheus.Gatherer, log *slog.Logger, checks []check) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		EnableOpenMetrics: true,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		parts := map[string]string{}
		status := http.StatusOK
		for _, c := range checks {
			parts[c.name] = "ok"
			if !c.ok() {
				parts[c.name] = "not ready"
				if c.vital {
					status = http.StatusServiceUnavailable
				}
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"ready": status == http.StatusOK, "parts": parts})
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("Halfmask operations\n\n/metrics  for Prometheus\n/healthz  the process is alive\n/readyz   events are accepted\n"))
	})
	return mux
}

// webServer is an http.Server with the limits that a server open to anybody
// needs.
func webServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(silent{log.Handler()}, slog.LevelDebug),
	}
}
