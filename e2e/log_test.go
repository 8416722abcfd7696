package e2e_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/halfmask/halfmask/e2e"
	"github.com/halfmask/halfmask/storage/engine"
)

// combined is a line of Apache's combined log format.
var combined = regexp.MustCompile(`^(\S+) \S+ \S+ \[[^\]]+\] "GET (\S+) HTTP/[\d.]+" 200 \S+ "([^"]*)" "([^"]*)"$`)

// request is a page request of the log.
type request struct{ address, path, referrer, agent string }

// TestAccessLog sends the page requests of a real web log as beacons, through
// a trusted proxy, with a kill in the middle. What was accepted is stored once,
// path by path, and no file, table or log line holds an address.
func TestAccessLog(t *testing.T) {
	requests := readLog(t)
	addresses := map[string]bool{}
	for _, r := range requests {
		addresses[r.address] = true
	}
	t.Logf("%d page requests from %d addresses", len(requests), len(addresses))

	server := e2e.Start(t, e2e.Options{Args: []string{"--trusted-proxies", "127.0.0.1/32", "--log-level", "debug"}})
	server.AddSite(t, "semicomplete.com")
	token := server.AddToken(t, "semicomplete.com")

	half := len(requests) / 2
	accepted := replay(t, server, requests[:half])
	server.Kill(t) // so that the spool still holds something to look into
	search(t, server.Data, addresses)
	searchText(t, "the log", server.Output(), addresses)
	server.Restart(t)
	for path, n := range replay(t, server, requests[half:]) {
		accepted[path] += n
	}
	e2e.Eventually(t, "the spool is empty", func() bool {
		return server.Metrics(t).Value("halfmask_spool_pending_events") == 0
	})
	if diff := cmp.Diff(accepted, server.ByDimension(t, token, "semicomplete.com", "pageviews", "event:page")); diff != "" {
		t.Errorf("pageviews by path (-accepted +stored):\n%s", diff)
	}
	server.Stop(t)
	search(t, server.Data, addresses)
	searchText(t, "the log", server.Output(), addresses)
	total := 0.0
	for _, n := range accepted {
		total += n
	}
	searchTables(t, filepath.Join(server.Data, "engine"), int(total), addresses)
}

