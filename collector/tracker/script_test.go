package tracker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/halfmask/halfmask/internal/testkit/browser"
)

// TestScript drives the script that was built in a real browser.
func TestScript(t *testing.T) {
	b := browser.Start(t, browser.Options{})
	for _, c := range []struct {
		name string
		run  func(*testing.T, *site, *browser.Tab)
	}{
		{"reports a page view", reportsView},
		{"keeps nothing in the browser", keepsNothing},
		{"reports each path of a single-page app once", singlePageApp},
		{"takes the site from the page if the tag does not name it", noSite},
		{"sends to the endpoint that the tag names", otherEndpoint},
		{"reports custom events, those from before it loaded too", customEvents},
		{"does not count twice when embedded twice", embeddedTwice},
		{"sends nothing after a no, and remembers it", optOut},
		{"takes a no from another tab", optOutElsewhere},
		{"sends nothing under Global Privacy Control", globalPrivacyControl},
		{"carries the collector's own cookies", collectorCookies},
		{"sends nothing where storage is denied", storageDenied},
		{"ignores local hosts", localHosts},
		{"ignores files", files},
		{"reports a page again when it comes back from the back/forward cache", backForwardCache},
		{"waits until a prerendered page is shown", prerendered},
		{"waits until a page loaded in the background is seen", hidden},
		{"delivers what is sent while the page is left", leaving},
		{"keeps quiet where the page forbids connections", forbidden},
		{"keeps quiet while the collector is away", collectorAway},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newSite(t), b.Tab(t)) })
	}
}

func reportsView(t *testing.T, s *site, tab *browser.Tab) {
	s.page("/from", `<a href="`+s.url("/pricing?utm_source=news#token=secret")+`">go</a>`)
	tab.Open(s.on("other.test", "/from"))
	tab.Click("a")
	got := s.want(tab, "pageview /pricing?utm_source=news")[0]
	want := map[string]any{
		"n": "pageview",
		"u": s.url("/pricing?utm_source=news"), // without the fragment
		"d": "shop.test",
		"r": s.on("other.test", "/"), // no more than the browser tells
	}
	if diff := cmp.Diff(want, got.fields); diff != "" {
		t.Errorf("beacon (-want +got):\n%s", diff)
	}
	if got := got.header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain") {
		t.Errorf("content type %q would need a preflight", got)
	}
	if got := got.header.Get(":path"); got != "stats.shop.test"+s.port+"/api/event" {
		t.Errorf("the beacon went to %s", got)
	}
	if errors := tab.Errors(); len(errors) > 0 {
		t.Errorf("the page reported %q", errors)
	}
}

func keepsNothing(t *testing.T, s *site, tab *browser.Tab) {
	tab.Open(s.url("/"))
	s.want(tab, "pageview /")
	if cookies := tab.Cookies(s.url("/"), s.on("stats.shop.test", "/")); len(cookies) > 0 {
		t.Errorf("there are cookies: %v", cookies)
	}
	if n := browser.Eval[int](tab, "localStorage.length + sessionStorage.length"); n != 0 {
		t.Errorf("%d items are in storage", n)
	}
}

func singlePageApp(t *testing.T, s *site, tab *browser.Tab) {
	s.page("/from", `<a href="`+s.url("/")+`">go</a>`)
	tab.Open(s.on("other.test", "/from"))
	tab.Click("a")
	tab.Until("location.pathname == '/' && window.halfmask")
	browser.Eval[int](tab, "history.pushState({}, '', '/menu') || 1")
	s.want(tab, "pageview /", "pageview /menu")

	// None of these is a new page.
	browser.Eval[int](tab, `(history.pushState(null, '', '/menu?table=4'), history.pushState(null, '', '/menu'), location.hash = 'soup', 1)`)
	tab.Until("location.hash == '#soup'")
	browser.Eval[int](tab, `(history.replaceState(null, '', '/menu/today'),
		document.dispatchEvent(new Event('visibilitychange', {bubbles: true})), 1)`)
	s.want(tab, "pageview /", "pageview /menu")

	browser.Eval[int](tab, "history.go(-4) || 1")
	tab.Until("location.pathname == '/'")
	for _, b := range s.want(tab, "pageview /", "pageview /menu", "pageview /") {
		if b.fields["r"] != s.on("other.test", "/") {
			t.Errorf("%v has referrer %v, not that of the visit's first page", b, b.fields["r"])
		}
	}
}

