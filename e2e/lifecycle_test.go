package e2e_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/halfmask/halfmask/e2e"
	"github.com/halfmask/halfmask/internal/testkit/browser"
)

// TestStopAndRestart holds what the command line promises about starting and
// stopping: the addresses it prints are served, SIGTERM ends it with status 0,
// a command works without a server, and what was accepted is there afterwards.
func TestStopAndRestart(t *testing.T) {
	server := e2e.Start(t, e2e.Options{})
	server.AddSite(t, "example.com")
	token := server.AddToken(t, "example.com")
	send(t, server, "/one")
	server.Stop(t)

	if sites := server.Run(t, "site", "list"); !strings.Contains(sites, "example.com") {
		t.Errorf("without a server, `site list` prints %q", sites)
	}
	server.Restart(t)
	send(t, server, "/two")
	pages := map[string]float64{}
	e2e.Eventually(t, "both events are stored", func() bool {
		pages = server.ByDimension(t, token, "example.com", "pageviews", "event:page")
		return len(pages) >= 2
	})
	if pages["/one"] != 1 || pages["/two"] != 1 {
		t.Errorf("pageviews by page are %v, want one of each", pages)
	}
	if visits := server.Totals(t, token, "example.com", "visits")[0]; visits != 1 {
		t.Errorf("a restart made %v visits of one", visits)
	}
}

// send sends a pageview of example.com and expects it to be accepted.
func send(t *testing.T, server *e2e.Server, path string) {
	t.Helper()
	body := `{"n":"pageview","u":"https://example.com` + path + `","d":"example.com"}`
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.Collector+"/api/event", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("User-Agent", browser.UserAgent)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("cannot send an event: %v", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if dropped := response.Header.Get("X-Halfmask-Dropped"); response.StatusCode != http.StatusAccepted || dropped != "" {
		t.Fatalf("the event was answered %d %s, dropped: %q", response.StatusCode, answer, dropped)
	}
}
