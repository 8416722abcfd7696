package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/halfmask/halfmask/e2e"
	"github.com/halfmask/halfmask/internal/testkit/browser"
)

const kills = 20

// TestKilledUnderLoad: whatever is killed, every event answered 202 is stored
// exactly once.
func TestKilledUnderLoad(t *testing.T) {
	for _, c := range []struct {
		name string
		kill func(*testing.T, *e2e.Server)
	}{
		{"halfmask", func(t *testing.T, s *e2e.Server) { s.Kill(t); s.Restart(t) }},
		{"engine", func(t *testing.T, s *e2e.Server) { s.KillEngine(t) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := e2e.Start(t, e2e.Options{Args: []string{"--batch-interval", "50ms"}})
			server.AddSite(t, "example.com")
			token := server.AddToken(t, "example.com")
			load := startLoad(server.Collector)
			for range kills {
				// Long enough for batches to be under way, at no fixed point of theirs.
				time.Sleep(time.Duration(150+rand.IntN(250)) * time.Millisecond)
				c.kill(t, server)
			}
			time.Sleep(200 * time.Millisecond)
			accepted, sent := load.stop()
			if len(accepted) < kills*20 {
				t.Fatalf("only %d events were accepted: that is no load", len(accepted))
			}
			e2e.Eventually(t, "nothing waits in the spool", func() bool {
				return server.Metrics(t).Value("halfmask_spool_pending_events") == 0
			})
			checkStored(t, server, token, accepted, sent)
			// What the books say of this run must be what its listeners saw.
			m := server.Metrics(t)
			if refused := m.Value("halfmask_collector_refused_events_total"); refused != 0 {
				t.Errorf("%v events were refused", refused)
			}
		})
	}
}

// checkStored compares what storage holds with what was sent. An event whose
// answer was cut off by a kill may be there or not, but not twice.
func checkStored(t *testing.T, server *e2e.Server, token string, accepted map[string]bool, sent int) {
	t.Helper()
	stored := map[string]float64{}
	for offset := 0; ; offset += 5000 {
		rows := server.Query(t, token, e2e.Question{
			Site: "example.com", Metrics: []string{"pageviews"}, Dimensions: []string{"event:page"}, DateRange: "7d",
			OrderBy: [][2]string{{"event:page", "asc"}}, Pagination: &e2e.Pagination{Limit: 5000, Offset: offset},
		})
		for _, row := range rows {
			stored[row.Dimensions[0]] += *row.Metrics[0]
		}
		if len(rows) < 5000 {
			break
		}
	}
	lost, doubled := 0, 0
	for path := range accepted {
		if stored[path] == 0 {
			lost++
		}
	}
	for _, n := range stored {
		if n > 1 {
			doubled++
		}
	}
	t.Logf("sent %d, accepted %d, stored %d", sent, len(accepted), len(stored))
	if lost > 0 || doubled > 0 {
		t.Errorf("%d accepted events are lost, %d are stored more than once", lost, doubled)
	}
	if len(stored) > sent {
		t.Errorf("%d events are stored, but only %d were sent", len(stored), sent)
	}
}

// load sends events, each with a path of its own, until it is stopped.
type load struct {
	done     chan struct{}
	wg       sync.WaitGroup
	mu       sync.Mutex
	accepted map[string]bool
	sent     int
}

func startLoad(collector string) *load {
	l := &load{done: make(chan struct{}), accepted: map[string]bool{}}
	for worker := range 4 {
		l.wg.Go(func() { l.send(collector, worker) })
	}
	return l
}

func (l *load) send(collector string, worker int) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
	for n := 0; ; n++ {
		select {
		case <-l.done:
			return
		case <-time.After(4 * time.Millisecond): // about 1,000 a second in all
		}
		path := fmt.Sprintf("/%d/%d", worker, n)
		body := fmt.Sprintf(`{"n":"pageview","u":"https://example.com%s","d":"example.com"}`, path)
		request, err := http.NewRequest(http.MethodPost, collector+"/api/event", strings.NewReader(body))
		if err != nil {
			panic(err)
		}
		request.Header.Set("User-Agent", browser.UserAgent)
		l.mu.Lock()
		l.sent++
		l.mu.Unlock()
		response, err := client.Do(request)
		if err != nil {
			continue // killed: it may be stored or not
		}
		answer, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode == http.StatusAccepted && err == nil && bytes.Equal(answer, []byte("ok")) {
			l.mu.Lock()
			l.accepted[path] = true
			l.mu.Unlock()
		}
	}
}

func (l *load) stop() (accepted map[string]bool, sent int) {
	close(l.done)
	l.wg.Wait()
	return l.accepted, l.sent
}