func noSite(t *testing.T, s *site, tab *browser.Tab) {
	s.page("/", strings.Replace(s.tag, "data-site", "data-was", 1))
	tab.Open(s.url("/"))
	if got, ok := s.want(tab, "pageview /")[0].fields["d"]; ok {
		t.Errorf("the beacon names the site %v; without one the collector goes by the URL", got)
	}
}

func otherEndpoint(t *testing.T, s *site, tab *browser.Tab) {
	for path, to := range map[string]string{
		"/full":     s.on("other.test", "/t"),
		"/relative": "/t",
	} {
		s.page(path, strings.Replace(s.tag, "data-site", `data-api="`+to+`" data-site`, 1))
	}
	tab.Open(s.url("/full"))
	s.want(tab, "pageview /full")
	tab.Open(s.url("/relative"))
	got := s.want(tab, "pageview /full", "pageview /relative")
	if path := got[0].header.Get(":path"); path != "other.test"+s.port+"/t" {
		t.Errorf("a full URL led to %s", path)
	}
	if path := got[1].header.Get(":path"); path != "stats.shop.test"+s.port+"/t" {
		t.Errorf("a path led to %s, not to the script's host", path)
	}
}

func customEvents(t *testing.T, s *site, tab *browser.Tab) {
	s.page("/", `<script>
		window.halfmask = window.halfmask || function () { (halfmask.q = halfmask.q || []).push(arguments) }
		halfmask('Early', {props: {plan: 'free', seats: 3, trial: true}})
		halfmask('Early too')
	</script>`+s.tag)
	tab.Open(s.url("/"))
	browser.Eval[int](tab, "halfmask('Late', {interactive: false, n: 'forged', u: 'forged'}) || 1")
	got := s.want(tab, "pageview /", "Early /", "Early too /", "Late /")
	if diff := cmp.Diff(map[string]any{"plan": "free", "seats": 3.0, "trial": true}, got[0].fields["props"]); diff != "" {
		t.Errorf("properties (-want +got):\n%s", diff)
	}
	if got[2].fields["interactive"] != false {
		t.Errorf("interactive: false was lost: %v", got[2].fields)
	}
}

func embeddedTwice(t *testing.T, s *site, tab *browser.Tab) {
	s.page("/", s.tag+s.tag)
	tab.Open(s.url("/"))
	browser.Eval[int](tab, "history.pushState(null, '', '/menu') || 1")
	browser.Eval[int](tab, "halfmask('Signup') || 1")
	s.want(tab, "pageview /", "pageview /menu", "Signup /menu")
}

func optOut(t *testing.T, s *site, tab *browser.Tab) {
	tab.Open(s.url("/"))
	s.want(tab, "pageview /")
	if browser.Eval[bool](tab, "halfmask.optedOut()") {
		t.Error("opted out before having said anything")
	}
	browser.Eval[int](tab, "halfmask.optOut() || 1")
	browser.Eval[int](tab, "halfmask('Signup') || 1")
	browser.Eval[int](tab, "history.pushState(null, '', '/menu') || 1")
	tab.Open(s.url("/again"))
	if !browser.Eval[bool](tab, "halfmask.optedOut()") {
		t.Error("the no was forgotten with the page")
	}
	s.want(tab, "pageview /")
	browser.Eval[int](tab, "halfmask.optIn() || 1")
	if n := browser.Eval[int](tab, "localStorage.length"); n != 0 || browser.Eval[bool](tab, "halfmask.optedOut()") {
		t.Errorf("the no was not taken back: %d items in storage", n)
	}
	tab.Open(s.url("/back"))
	s.want(tab, "pageview /", "pageview /back")
}

