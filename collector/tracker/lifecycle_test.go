package tracker_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/halfmask/halfmask/internal/testkit/browser"
)

func backForwardCache(t *testing.T, s *site, tab *browser.Tab) {
	s.page("/menu", s.tag+`<a href="/away">go</a><script>addEventListener('pageshow', (e) => { window.restored = e.persisted })</script>`)
	s.page("/away", "")
	tab.Open(s.url("/menu"))
	tab.Click("a")
	tab.Until("location.pathname == '/away'")
	s.want(tab, "pageview /menu")
	browser.Eval[int](tab, "history.back() || 1")
	tab.Until("window.restored")
	s.want(tab, "pageview /menu", "pageview /menu")
}

func prerendered(t *testing.T, s *site, tab *browser.Tab) {
	open := s.gate("/open")
	s.page("/", `<script type="speculationrules">{"prerender": [{"urls": ["/next"], "eagerness": "immediate"}]}</script>
		<script>fetch('/open').then(() => { location.href = '/next' })</script>`)
	s.page("/next", s.tag+`<script>
		addEventListener('load', () => {
			const before = document.prerendering
			halfmask('Loaded')
			fetch('/prerendered?' + before)
			document.addEventListener('prerenderingchange', () => fetch('/shown'))
		})
	</script>`)
	tab.Unwatched(s.url("/"), false)
	s.visited("/prerendered")
	s.want(tab)
	open()
	s.visited("/shown")
	for _, b := range s.want(tab, "pageview /next", "Loaded /next") {
		if purpose := b.header.Get("Sec-Purpose"); purpose != "" {
			t.Errorf("%v was sent while prerendering: Sec-Purpose: %s", b, purpose)
		}
	}
}

func hidden(_ *testing.T, s *site, tab *browser.Tab) {
	s.page("/", s.tag+`<script>
		addEventListener('load', () => {
			halfmask('Loaded')
			history.pushState(null, '', '/second')
			fetch(document.hidden ? '/loaded-hidden' : '/loaded-visible')
		})
	</script>`)
	show := tab.Unwatched(s.url("/"), true)
	s.visited("/loaded-hidden")
	s.want(tab)
	show()
	s.want(tab, "pageview /second", "Loaded /second") // only what was seen
}

func leaving(_ *testing.T, s *site, tab *browser.Tab) {
	defer s.gate("/slow")()
	s.page("/", s.tag+`<script>addEventListener('pagehide', () => halfmask('Leave'))</script>`)
	closing := tab.Beside()
	closing.Open(s.url("/"))
	s.want(tab, "pageview /")
	// Every connection to the collector is busy until the page is gone.
	browser.Eval[int](closing, "[0, 1, 2, 3, 4, 5].map((i) => (new Image().src = '"+s.on("stats.shop.test", "/slow")+"?' + i)).length")
	s.visited("/slow")
	closing.Close()
	s.want(tab, "pageview /", "Leave /")
}

func forbidden(t *testing.T, s *site, tab *browser.Tab) {
	s.answer("/", page{
		body:   recordErrors + s.tag + `<script>addEventListener('load', () => { halfmask('Signup'); history.pushState(null, '', '/menu'); window.done = true })</script>`,
		header: map[string]string{"Content-Security-Policy": "connect-src 'none'"},
	})
	s.page("/away", "")
	// On the script's own host, for the browser hides what a foreign one throws.
	tab.Open(s.on("stats.shop.test", "/"))
	tab.Until("window.done")
	if errors := browser.Eval[[]string](tab, "new Promise((done) => setTimeout(() => done(errors)))"); len(errors) > 0 {
		t.Errorf("the script threw %q", errors)
	}
	tab.Open(s.url("/away"))
	s.want(tab)
}

func collectorAway(t *testing.T, s *site, tab *browser.Tab) {
	closed := httptest.NewServer(nil)
	closed.Close() // its port refuses connections from now on
	s.page("/", recordErrors+strings.Replace(s.tag, "data-site", `data-api="`+closed.URL+`" data-site`, 1))
	tab.Open(s.url("/"))
	browser.Eval[int](tab, "halfmask('Signup') || 1")
	browser.Eval[bool](tab, "fetch('"+closed.URL+"').catch(() => true)")
	if errors := browser.Eval[[]string](tab, "errors"); len(errors) > 0 {
		t.Errorf("the script threw %q", errors)
	}
}

// TestScriptUnderDoNotTrack has the browser's own setting on.
func TestScriptUnderDoNotTrack(t *testing.T) {
	b := browser.Start(t, browser.Options{Preferences: map[string]any{"enable_do_not_track": true}})
	s, tab := newSite(t), b.Tab(t)
	tab.Open(s.url("/"))
	browser.Eval[int](tab, "halfmask('Signup') || 1")
	s.want(tab)
	if !browser.Eval[bool](tab, "halfmask.optedOut()") {
		t.Error("a banner would not learn that the browser said no")
	}
}

// TestScriptIgnoresAutomatedBrowsers has navigator.webdriver on.
func TestScriptIgnoresAutomatedBrowsers(t *testing.T) {
	b := browser.Start(t, browser.Options{Webdriver: true})
	s, tab := newSite(t), b.Tab(t)
	s.page("/local", strings.Replace(s.tag, "data-site", "data-local data-site", 1))
	tab.Open(s.url("/"))
	s.want(tab)
	tab.Open(s.url("/local")) // a site's own tests may want to be counted
	s.want(tab, "pageview /local")
}
