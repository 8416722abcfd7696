package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Load sends pageviews, each of a path of its own, and remembers what became
// of each.
type Load struct {
	server   *Server
	domain   string
	sent     atomic.Int64
	accepted atomic.Int64

	mu     sync.Mutex
	paths  []string // answered 202
	doubts []string // not answered: may have been accepted
	wrong  error    // an answer that there is no excuse for

	stop context.CancelFunc
	done sync.WaitGroup
}

// userAgent is that of an ordinary browser.
const userAgent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"

// StartLoad sends events of domain to the server, at most 100 a second over each
// connection, until Stop. While the server is away it tries again, with new
// events.
func StartLoad(t testing.TB, server *Server, domain string, connections int) *Load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &Load{server: server, domain: domain, stop: stop}
	url := server.Collector + "/api/event" // it stays the same over restarts
	for range connections {
		l.done.Go(func() {
			transport := &http.Transport{MaxIdleConns: 1}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: patience}
			for pace := time.NewTicker(10 * time.Millisecond); ctx.Err() == nil; <-pace.C {
				l.send(ctx, client, url)
			}
		})
	}
	t.Cleanup(func() { stop(); l.done.Wait() })
	return l
}

func (l *Load) send(ctx context.Context, client *http.Client, url string) {
	path := fmt.Sprintf("/%d", l.sent.Add(1))
	body := fmt.Sprintf(`{"n":"pageview","u":"https://%s%s","d":%q}`, l.domain, path, l.domain)
	// Not cancelled by Stop: then the answer would be in doubt for no reason.
	request, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		l.note(&l.doubts, path, err)
		return
	}
	request.GetBody = nil // net/http must not send it again by itself
	request.Header.Set("User-Agent", userAgent)
	response, err := client.Do(request)
	if err != nil {
		l.note(&l.doubts, path, nil) // the server is away
		return
	}
	_, _ = io.Copy(io.Discard, response.Body) // the status has arrived, and it is the answer
	_ = response.Body.Close()
	switch {
	case response.StatusCode == http.StatusAccepted && response.Header.Get("X-Halfmask-Dropped") == "":
		l.accepted.Add(1)
		l.note(&l.paths, path, nil)
	case response.StatusCode == http.StatusServiceUnavailable: // an honest refusal: it must not be stored
	default:
		l.note(&l.doubts, path, fmt.Errorf("an event was answered %s, dropped: %q", response.Status, response.Header.Get("X-Halfmask-Dropped")))
	}
}

func (l *Load) note(list *[]string, path string, wrong error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*list = append(*list, path)
	l.wrong = errors.Join(l.wrong, wrong)
}

// Accepted waits until n more events were answered 202.
func (l *Load) Accepted(t testing.TB, n int64) {
	t.Helper()
	from := l.accepted.Load()
	Eventually(t, fmt.Sprintf("%d more events are accepted", n), func() bool { return l.accepted.Load() >= from+n })
}

// Stop ends the load.
func (l *Load) Stop(t testing.TB) {
	t.Helper()
	l.stop()
	l.done.Wait()
	if l.wrong != nil {
		t.Error(l.wrong)
	}
}

// StoredOnce waits until everything that was accepted is stored, and checks
// that it is there once, and what is in doubt at most once.
func (l *Load) StoredOnce(t testing.TB, token string) {
	t.Helper()
	Eventually(t, "the spool is empty", func() bool {
		return l.server.Metrics(t).Value("halfmask_spool_pending_events") == 0
	})
	stored := l.server.ByDimension(t, token, l.domain, "pageviews", "event:page")
	lost, double := 0, 0
	for _, path := range l.paths {
		switch n := stored[path]; {
		case n == 0:
			lost++
		case n > 1:
			double++
		}
		delete(stored, path)
	}
	for _, path := range l.doubts {
		if stored[path] > 1 {
			double++
		}
		delete(stored, path)
	}
	if lost+double+len(stored) > 0 {
		t.Errorf("of %d accepted events and %d in doubt, %d are lost, %d stored twice, and %d are there that nobody sent",
			len(l.paths), len(l.doubts), lost, double, len(stored))
	}
	t.Logf("%d events accepted, %d in doubt", len(l.paths), len(l.doubts))
}
