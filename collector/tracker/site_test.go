package tracker_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/halfmask/halfmask/collector/tracker"
	"github.com/halfmask/halfmask/internal/testkit/browser"
)

// site is a website on shop.test that embeds the script, and the collector on
// stats.shop.test that serves it and writes down every beacon. Its answers
// carry no CORS header: the script must do without.
type site struct {
	t    testing.TB
	port string
	tag  string // the line that the pages embed

	mu      sync.Mutex
	pages   map[string]page
	beacons []beacon
	visits  map[string]chan struct{} // closed when a path is first asked for
	gates   map[string]chan struct{} // a path here is answered once it is closed
}

type page struct {
	body   string
	header map[string]string
}

// beacon is one request to the endpoint.
type beacon struct {
	fields map[string]any
	header http.Header
}

func (b beacon) String() string {
	u, _ := url.Parse(fmt.Sprint(b.fields["u"]))
	return fmt.Sprintf("%v %s", b.fields["n"], u.RequestURI())
}

func newSite(t testing.TB) *site {
	t.Helper()
	assets, err := tracker.Assets()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, pages: map[string]page{}, visits: map[string]chan struct{}{}, gates: map[string]chan struct{}{}}
	script := assets[tracker.ScriptPath]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == tracker.ScriptPath:
			w.Header().Set("Content-Type", script.ContentType)
			_, _ = w.Write(script.Body)
		case r.Method == http.MethodPost:
			s.record(r)
			w.WriteHeader(http.StatusAccepted)
		default:
			s.serve(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s.port = server.URL[strings.LastIndexByte(server.URL, ':'):]
	s.tag = tracker.Snippet("http://stats.shop.test"+s.port, "shop.test")
	return s
}

func (s *site) record(r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Errorf("a beacon broke off: %v", err)
		return
	}
	b := beacon{header: r.Header}
	b.header.Set(":path", r.Host+r.URL.Path)
	if err := json.Unmarshal(body, &b.fields); err != nil {
		s.t.Errorf("a beacon is not JSON: %v: %s", err, body)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beacons = append(s.beacons, b)
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	p, known := s.pages[r.URL.Path]
	gate := s.gates[r.URL.Path]
	visited := s.visit(r.URL.Path)
	select {
	case <-visited:
	default:
		close(visited)
	}
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-r.Context().Done():
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	for name, value := range p.header {
		w.Header().Set(name, value)
	}
	if !known {
		p.body = s.tag
	}
	_, _ = io.WriteString(w, "<!doctype html><link rel=icon href=data:,><title>"+r.URL.Path+"</title>"+p.body)
}

func (s *site) visit(path string) chan struct{} {
	if s.visits[path] == nil {
		s.visits[path] = make(chan struct{})
	}
	return s.visits[path]
}

// visited waits until somebody asked for path.
func (s *site) visited(path string) {
	s.t.Helper()
	s.mu.Lock()
	visited := s.visit(path)
	s.mu.Unlock()
	select {
	case <-visited:
	case <-time.After(30 * time.Second):
		s.t.Fatalf("nobody asked for %s; beacons so far: %v", path, s.got())
	}
}

// page sets what is at path; elsewhere there are pages with the script alone.
func (s *site) page(path, body string) { s.answer(path, page{body: body}) }

func (s *site) answer(path string, p page) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[path] = p
}

// gate holds back the answer of path until open is called.
func (s *site) gate(path string) (open func()) {
	c := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gates[path] = c
	return sync.OnceFunc(func() { close(c) })
}

func (s *site) url(path string) string      { return s.on("shop.test", path) }
func (s *site) on(host, path string) string { return "http://" + host + s.port + path }

func (s *site) got() []beacon {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.beacons)
}

// want waits for the beacons that are named, in any order, each as "NAME
// PATH?QUERY", and makes sure that there are no more: a later request of the
// tab's page has been answered by then.
func (s *site) want(tab *browser.Tab, names ...string) []beacon {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); len(s.got()) < len(names) && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	browser.Eval[bool](tab, "fetch('"+s.on("stats.shop.test", "/barrier")+"', {mode: 'no-cors'}).then(() => true)")
	all := s.got()
	slices.SortStableFunc(all, func(a, b beacon) int { return strings.Compare(a.String(), b.String()) })
	var have []string
	for _, b := range all {
		have = append(have, b.String())
	}
	slices.Sort(names)
	if !slices.Equal(have, names) {
		s.t.Fatalf("the collector got %q, want %q; errors on the page: %q", have, names, tab.Errors())
	}
	return all
}
