package dashboard

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/halfmask/halfmask/account"
	"github.com/halfmask/halfmask/event"
)

// principal is whoever asks: a user with a session, or a program with a token.
type principal struct {
	isToken bool
	token   account.Token
	user    account.User
	session account.Session
}

// maySee reports whether the principal may see a site. In this version every
// user sees every site of the instance; a token sees one.
func (p principal) maySee(site event.SiteID) bool { return !p.isToken || p.token.Site == site }

// key names the principal among those whose queries are counted.
func (p principal) key() string {
	if p.isToken {
		return "token:" + strconv.FormatUint(uint64(p.token.ID), 16)
	}
	return "user:" + strconv.FormatUint(uint64(p.user.ID), 16)
}

// authenticate finds out who asks the API. If it may not be answered, it has
// been told so.
func (d *Dashboard) authenticate(w http.ResponseWriter, r *http.Request) (principal, bool) {
	if header := r.Header.Get("Authorization"); header != "" {
		return d.byToken(w, r, header)
	}
	who, ok, err := d.bySession(r)
	switch {
	case err != nil:
		d.refuseLookup(w, r, err)
		return principal{}, false
	case !ok:
		w.Header().Set("WWW-Authenticate", `Bearer realm="halfmask"`)
		d.refuse(w, r, http.StatusUnauthorized, noKey)
		return principal{}, false
	case !fromOwnPage(r), r.Method == http.MethodPost && !isJSON(r):
		d.refuse(w, r, http.StatusForbidden, crossSite)
		return principal{}, false
	}
	return who, true
}

func (d *Dashboard) byToken(w http.ResponseWriter, r *http.Request, header string) (principal, bool) {
	scheme, secret, _ := strings.Cut(header, " ")
	secret = strings.TrimSpace(secret)
	if !strings.EqualFold(scheme, "Bearer") || !looksLikeToken(secret) {
		d.refuse(w, r, http.StatusUnauthorized, noAccess)
		return principal{}, false
	}
	token, ok, err := d.credentials.token(r.Context(), digest(secret), d.lookups(r))
	if err != nil {
		d.refuseLookup(w, r, err)
		return principal{}, false
	}
	if !ok {
		d.refuse(w, r, http.StatusUnauthorized, noAccess)
		return principal{}, false
	}
	if wait := d.quota.take(token.ID); wait > 0 {
		retryAfter(w, wait)
		d.refuse(w, r, http.StatusTooManyRequests, "Too many requests. A key may send "+strconv.Itoa(requestsPerHour)+" requests per hour.")
		return principal{}, false
	}
	return principal{isToken: true, token: token}, true
}

// refuseLookup answers a request whose sender could not be looked up.
func (d *Dashboard) refuseLookup(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, errTooManyUnknown) {
		retryAfter(w, time.Minute)
		d.refuse(w, r, http.StatusTooManyRequests, "Too many invalid keys from your network. Try again in a minute.")
		return
	}
	d.unavailable(w, r, "look up who asks", err)
}
