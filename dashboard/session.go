package dashboard

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/halfmask/halfmask/account"
)

const (
	// sessionIdle ends a session that is not used, sessionLife every session.
	sessionIdle = 12 * time.Hour
	sessionLife = 30 * 24 * time.Hour
	// prolongAfter is how much a session's end must move to be written again.
	prolongAfter = 10 * time.Minute
	secretBytes  = 32

	// A cookie with the prefix __Host- is only accepted over HTTPS and from
	// this very host, so that no neighbour in the domain can plant one.
	secureCookie = "__Host-halfmask"
	plainCookie  = "halfmask"
)

// newSecret returns 256 random bits as text.
func newSecret() string {
	var b [secretBytes]byte
	_, _ = rand.Read(b[:]) // never fails: see crypto/rand
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// looksLikeSecret spares storage a look-up of what newSecret never returned.
func looksLikeSecret(s string) bool {
	b, err := base64.RawURLEncoding.DecodeString(s)
	return err == nil && len(b) == secretBytes
}

// isHTTPS reports whether the browser reached the dashboard over HTTPS, as far
// as the server can tell.
func (d *Dashboard) isHTTPS(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	if !d.o.TrustedProxies.trust(r) {
		return false
	}
	hops := strings.Split(r.Header.Get("X-Forwarded-Proto"), ",")
	return strings.EqualFold(strings.TrimSpace(hops[len(hops)-1]), "https")
}

// presented returns the digests of the session cookies that came with r, the
// better protected first.
func (d *Dashboard) presented(r *http.Request) [][32]byte {
	names := []string{secureCookie, plainCookie}
	if d.isHTTPS(r) {
		names = names[:1]
	}
	var digests [][32]byte
	for _, name := range names {
		if cookie, err := r.Cookie(name); err == nil && looksLikeSecret(cookie.Value) {
			digests = append(digests, digest(cookie.Value))
		}
	}
	return digests
}

// bySession finds the user whose session's cookie came with r.
func (d *Dashboard) bySession(r *http.Request) (principal, bool, error) {
	now := time.Now()
	for _, hash := range d.presented(r) {
		l, ok, err := d.credentials.login(r.Context(), hash, d.lookups(r))
		if err != nil {
			return principal{}, false, err
		}
		if !ok || !now.Before(l.session.Expires) || now.Sub(l.session.Created) >= sessionLife {
			continue
		}
		d.prolong(r.Context(), l, now)
		return principal{user: l.user, session: l.session}, true, nil
	}
	return principal{}, false, nil
}

// prolong keeps a session that is used from running out.
func (d *Dashboard) prolong(ctx context.Context, l login, now time.Time) {
	expires := sessionEnd(l.session.Created, now)
	if expires.Sub(l.session.Expires) < prolongAfter {
		return
	}
	if err := d.credentials.prolong(ctx, l, expires); err != nil && ctx.Err() == nil {
		d.log.Warn("cannot prolong a session", "error", err)
	}
}

func sessionEnd(created, now time.Time) time.Time {
	expires := now.Add(sessionIdle)
	if last := created.Add(sessionLife); last.Before(expires) {
		return last
	}
	return expires
}

// openSession logs a user in: it ends the sessions that the browser came with
// and gives it a new one.
func (d *Dashboard) openSession(w http.ResponseWriter, r *http.Request, id account.UserID) error {
	var old []error
	for _, hash := range d.presented(r) {
		old = append(old, d.credentials.end(r.Context(), hash))
	}
	secret, now := newSecret(), time.Now()
	err := d.credentials.add(r.Context(), account.Session{
		Hash: digest(secret), User: id, Created: now, Expires: sessionEnd(now, now),
	})
	if err := errors.Join(append(old, err)...); err != nil {
		return err
	}
	d.setCookie(w, r, secret, sessionLife)
	return nil
}

// setCookie hands the browser its session. At a login the browser itself says
// with Origin whether it is on HTTPS, even if a proxy in between does not.
func (d *Dashboard) setCookie(w http.ResponseWriter, r *http.Request, secret string, life time.Duration) {
	name, secure := plainCookie, d.isHTTPS(r) || strings.HasPrefix(r.Header.Get("Origin"), "https://")
	if secure {
		name = secureCookie
	}
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: secret, Path: "/", MaxAge: int(life / time.Second),
		Secure: secure, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}

// dropCookies makes the browser forget its session.
func (d *Dashboard) dropCookies(w http.ResponseWriter) {
	for _, name := range []string{secureCookie, plainCookie} {
		http.SetCookie(w, &http.Cookie{
			Name: name, Path: "/", MaxAge: -1,
			Secure: name == secureCookie, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		})
	}
}