// readLog reads HALFMASK_ACCESS_LOG, a gzipped log, and keeps what a browser
// would have sent a beacon for.
func readLog(t *testing.T) []request {
	t.Helper()
	name := os.Getenv("HALFMASK_ACCESS_LOG")
	if name == "" {
		t.Skip("HALFMASK_ACCESS_LOG does not name a gzipped access log in Apache's combined format")
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var requests []request
	lines := bufio.NewScanner(unpacked)
	for lines.Scan() {
		m := combined.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		r := request{address: m[1], path: m[2], referrer: m[3], agent: m[4]}
		plain, _, _ := strings.Cut(r.path, "?")
		if extension := path.Ext(plain); extension == "" || extension == ".html" || extension == ".xhtml" {
			requests = append(requests, r)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(requests) < 100 {
		t.Fatalf("the log has only %d page requests", len(requests))
	}
	return requests
}

// replay sends the requests as beacons and counts those that were accepted by
// the path they are stored under.
func replay(t *testing.T, server *e2e.Server, requests []request) map[string]float64 {
	t.Helper()
	accepted, dropped := map[string]float64{}, map[string]int{}
	var mu sync.Mutex
	var senders sync.WaitGroup
	work := make(chan request)
	for range 4 {
		senders.Go(func() {
			for r := range work {
				reason := beacon(t, server, r)
				mu.Lock()
				if reason == "" {
					accepted[stored(r.path)]++
				} else {
					dropped[reason]++
				}
				mu.Unlock()
			}
		})
	}
	for _, r := range requests {
		work <- r
	}
	close(work)
	senders.Wait()
	t.Logf("dropped: %v", dropped)
	for reason := range dropped {
		if reason != "bot" {
			t.Errorf("%d requests were dropped: %s", dropped[reason], reason)
		}
	}
	if len(accepted) == 0 || dropped["bot"] == 0 {
		t.Errorf("the log has people and robots, but %d paths were accepted and %d robots dropped", len(accepted), dropped["bot"])
	}
	return accepted
}

// stored is the path that a URL's path and query are stored under.
func stored(target string) string {
	escaped, _, _ := strings.Cut(target, "?")
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		return escaped
	}
	return strings.TrimRight(plain, " ")
}

// beacon sends one request of the log and returns why it was dropped, or "".
func beacon(t *testing.T, server *e2e.Server, r request) string {
	body, err := json.Marshal(map[string]string{
		"n": "pageview", "u": "http://semicomplete.com" + r.path, "d": "semicomplete.com", "r": strings.TrimPrefix(r.referrer, "-"),
	})
	if err != nil {
		t.Error(err)
		return "error"
	}
	post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.Collector+"/api/event", strings.NewReader(string(body)))
	if err != nil {
		t.Error(err)
		return "error"
	}
	post.Header.Set("User-Agent", r.agent)
	post.Header.Set("X-Forwarded-For", r.address)
	response, err := http.DefaultClient.Do(post)
	if err != nil {
		t.Errorf("cannot send a beacon: %v", err)
		return "error"
	}
	defer func() { _ = response.Body.Close() }()
	answer, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusAccepted {
		t.Errorf("the beacon of %s was answered %s: %s", r.path, response.Status, answer)
		return "error"
	}
	return response.Header.Get("X-Halfmask-Dropped")
}

// quad is what an IPv4 address looks like.
var quad = regexp.MustCompile(`\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}`)

// searchText fails if the text holds one of the addresses.
func searchText(t *testing.T, where, text string, addresses map[string]bool) {
	t.Helper()
	found := map[string]bool{}
	for _, candidate := range quad.FindAllString(text, -1) {
		if addresses[candidate] {
			found[candidate] = true
		}
	}
	if len(found) > 0 {
		t.Errorf("%s holds %d whole addresses, %s among them", where, len(found), slices.Sorted(maps.Keys(found))[0])
	}
}

// search looks into every file of the data folder.
func search(t *testing.T, folder string, addresses map[string]bool) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files++
		searchText(t, strings.TrimPrefix(name, folder), string(content), addresses)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Fatalf("%s holds no file", folder)
	}
}

// searchTables looks into every row of every table, unpacked. There must be
// at least so many.
func searchTables(t *testing.T, folder string, least int, addresses map[string]bool) {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Options{Library: e2e.Library(t), Dir: folder, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	writer := e.Writer()
	db, err := clickhouse.Open(&clickhouse.Options{
		Addr:        []string{"engine"},
		Auth:        clickhouse.Auth{Database: "halfmask", Username: writer.User, Password: writer.Password},
		DialContext: func(ctx context.Context, _ string) (net.Conn, error) { return e.Dial(ctx) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows := 0
	for _, table := range texts(t, db, "SELECT name FROM system.tables WHERE database = 'halfmask'") {
		for _, row := range texts(t, db, "SELECT formatRow('TSV', *) FROM `"+table+"`") {
			rows++
			searchText(t, "the table "+table, row, addresses)
		}
	}
	if rows < least {
		t.Errorf("the tables have only %d rows, fewer than the %d events", rows, least)
	}
}

func texts(t *testing.T, db clickhouse.Conn, query string) []string {
	t.Helper()
	rows, err := db.Query(context.WithoutCancel(t.Context()), query)
	if err != nil {
		t.Fatalf("cannot run %s: %v", query, err)
	}
	defer func() { _ = rows.Close() }()
	var all []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatalf("cannot read %s: %v", query, err)
		}
		all = append(all, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("cannot read %s: %v", query, err)
	}
	return all
}
