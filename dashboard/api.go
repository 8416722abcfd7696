package dashboard

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/halfmask/halfmask/dashboard/statsapi"
	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/stats"
)

// queryTimeout bounds how long one request may keep storage busy.
const queryTimeout = 30 * time.Second

// The answers to who may not ask. A key that is wrong and a site that is not
// there (or not the key's) look the same, so that nobody can try out domains.
const (
	noAccess   = "Invalid API key or site. Use a key made for this site with: halfmask token add --site DOMAIN"
	noKey      = "Missing API key. Send the header: Authorization: Bearer KEY"
	crossSite  = "This request came from another site. Only the dashboard's own pages may send it."
	tooManyNow = "Too many queries at once. Wait for some to be answered."
)

// query answers POST /api/v2/query.
func (d *Dashboard) query(w http.ResponseWriter, r *http.Request) {
	who, ok := d.authenticate(w, r)
	if !ok {
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, statsapi.MaxBytes))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			d.refuse(w, r, http.StatusRequestEntityTooLarge, "The query is larger than 64 KB. Ask for less at once.")
			return
		}
		d.refuse(w, r, http.StatusBadRequest, "The query's body was cut off.")
		return
	}
	request, err := statsapi.Parse(body)
	if err != nil {
		d.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	site, ok := d.siteFor(who, request.Site)
	if !ok {
		d.refuse(w, r, http.StatusUnauthorized, noAccess)
		return
	}
	question, err := request.At(site, time.Now(), d.o.KeptMonths)
	if err != nil {
		d.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	answer, err := d.ask(r.Context(), who, question)
	switch {
	case errors.Is(err, errBusy):
		retryAfter(w, time.Second)
		d.refuse(w, r, http.StatusTooManyRequests, tooManyNow)
	case errors.Is(err, stats.ErrInvalid):
		d.refuse(w, r, http.StatusBadRequest, sentence(err))
	case err != nil:
		d.unavailable(w, r, "answer a query", err)
	default:
		writeBody(w, http.StatusOK, "application/json; charset=utf-8", answer)
	}
}

// ask puts a question to storage once it is its turn.
func (d *Dashboard) ask(ctx context.Context, who principal, q *statsapi.Question) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	leave, err := d.gate.enter(ctx, who.key())
	if err != nil {
		return nil, err
	}
	defer leave()
	result, err := d.o.Stats.Query(ctx, &q.Query)
	if err != nil {
		return nil, err
	}
	var previous *stats.Result
	if q.Previous != nil {
		if previous, err = d.o.Stats.Query(ctx, q.Previous); err != nil {
			return nil, err
		}
	}
	return q.Answer(result, previous)
}

// queryByPost answers who asks with another method.
func (d *Dashboard) queryByPost(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", "POST")
	d.refuse(w, r, http.StatusMethodNotAllowed, "Send the query with POST.")
}

// live answers GET /api/v1/stats/realtime/visitors with a bare number.
func (d *Dashboard) live(w http.ResponseWriter, r *http.Request) {
	who, ok := d.authenticate(w, r)
	if !ok {
		return
	}
	domain := r.URL.Query().Get("site_id")
	if domain == "" {
		d.refuse(w, r, http.StatusBadRequest, "site_id is missing. Add ?site_id=example.com to the address.")
		return
	}
	site, ok := d.siteFor(who, domain)
	if !ok {
		d.refuse(w, r, http.StatusUnauthorized, noAccess)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), queryTimeout)
	defer cancel()
	leave, err := d.gate.enter(ctx, who.key())
	if errors.Is(err, errBusy) {
		retryAfter(w, time.Second)
		d.refuse(w, r, http.StatusTooManyRequests, tooManyNow)
		return
	}
	var count int
	if err == nil {
		defer leave()
		count, err = d.o.Stats.Live(ctx, site.ID)
	}
	if err != nil {
		d.unavailable(w, r, "count live visitors", err)
		return
	}
	writeBody(w, http.StatusOK, "application/json; charset=utf-8", []byte(strconv.Itoa(count)))
}

// shownSite is a site as the site switcher needs it.
type shownSite struct {
	Domain   string `json:"domain"`
	Timezone string `json:"timezone"`
}

// sites answers GET /api/sites with the sites that the asker may see.
func (d *Dashboard) sites(w http.ResponseWriter, r *http.Request) {
	if who, ok := d.authenticate(w, r); ok {
		writeJSON(w, http.StatusOK, d.sitesOf(who))
	}
}

// sitesOf returns the sites that who may see, by domain.
func (d *Dashboard) sitesOf(who principal) []shownSite {
	shown := []shownSite{}
	for _, site := range d.o.Sites.Sites() {
		if who.maySee(site.ID) {
			shown = append(shown, shownSite{site.Domain, site.Zone.String()})
		}
	}
	slices.SortFunc(shown, func(a, b shownSite) int { return strings.Compare(a.Domain, b.Domain) })
	return shown
}

// me answers GET /api/me with who the asker is.
func (d *Dashboard) me(w http.ResponseWriter, r *http.Request) {
	who, ok := d.authenticate(w, r)
	if !ok {
		return
	}
	if who.isToken {
		writeJSON(w, http.StatusOK, map[string]string{"token": who.token.Label})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"user": who.user.Name})
}

func (d *Dashboard) noSuchAPI(w http.ResponseWriter, r *http.Request) {
	d.refuse(w, r, http.StatusNotFound, "There is nothing here. Queries go to POST /api/v2/query.")
}

func (d *Dashboard) crossOrigin(w http.ResponseWriter, r *http.Request) {
	d.refuse(w, r, http.StatusForbidden, crossSite)
}

// siteFor finds a site that who may see.
func (d *Dashboard) siteFor(who principal, domain string) (*event.Site, bool) {
	site, ok := d.o.Sites.Site(strings.TrimPrefix(strings.ToLower(domain), "www."))
	if !ok || !who.maySee(site.ID) {
		return nil, false
	}
	return site, true
}

// fromOwnPage reports whether the browser says that a request with a cookie
// was sent by one of the dashboard's pages. What changes nothing may also come
// from a browser that says nothing: over plain HTTP many do not.
func fromOwnPage(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin" || site == "none" && r.Method == http.MethodGet
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		return err == nil && u.Host == r.Host
	}
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}

// isJSON reports whether a request's body is declared to be JSON, which a
// form of another site cannot do.
func isJSON(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/json"
}
