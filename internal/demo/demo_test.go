package demo_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/halfmask/halfmask/collector/tracker"
	"github.com/halfmask/halfmask/internal/demo"
	"github.com/halfmask/halfmask/internal/testkit/browser"
)

const (
	collectorURL = "http://localhost:8080"
	dashboardURL = "http://localhost:8081"
)

func get(t *testing.T, h http.Handler, path string) (status int, body string, header http.Header) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String(), w.Header()
}

// TestEveryLinkLeadsSomewhere follows the links of every page, and makes sure
// that none but the two that the demo was given lead to another host.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	h := demo.Handler(collectorURL, "demo.localhost", dashboardURL)
	link := regexp.MustCompile(`(?:href|src)="([^"]*)"`)
	seen := map[string]bool{}
	for queue := []string{"/"}; len(queue) > 0; queue = queue[1:] {
		path := queue[0]
		if seen[path] {
			continue
		}
		seen[path] = true
		status, body, header := get(t, h, path)
		if status != http.StatusOK {
			t.Errorf("%s answers %d", path, status)
		}
		if !strings.HasPrefix(header.Get("Content-Type"), "text/html") {
			continue
		}
		if !strings.Contains(body, `<script defer src="`+collectorURL+tracker.ScriptPath+`" data-local data-site="demo.localhost"></script>`) {
			t.Errorf("%s does not embed the tracker with data-local", path)
		}
		for _, m := range link.FindAllStringSubmatch(body, -1) {
			switch to := m[1]; {
			case strings.HasPrefix(to, "/"):
				queue = append(queue, to)
			case strings.HasPrefix(to, "#"), to == dashboardURL, to == collectorURL+tracker.ScriptPath:
			default:
				t.Errorf("%s leads to %s", path, to)
			}
		}
	}
	for _, path := range []string{"/", "/menu", "/menu/sencha", "/visit", "/privacy", "/site.css", "/site.js"} {
		if !seen[path] {
			t.Errorf("no link leads to %s", path)
		}
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	h := demo.Handler(collectorURL, "demo.localhost", dashboardURL)
	for _, path := range []string{"/nothing", "/menu/coffee", "/site", "/layout.html", "/menu/sencha/"} {
		if status, _, _ := get(t, h, path); status != http.StatusNotFound {
			t.Errorf("%s answers %d", path, status)
		}
	}
}

