package e2e_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfmask/halfmask/e2e"
	"github.com/halfmask/halfmask/internal/testkit"
)

// accessLog is a public web log of 10,000 requests in Apache's combined
// format. It is not part of this repository; HALFMASK_ACCESS_LOG names another
// place for it, or another log.
const accessLog = "../../shared/data/access.log.gz"

// request is one line of the log.
type request struct{ address, path, referrer, agent string }

var combined = regexp.MustCompile(`^(\S+) \S+ \S+ \[[^\]]+\] "GET (\S+) [^"]*" (?:200|304) \S+ "([^"]*)" "([^"]*)"`)

// Whom nobody could take for anything else: a check on Halfmask's own verdict.
var (
	selfConfessed = regexp.MustCompile(`(?i)\w(bot|spider|crawler)\b`)
	plainBrowser  = regexp.MustCompile(`^Mozilla/5\.0 \((Windows NT|Macintosh)[^)]*\) (AppleWebKit/[\d.]+ \(KHTML, like Gecko\) Chrome/[\d.]+ Safari/[\d.]+|Gecko/\d+ Firefox/[\d.]+)$`)
)

// TestRealWebLog replays a real log's page requests as beacons through a
// trusted proxy: each accepted one is stored once, the counts by path are the
// log's, and no file, row, log line or metric holds a full address.
func TestRealWebLog(t *testing.T) {
	pages := readLog(t)
	// Long enough for the spool to be looked at while it holds the events.
	server := e2e.Start(t, e2e.Options{Args: []string{"--trusted-proxies", "127.0.0.1/32", "--batch-interval", "1m", "--log-level", "debug"}})
	server.AddSite(t, "semicomplete.com")
	token := server.AddToken(t, "semicomplete.com")

	addresses := map[string]bool{}
	want := map[string]float64{}
	people, robots := 0, 0
	for _, p := range pages {
		addresses[p.address] = true
		switch dropped := replay(t, server, p); dropped {
		case "":
			if selfConfessed.MatchString(p.agent) {
				t.Errorf("taken for a person: %s", p.agent)
			}
			people++
			want[pagePath(t, p.path)]++
		case "bot":
			if plainBrowser.MatchString(p.agent) {
				t.Errorf("taken for a robot: %s", p.agent)
			}
			robots++
		default:
			t.Fatalf("a page request was dropped as %q", dropped)
		}
	}
	t.Logf("%d page requests from %d addresses: %d of people, %d of robots", len(pages), len(addresses), people, robots)
	if people < 1000 || robots < 500 || len(addresses) < 1000 {
		t.Fatal("that is not the log that this test was written for")
	}
	search := newSearch(written, slices.Collect(maps.Keys(addresses))...)
	spooled := search.folder(t, filepath.Join(server.Data, "spool"))
	if spooled < people*50 {
		t.Fatalf("only %d bytes of spool were searched for %d events", spooled, people)
	}
	metrics := []byte(fetch(t, server.Operations+"/metrics"))
	server.Stop(t) // stores what the spool holds
	search.bytes("the output", []byte(server.Output()))
	search.bytes("the metrics", metrics)
	search.folder(t, server.Data)

	server.Restart(t)
	got := map[string]float64{}
	for _, row := range server.Query(t, token, e2e.Question{
		Site: "semicomplete.com", Metrics: []string{"pageviews"}, Dimensions: []string{"event:page"}, DateRange: "7d",
	}) {
		got[row.Dimensions[0]] = *row.Metrics[0]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pageviews by page (-log +Halfmask):\n%s", diff)
	}
	server.Stop(t)
	engine := testkit.NewEngine(t, filepath.Join(server.Data, "engine"))
	rows := search.tables(t, engine.Dial, engine.Writer().User, engine.Writer().Password)
	if rows["halfmask.events"] < people {
		t.Errorf("only %d events were searched", rows["halfmask.events"])
	}
	search.nothing(t)
}

// readLog returns the log's requests for pages, as opposed to what pages load.
func readLog(t *testing.T) []request {
	t.Helper()
	name := accessLog
	if other := os.Getenv("HALFMASK_ACCESS_LOG"); other != "" {
		name = other
	}
	f, err := os.Open(name)
	if err != nil {
		t.Skipf("the web log is not here; HALFMASK_ACCESS_LOG may name one in combined format, gzipped: %v", err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var pages []request
	lines := bufio.NewScanner(unzipped)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m := combined.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		r := request{m[1], m[2], m[3], m[4]}
		before, _, _ := strings.Cut(r.path, "?")
		switch strings.ToLower(path.Ext(before)) {
		case "", ".html", ".php":
			pages = append(pages, r)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return pages
}

// replay sends a page request as the beacon that its browser would have sent,
// and returns why it was dropped, if it was.
func replay(t *testing.T, server *e2e.Server, r request) (dropped string) {
	t.Helper()
	referrer := r.referrer
	if referrer == "-" {
		referrer = ""
	}
	body, err := json.Marshal(map[string]string{"n": "pageview", "u": "http://www.semicomplete.com" + r.path, "d": "semicomplete.com", "r": referrer})
	if err != nil {
		t.Fatal(err)
	}
	beacon, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.Collector+"/api/event", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	beacon.Header.Set("User-Agent", r.agent)
	beacon.Header.Set("X-Forwarded-For", r.address)
	response, err := http.DefaultClient.Do(beacon)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusAccepted {
		t.Fatalf("%q was answered %d %s", r.path, response.StatusCode, answer)
	}
	return response.Header.Get("X-Halfmask-Dropped")
}

// pagePath is the path as the dashboard shows it, found out independently.
func pagePath(t *testing.T, target string) string {
	t.Helper()
	u, err := url.Parse("http://www.semicomplete.com" + target)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimRight(u.Path, " ")
}
