package dashboard

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
)

//go:embed pages/*.html
var templates embed.FS

// page is what a template can show.
type page struct {
	Title  string
	User   string // who is logged in; "" if nobody
	Error  string // what went wrong and what to do
	Notice string // what was done

	Name    string // as typed
	Next    string // where to go after the login
	Token   string // of the setup link
	Snippet string // the line to paste into a page
	Boot    *boot  // for the script

	// Filled in by render.
	CSS, Script, Theme, Icon string
}

// boot is what the page tells the script, so that it needs no request to
// start drawing.
type boot struct {
	Site      string      `json:"site"`
	Sites     []shownSite `json:"sites"`
	User      string      `json:"user"`
	PublicURL string      `json:"publicUrl"`
	Version   string      `json:"version"`
}

type pages struct {
	byName map[string]*template.Template
	assets assets
}

func newPages(fsys fs.FS) *pages {
	p := &pages{byName: make(map[string]*template.Template), assets: readAssets(fsys)}
	for _, name := range []string{"setup", "login", "account", "welcome", "message", "unbuilt"} {
		p.byName[name] = template.Must(template.ParseFS(templates, "pages/layout.html", "pages/"+name+".html"))
	}
	p.byName["app"] = template.Must(template.ParseFS(templates, "pages/app.html"))
	return p
}

// render sends a page.
func (p *pages) render(w http.ResponseWriter, code int, name string, v page) {
	v.CSS, v.Script = p.assets.url("app.css"), p.assets.url("app.js")
	v.Theme, v.Icon = p.assets.url("theme.js"), p.assets.url("favicon.svg")
	var out bytes.Buffer
	t := p.byName[name]
	if err := t.ExecuteTemplate(&out, t.Name(), v); err != nil {
		panic(err) // a defect of a template: caught by the tests, answered by recovered
	}
	writeBody(w, code, "text/html; charset=utf-8", out.Bytes())
}

// user finds who is logged in. If nobody is, the browser has been sent to the
// login page.
func (d *Dashboard) user(w http.ResponseWriter, r *http.Request) (principal, bool) {
	who, ok, err := d.bySession(r)
	if err != nil {
		d.refuseLookup(w, r, err)
		return principal{}, false
	}
	if !ok {
		d.dropCookies(w)
		http.Redirect(w, r, loginURL(r), http.StatusSeeOther)
	}
	return who, ok
}

func loginURL(r *http.Request) string {
	if r.Method != http.MethodGet || r.URL.Path == "/" {
		return "/login"
	}
	return "/login?" + url.Values{"next": {r.URL.RequestURI()}}.Encode()
}

// destination returns where to go after a login: to the site's page that was
// asked for, never anywhere that is not ours.
func (d *Dashboard) destination(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Host != "" || u.Scheme != "" || u.User != nil || len(u.Path) < 2 || u.Path[0] != '/' {
		return "/"
	}
	site, ok := d.o.Sites.Site(u.Path[1:])
	if !ok {
		return "/"
	}
	return (&url.URL{Path: "/" + site.Domain, RawQuery: u.Query().Encode()}).String()
}

// home answers GET /: the first site, or how to add one.
func (d *Dashboard) home(w http.ResponseWriter, r *http.Request) {
	who, ok := d.user(w, r)
	if !ok {
		return
	}
	if sites := d.sitesOf(who); len(sites) > 0 {
		http.Redirect(w, r, "/"+url.PathEscape(sites[0].Domain), http.StatusSeeOther)
		return
	}
	d.pages.render(w, http.StatusOK, "welcome", page{
		Title: "Add your first site", User: who.user.Name,
		Snippet: `<script defer src="` + d.o.PublicURL + `/js/hm.js" data-site="example.com"></script>`,
	})
}

// site answers GET /{domain} with the page that the front end draws on.
func (d *Dashboard) site(w http.ResponseWriter, r *http.Request) {
	who, ok := d.user(w, r)
	if !ok {
		return
	}
	site, ok := d.siteFor(who, r.PathValue("domain"))
	if !ok {
		d.noSuchPage(w, r)
		return
	}
	if d.pages.assets.url("app.js") == "" {
		d.pages.render(w, http.StatusServiceUnavailable, "unbuilt", page{Title: "Not built yet", User: who.user.Name})
		return
	}
	d.pages.render(w, http.StatusOK, "app", page{Title: site.Domain, User: who.user.Name, Boot: &boot{
		Site: site.Domain, Sites: d.sitesOf(who), User: who.user.Name, PublicURL: d.o.PublicURL, Version: d.o.Version,
	}})
}

func (d *Dashboard) noSuchPage(w http.ResponseWriter, r *http.Request) {
	d.refuse(w, r, http.StatusNotFound, "There is no such page, or no such site. Check the address.")
}