func optOutElsewhere(_ *testing.T, s *site, tab *browser.Tab) {
	tab.Open(s.url("/one"))
	other := tab.Beside()
	other.Open(s.url("/two"))
	browser.Eval[int](other, "halfmask.optOut() || 1")
	tab.Until("localStorage.length") // tabs may be processes of their own
	browser.Eval[int](tab, "halfmask('Signup') || 1")
	s.want(tab, "pageview /one", "pageview /two")
}

func globalPrivacyControl(t *testing.T, s *site, tab *browser.Tab) {
	// Chromium does not have the setting yet; the property is what sites see.
	tab.BeforeEach("Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {get: () => true})")
	tab.Open(s.url("/"))
	browser.Eval[int](tab, "halfmask('Signup') || 1")
	s.want(tab)
	if !browser.Eval[bool](tab, "halfmask.optedOut()") {
		t.Error("a banner would not learn that the browser said no")
	}
}

func collectorCookies(t *testing.T, s *site, tab *browser.Tab) {
	s.answer("/no", page{header: map[string]string{"Set-Cookie": "halfmask_optout=1; Path=/; HttpOnly"}})
	tab.Open(s.on("stats.shop.test", "/no"))
	tab.Open(s.url("/"))
	// It is the collector that drops it then: the page cannot see the cookie.
	if got := s.want(tab, "pageview /")[0].header.Get("Cookie"); got != "halfmask_optout=1" {
		t.Errorf("the beacon carried the cookies %q: the collector would miss the opt-out", got)
	}
}

func storageDenied(_ *testing.T, s *site, tab *browser.Tab) {
	s.page("/", `<iframe sandbox="allow-scripts" src="/framed"></iframe>`)
	s.page("/framed", recordErrors+s.tag+`<script>
		addEventListener('load', () => {
			halfmask.optOut(); halfmask.optIn(); halfmask('Signup')
			parent.postMessage(halfmask.optedOut() && !errors.length, '*')
		})
	</script>`)
	tab.BeforeEach("addEventListener('message', (e) => { window.told = e.data })")
	tab.Open(s.url("/"))
	tab.Until("window.told === true")
	s.want(tab)
}

func localHosts(t *testing.T, s *site, tab *browser.Tab) {
	s.page("/local", strings.Replace(s.tag, "data-site", "data-local data-site", 1))
	hosts := []string{"localhost", "demo.localhost", "127.0.0.1"}
	for _, host := range hosts {
		tab.Open(s.on(host, "/"))
		browser.Eval[int](tab, "halfmask('Signup') || 1")
	}
	s.want(tab)
	for i, host := range hosts {
		tab.Open(s.on(host, "/local"))
		if u := s.want(tab, repeat("pageview /local", i+1)...)[i].fields["u"]; u != s.on(host, "/local") {
			t.Errorf("with data-local %s was reported as %v", host, u)
		}
	}
	// These only look local.
	for i, host := range []string{"localhost.test", "mylocalhost.test", "127.0.0.1.test", "127.test"} {
		tab.Open(s.on(host, "/"))
		s.want(tab, append(repeat("pageview /local", len(hosts)), repeat("pageview /", i+1)...)...)
	}
}

func files(t *testing.T, s *site, tab *browser.Tab) {
	path := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(path, []byte(recordErrors+s.tag), 0o600); err != nil {
		t.Fatal(err)
	}
	tab.Open("file://" + path)
	browser.Eval[int](tab, "halfmask('Signup') || 1")
	if errors := browser.Eval[[]string](tab, "errors"); len(errors) > 0 {
		t.Errorf("the script threw %q", errors)
	}
	s.want(tab)
}

func repeat(name string, times int) []string {
	return strings.Split(strings.TrimSuffix(strings.Repeat(name+"\n", times), "\n"), "\n")
}

// recordErrors, at the top of a page, puts what is thrown there into errors.
var recordErrors = fmt.Sprintf("<script>var errors = []; for (const type of %s) addEventListener(type, (e) => errors.push(String(e.message || e.reason)))</script>",
	"['error', 'unhandledrejection']")
