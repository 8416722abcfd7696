package dashboard_test

import (
	"compress/gzip"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/html"

	"github.com/halfmask/halfmask/dashboard"
)

// element finds the first element of a page with a tag and, unless it is
// empty, an id.
func element(t *testing.T, page, tag, id string) *html.Node {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == tag && (id == "" || attribute(n, "id") == id) {
			return n
		}
	}
	t.Fatalf("no <%s id=%q> in %s", tag, id, page)
	return nil
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func TestAppShell(t *testing.T) {
	h := open(t)
	h.addUser(t, "ada")
	b := h.serve(t, false)
	b.login("ada", password)
	if got := b.get("/"); got.code != http.StatusSeeOther || got.header.Get("Location") != "/a.example" {
		t.Errorf("/ leads to %q (%d), not to the first site", got.header.Get("Location"), got.code)
	}
	got := b.get("/b.example")
	if got.code != http.StatusOK {
		t.Fatal(got.code)
	}
	boot := element(t, got.body, "script", "boot")
	want := `{"site":"b.example","sites":[{"domain":"a.example","timezone":"UTC"},{"domain":"b.example","timezone":"Europe/Berlin"}],` +
		`"user":"ada","publicUrl":"https://collect.example","version":"1.2.3"}`
	if boot.FirstChild.Data != want || attribute(boot, "type") != "application/json" {
		t.Errorf("boot data %s", boot.FirstChild.Data)
	}
	element(t, got.body, "main", "app")
	for _, link := range []string{`href="/assets/app-abcdef0123.css"`, `src="/assets/app-0123456789.js"`, `src="/assets/theme-0011223344.js"`, `href="/assets/favicon.svg"`} {
		if !strings.Contains(got.body, link) {
			t.Errorf("the page has no %s", link)
		}
	}
	if got := b.get("/c.example"); got.code != http.StatusNotFound {
		t.Errorf("no such site: %d", got.code)
	}
}

// TestPagesHoldNoMarkupOfOthers: what people typed and named stays text.
func TestPagesHoldNoMarkupOfOthers(t *testing.T) {
	const evil = `</script><img src=x onerror=alert(1)>"'`
	h := open(t, func(o *dashboard.Options) {
		o.Sites = siteList{{ID: 9, Domain: evil, Zone: siteA.Zone}}
		o.PublicURL, o.Version = evil, evil
	})
	h.addUser(t, "ada")
	b := h.serve(t, false)
	pages := map[string]string{
		"login": b.post("/login", "name", evil, "password", "x", "next", evil).body,
	}
	b.login("ada", password)
	pages["app"] = b.get("/%3C%2Fscript%3E%3Cimg%20src=x%20onerror=alert(1)%3E%22'").body
	if !strings.Contains(pages["app"], `id="boot"`) {
		t.Fatalf("not the site's page: %s", pages["app"])
	}
	for name, page := range pages {
		root, err := html.Parse(strings.NewReader(page))
		if err != nil {
			t.Fatal(err)
		}
		for n := range root.Descendants() {
			if n.Type == html.ElementNode && (n.Data == "img" || attribute(n, "onerror") != "" || attribute(n, "style") != "") {
				t.Errorf("%s: <%s> got in", name, n.Data)
			}
		}
	}
}

// TestPagesNeedNoScript: the small pages are complete without the front end.
func TestPagesNeedNoScript(t *testing.T) {
	h := open(t)
	h.addUser(t, "ada")
	b := h.serve(t, false)
	got := b.get("/login")
	form := element(t, got.body, "form", "")
	if attribute(form, "method") != "post" || attribute(form, "action") != "/login" || attribute(form, "class") != "stack" {
		t.Errorf("login form %+v", form.Attr)
	}
	if strings.Contains(got.body, "app-0123456789.js") || !strings.Contains(got.body, "/assets/app-abcdef0123.css") {
		t.Error("the login page loads the app's script, or not its style")
	}
	b.login("ada", password)
	if got := b.get("/account"); got.code != http.StatusOK || !strings.Contains(got.body, `action="/account/password"`) || !strings.Contains(got.body, "<strong>ada</strong>") {
		t.Errorf("account: %d %s", got.code, got.body)
	}
}

func TestWelcomeTellsHowToAddASite(t *testing.T) {
	h := open(t, func(o *dashboard.Options) { o.Sites = siteList{} })
	h.addUser(t, "ada")
	b := h.serve(t, false)
	b.login("ada", password)
	got := b.get("/")
	text := html.UnescapeString(got.body)
	if got.code != http.StatusOK || !strings.Contains(text, "halfmask site add example.com") ||
		!strings.Contains(text, `<script defer src="https://collect.example/js/hm.js" data-site="example.com"></script>`) {
		t.Errorf("%d %s", got.code, got.body)
	}
}

func TestUnbuiltFrontEndSaysWhatToRun(t *testing.T) {
	h := open(t)
	o := dashboard.Options{Stats: h.stats, Accounts: h.accounts, Sites: siteList{siteA}, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()}
	bare := &house{Dashboard: dashboard.NewWith(o, fstest.MapFS{"README": {Data: []byte("x")}}), stats: h.stats, accounts: h.accounts}
	bare.addUser(t, "ada")
	b := bare.serve(t, false)
	b.login("ada", password)
	if got := b.get("/a.example"); got.code != http.StatusServiceUnavailable || !strings.Contains(got.body, "make build") {
		t.Errorf("%d %s", got.code, got.body)
	}
	if got := b.get("/account"); got.code != http.StatusOK {
		t.Errorf("account: %d", got.code)
	}
}

// TestPagesWhileStorageIsAway: a person gets a page that says so, not a login
// form.
func TestPagesWhileStorageIsAway(t *testing.T) {
	h := open(t)
	h.addUser(t, "ada")
	b := h.serve(t, false)
	b.login("ada", password)
	cookie := b.cookies()[0]
	other := open(t)
	other.accounts.err = errors.New("away")
	got := other.serve(t, false).get("/a.example", "Cookie", cookie.Name+"="+cookie.Value)
	if got.code != http.StatusInternalServerError || !strings.Contains(got.body, "Visits are still being recorded") || got.header.Get("Set-Cookie") != "" {
		t.Errorf("%d %s", got.code, got.body)
	}
}

func TestAssetsAreCompressed(t *testing.T) {
	h := open(t)
	got := h.send("GET", "/assets/app-0123456789.js", "", "Accept-Encoding", "br, gzip")
	if got.Header().Get("Content-Encoding") != "gzip" || got.Header().Get("Vary") != "Accept-Encoding" {
		t.Fatalf("%+v", got.Header())
	}
	r, err := gzip.NewReader(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	if content, err := io.ReadAll(r); err != nil || string(content) != string(builtFiles["app-0123456789.js"].Data) {
		t.Errorf("%q, %v", content, err)
	}
	if got := h.send("GET", "/assets/README", ""); got.Code != http.StatusNotFound {
		t.Errorf("a file that is no asset: %d", got.Code)
	}
	if got := h.send("GET", "/assets/manifest.json", ""); got.Code != http.StatusNotFound {
		t.Errorf("the manifest: %d", got.Code)
	}
	if got := h.send("GET", "/assets/favicon.svg", ""); got.Header().Get("Cache-Control") != "public, max-age=3600" {
		t.Errorf("a file whose name stays: %s", got.Header().Get("Cache-Control"))
	}
}