// collector serves the script and writes down the beacons, as "NAME PATH".
type collector struct {
	url     string
	mu      sync.Mutex
	beacons []string
	props   map[string]any
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	assets, err := tracker.Assets()
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == tracker.ScriptPath {
			w.Header().Set("Content-Type", assets[tracker.ScriptPath].ContentType)
			_, _ = w.Write(assets[tracker.ScriptPath].Body)
			return
		}
		body, _ := io.ReadAll(r.Body)
		var fields struct {
			N, U  string
			Props map[string]any
		}
		if r.Method == http.MethodPost {
			if err := json.Unmarshal(body, &fields); err != nil {
				t.Errorf("a beacon is not JSON: %v", err)
			}
			u, _ := url.Parse(fields.U)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.beacons = append(c.beacons, fields.N+" "+u.Path)
			if fields.Props != nil {
				c.props = fields.Props
			}
		}
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// want waits for the beacons, in any order, and makes sure that there are no
// more by the time a later request of the page has been answered.
func (c *collector) want(t *testing.T, tab *browser.Tab, want ...string) {
	t.Helper()
	got := func() []string {
		c.mu.Lock()
		defer c.mu.Unlock()
		return slices.Sorted(slices.Values(c.beacons))
	}
	slices.Sort(want)
	for deadline := time.Now().Add(30 * time.Second); len(got()) < len(want) && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	browser.Eval[bool](tab, "fetch('"+c.url+"/later', {mode: 'no-cors'}).then(() => true)")
	if !slices.Equal(got(), want) {
		t.Fatalf("the collector got %q, want %q; errors on the page: %q", got(), want, tab.Errors())
	}
}

func TestInABrowser(t *testing.T) {
	b := browser.Start(t, browser.Options{})
	open := func(t *testing.T) (*browser.Tab, *collector, string) {
		c := startCollector(t)
		server := httptest.NewServer(demo.Handler(c.url, "demo.localhost", dashboardURL))
		t.Cleanup(server.Close)
		base := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
		tab := b.Tab(t)
		tab.Open(base + "/")
		return tab, c, base
	}

	t.Run("counts pages, teas and the sign-up", func(t *testing.T) {
		tab, c, base := open(t)
		tab.Click("#signup")
		c.want(t, tab, "pageview /", "Signup /")
		if c.props["plan"] != "free" {
			t.Errorf("the sign-up has the properties %v", c.props)
		}
		tab.Open(base + "/menu")
		tab.Click(`[data-tea="oolong"]`)
		tab.Until("location.pathname == '/menu/oolong' && document.title.startsWith('Oolong')")
		if browser.Eval[int](tab, "document.querySelectorAll('article:not([hidden])').length") != 1 {
			t.Error("more is shown than the tea that was chosen")
		}
		browser.Eval[int](tab, "history.back() || 1")
		tab.Until("location.pathname == '/menu' && document.querySelectorAll('article:not([hidden])').length == 4")
		c.want(t, tab, "pageview /", "Signup /", "pageview /menu", "pageview /menu/oolong", "pageview /menu")
		if errors := tab.Errors(); len(errors) > 0 {
			t.Errorf("the pages reported %q", errors)
		}
	})

	t.Run("one click says no, another takes it back", func(t *testing.T) {
		tab, c, base := open(t)
		tab.See("#banner")
		tab.Click("#banner-no")
		tab.Until("document.querySelector('#banner').hidden")
		tab.Click("#signup")
		tab.Open(base + "/visit")
		if got := tab.Text("#counting span"); got != "You are not counted." {
			t.Errorf("the footer says %q", got)
		}
		c.want(t, tab, "pageview /")
		tab.Click("#counting button")
		if got := tab.Text("#counting span"); got != "You are counted, without cookies." {
			t.Errorf("the footer says %q", got)
		}
		tab.Open(base + "/privacy")
		if !browser.Eval[bool](tab, "document.querySelector('#banner').hidden") {
			t.Error("the banner asks again after an answer")
		}
		tab.Click("#choice-no")
		tab.Open(base + "/")
		c.want(t, tab, "pageview /", "pageview /privacy")
	})

	t.Run("an OK is enough", func(t *testing.T) {
		tab, c, base := open(t)
		tab.Click("#banner-ok")
		tab.Open(base + "/visit")
		if !browser.Eval[bool](tab, "document.querySelector('#banner').hidden") {
			t.Error("the banner asks again after an answer")
		}
		c.want(t, tab, "pageview /", "pageview /visit")
	})

	t.Run("the two answers are equals", func(t *testing.T) {
		tab, _, _ := open(t)
		for _, width := range []int64{1440, 390} {
			tab.Look(width, 900, false)
			same := `((a, b) => a.offsetWidth === b.offsetWidth && a.offsetHeight === b.offsetHeight &&
				['backgroundColor', 'color', 'fontWeight', 'fontSize', 'borderColor'].every((p) => getComputedStyle(a)[p] === getComputedStyle(b)[p]))
				(document.querySelector('#banner-ok'), document.querySelector('#banner-no'))`
			if !browser.Eval[bool](tab, same) {
				t.Errorf("at %d px one button is more inviting than the other", width)
			}
		}
	})

	t.Run("nothing scrolls sideways", func(t *testing.T) {
		tab, _, base := open(t)
		for name, path := range map[string]string{"home": "/", "menu": "/menu", "tea": "/menu/assam", "visit": "/visit", "privacy": "/privacy", "missing": "/nothing"} {
			for size, width := range map[string]int64{"wide": 1440, "phone": 390} {
				for scheme, dark := range map[string]bool{"light": false, "dark": true} {
					tab.Look(width, 900, dark)
					tab.Open(base + path)
					if over := browser.Eval[int](tab, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
						t.Errorf("%s is %d px too wide for %d px", path, over, width)
					}
					tab.Screenshot("demo-" + name + "-" + size + "-" + scheme)
				}
			}
		}
	})
}
