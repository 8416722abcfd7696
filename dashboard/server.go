package dashboard

import (
	"bytes"
	"log"
	"log/slog"
	"net/http"
	"time"
)

// Server returns a server for the handler with limits on how slow and large a
// request may be. Its log drops what net/http says about a connection, which
// names the peer's address, and counts it instead.
func (d *Dashboard) Server() *http.Server {
	return &http.Server{
		Handler:           d.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      queryTimeout + 15*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(faultCounter{d.metrics, d.log}, "", 0),
	}
}

// faultCounter turns net/http's complaints into counts.
type faultCounter struct {
	metrics *metrics
	log     *slog.Logger
}

// Write implements io.Writer for one line of the log.
func (f faultCounter) Write(line []byte) (int, error) {
	reason := "other"
	switch {
	case bytes.Contains(line, []byte("TLS handshake error")):
		reason = "tls_handshake"
	case bytes.Contains(line, []byte("panic serving")):
		reason = "panic"
		f.log.Error("a connection of the dashboard panicked; this is a defect, please report it")
	case bytes.Contains(line, []byte("Accept error")):
		reason = "accept"
		f.log.Error("cannot accept a connection; the process may be out of file descriptors")
	}
	f.metrics.faults.WithLabelValues(reason).Inc()
	return len(line), nil
}
