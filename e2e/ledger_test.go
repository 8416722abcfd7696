package e2e_test

import (
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/halfmask/halfmask/e2e"
	"github.com/halfmask/halfmask/internal/testkit/browser"
)

// TestTheBooksBalanceOverKills: after each of 20 kills under load the books
// account for every event, and in the end they are what storage holds.
func TestTheBooksBalanceOverKills(t *testing.T) {
	server := e2e.Start(t, e2e.Options{Args: []string{"--batch-interval", "50ms"}})
	server.AddSite(t, "example.com")
	token := server.AddToken(t, "example.com")
	stop := traffic(server.Collector)
	for range 20 {
		// Long enough for batches to be under way, at no fixed point of theirs.
		time.Sleep(time.Duration(100+rand.IntN(200)) * time.Millisecond)
		server.Kill(t)
		server.Restart(t)
		balances(t, server)
	}
	accepted := stop()
	e2e.Eventually(t, "nothing waits in the spool", func() bool {
		return server.Metrics(t).Value("halfmask_ledger_spooled_events") == 0
	})
	stored := server.Totals(t, token, "example.com", "events")[0]
	if accepted < 400 || stored < float64(accepted) {
		t.Errorf("%d events were accepted, %v are stored", accepted, stored)
	}
	balancesAtRest(t, server, stored)
}

// traffic sends events, one in three of a site that does not exist, until it is
// stopped; then it tells how many were accepted.
func traffic(collector string) (stop func() int) {
	var wg sync.WaitGroup
	var accepted atomic.Int64
	done := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				case <-time.After(4 * time.Millisecond):
				}
				domain := []string{"example.com", "example.com", "nobody.example"}[n%3]
				request, err := http.NewRequest(http.MethodPost, collector+"/api/event",
					strings.NewReader(`{"n":"pageview","u":"https://example.com/","d":"`+domain+`"}`))
				if err != nil {
					panic(err)
				}
				request.Header.Set("User-Agent", browser.UserAgent)
				response, err := client.Do(request)
				if err != nil {
					continue // killed
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				if response.StatusCode == http.StatusAccepted {
					accepted.Add(1)
				}
			}
		})
	}
	return func() int {
		close(done)
		wg.Wait()
		return int(accepted.Load())
	}
}

// balances expects that the books account for every event, whatever is under
// way.
func balances(t *testing.T, server *e2e.Server) {
	t.Helper()
	m := server.Metrics(t)
	if m["halfmask_ledger_residue_events"] == nil || m.Value("halfmask_ledger_residue_events") != 0 {
		t.Errorf("the books do not balance:\n%s", server.Run(t, "ledger"))
	}
}

// balancesAtRest expects that every event received since the first start has a
// fate, and that those which were stored are in storage.
func balancesAtRest(t *testing.T, server *e2e.Server, inStorage float64) {
	t.Helper()
	sum := func(m e2e.Metrics, names ...string) (n float64) {
		for _, name := range names {
			n += m.Value("halfmask_" + name)
		}
		return n
	}
	m := server.Metrics(t)
	received := m.Value("halfmask_collector_received_events_total")
	fates := sum(m, "ledger_stored_events_total", "collector_dropped_events_total", "collector_suppressed_events_total",
		"collector_rejected_requests_total", "collector_refused_events_total", "ledger_quarantined_events_total", "ledger_interrupted_events_total")
	if received != fates || m.Value("halfmask_ledger_residue_events") != 0 || m.Value("halfmask_ledger_in_flight_events") != 0 {
		t.Errorf("%v events were received, %v have a fate:\n%s", received, fates, server.Run(t, "ledger"))
	}
	if stored := m.Value("halfmask_ledger_stored_events_total"); stored != inStorage {
		t.Errorf("%v events are booked as stored, storage holds %v", stored, inStorage)
	}
	t.Logf("the books:\n%s", server.Run(t, "ledger", "--verify"))
}
