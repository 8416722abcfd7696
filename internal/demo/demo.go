// Package demo is a small website to click on: a tea shop that never was, with
// pages, a single-page section, a sign-up button and a consent banner. It
// embeds the tracker exactly as a site would, and needs nothing from anywhere
// else. It never sees an event.
package demo

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/halfmask/halfmask/collector/tracker"
)

//go:embed site
var site embed.FS

// Every page is layout.html around one that defines "main".
var pages = func() map[string]*template.Template {
	parsed := map[string]*template.Template{}
	for _, name := range []string{"home", "menu", "visit", "privacy", "missing"} {
		parsed[name] = template.Must(template.ParseFS(site, "site/layout.html", "site/cup.html", "site/club.html", "site/"+name+".html"))
	}
	return parsed
}()

// tea is one entry of the menu.
type tea struct {
	Slug, Name, Origin, Text string
	Grams, Degrees, Minutes  int
}

var teas = []tea{
	{"sencha", "Sencha", "Uji, Japan", "Steamed within the hour of picking. Bright, grassy, a little like the sea.", 4, 70, 2},
	{"oolong", "Oolong", "Nantou, Taiwan", "Half oxidised, as everything should be. Opens slowly: keep the leaves for a second pot.", 5, 90, 3},
	{"assam", "Assam", "Dibrugarh, India", "Malty and strong enough to hold a spoon upright. Takes milk without complaint.", 3, 98, 4},
	{"hibiscus", "Hibiscus", "Aswan, Egypt", "No caffeine, all colour. Good hot, better cold, best with nothing left to do.", 4, 98, 6},
}

// view is what the templates are given.
type view struct {
	Page, Title string
	Snippet     template.HTML
	Dashboard   string
	Teas        []tea
	Current     string // the slug of the tea that is shown, or ""
}

// Handler serves the demo. Its pages report to the collector that browsers
// reach at collectorURL as the site domain, and link to dashboardURL.
func Handler(collectorURL, domain, dashboardURL string) http.Handler {
	base := view{
		// The demo runs on a local host, which the tracker ignores otherwise.
		Snippet: template.HTML(strings.Replace( // Snippet escapes what it is given
			tracker.Snippet(collectorURL, domain), " data-site=", " data-local data-site=", 1)),
		Dashboard: dashboardURL,
		Teas:      teas,
	}
	mux := http.NewServeMux()
	show := func(pattern, page, title string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			v := base
			v.Page, v.Title = page, title
			render(w, http.StatusOK, v)
		})
	}
	show("GET /{$}", "home", "Half Past Tea")
	show("GET /menu", "menu", "Menu")
	show("GET /visit", "visit", "Visit us")
	show("GET /privacy", "privacy", "Privacy")
	mux.HandleFunc("GET /menu/{tea}", func(w http.ResponseWriter, r *http.Request) {
		v := base
		v.Page, v.Title, v.Current = "missing", "Not on the menu", r.PathValue("tea")
		for _, t := range teas {
			if t.Slug == v.Current {
				v.Page, v.Title = "menu", t.Name
				render(w, http.StatusOK, v)
				return
			}
		}
		render(w, http.StatusNotFound, v)
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		v := base
		v.Page, v.Title = "missing", "Nothing here"
		render(w, http.StatusNotFound, v)
	})
	for _, name := range []string{"site.css", "site.js", "icon.svg"} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, site, "site/"+name)
		})
	}
	return guard(mux, origin(collectorURL))
}

// guard adds the headers of a careful site. Its policy is the one that any site
// with such a policy needs for the tracker: the script and its beacons.
func guard(next http.Handler, collector string) http.Handler {
	policy := fmt.Sprintf("default-src 'none'; script-src 'self' %[1]s; connect-src %[1]s; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", collector)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
		h.Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}

func render(w http.ResponseWriter, status int, v view) {
	var page bytes.Buffer
	if err := pages[v.Page].ExecuteTemplate(&page, "layout.html", v); err != nil {
		http.Error(w, "This page is broken.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = page.WriteTo(w) // the visitor may be gone
}

// origin is the part of a URL that a content security policy names.
func origin(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "'none'"
	}
	return u.Scheme + "://" + u.Host
}
