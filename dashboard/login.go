package dashboard

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/halfmask/halfmask/account"
)

const maxForm = 16 << 10 // bytes

// form reads a posted form. If it cannot, the browser has been told so.
func (d *Dashboard) form(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		d.refuse(w, r, http.StatusBadRequest, "The form was not understood. Go back and send it again.")
		return false
	}
	return true
}

func (d *Dashboard) showLogin(w http.ResponseWriter, r *http.Request) {
	next := r.URL.Query().Get("next")
	if _, ok, err := d.bySession(r); err == nil && ok {
		http.Redirect(w, r, d.destination(next), http.StatusSeeOther)
		return
	}
	d.pages.render(w, http.StatusOK, "login", page{Title: "Log in", Next: next})
}

func (d *Dashboard) doLogin(w http.ResponseWriter, r *http.Request) {
	if !d.form(w, r) {
		return
	}
	next := r.PostForm.Get("next")
	again := func(code int, text string) {
		d.pages.render(w, code, "login", page{Title: "Log in", Next: next, Name: r.PostForm.Get("name"), Error: text})
	}
	name, err := CleanName(r.PostForm.Get("name"))
	if err != nil {
		name = "" // nobody is called that; it takes the same path and time
	}
	user, ok, err := d.checkPassword(r, name, r.PostForm.Get("password"))
	var throttled *throttledError
	switch {
	case errors.As(err, &throttled):
		retryAfter(w, throttled.wait)
		again(http.StatusTooManyRequests, throttled.Error())
	case errors.Is(err, errCrowded):
		retryAfter(w, time.Second)
		again(http.StatusServiceUnavailable, "Too many people are logging in at once. Try again in a moment.")
	case err != nil:
		d.unavailable(w, r, "check a password", err)
	case !ok:
		again(http.StatusUnauthorized, "The name or the password is wrong.")
	default:
		if err := d.openSession(w, r, user.ID); err != nil {
			d.unavailable(w, r, "open a session", err)
			return
		}
		http.Redirect(w, r, d.destination(next), http.StatusSeeOther)
	}
}

// throttledError says how long to wait before the next password.
type throttledError struct{ wait time.Duration }

func (e *throttledError) Error() string {
	return "There were too many wrong passwords. Try again in " + (e.wait.Truncate(time.Second) + time.Second).String() + "."
}

// checkPassword reports whether a password is the user's, no faster for names
// that do not exist, and keeps the books about it.
func (d *Dashboard) checkPassword(r *http.Request, name, password string) (account.User, bool, error) {
	from := d.o.TrustedProxies.network(r)
	if wait := d.throttle.attempt(from, name); wait > 0 {
		d.metrics.logins.WithLabelValues(loginThrottled).Inc()
		return account.User{}, false, &throttledError{wait}
	}
	user, exists, err := d.o.Accounts.UserByName(r.Context(), name)
	if err != nil {
		d.throttle.undo(from, name)
		return account.User{}, false, err
	}
	ok, err := d.hasher.check(r.Context(), password, user.PasswordHash)
	if err != nil {
		d.throttle.undo(from, name)
		if errors.Is(err, errCrowded) {
			d.metrics.logins.WithLabelValues(loginCrowded).Inc()
		}
		return account.User{}, false, err
	}
	if !ok || !exists {
		d.metrics.logins.WithLabelValues(loginFailed).Inc()
		if !exists {
			name = "" // what was typed may be a password in the wrong field
		}
		d.audit(r.Context(), "server", "login.failed", name)
		return account.User{}, false, nil
	}
	d.throttle.succeeded(from, name)
	d.metrics.logins.WithLabelValues(loginOK).Inc()
	d.audit(r.Context(), "user:"+name, "login.ok", name)
	return user, true, nil
}

// audit adds a line to the audit log. That it cannot be written is logged and
// stops nobody. Failed logins are written at a bounded rate: the metric counts
// them all.
func (d *Dashboard) audit(ctx context.Context, actor, action, target string) {
	if action == "login.failed" && !d.failuresNoted.Allow() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	entry := account.Entry{At: time.Now(), Actor: actor, Action: action, Target: target}
	if err := d.o.Accounts.AddEntry(ctx, entry); err != nil {
		d.log.Warn("cannot write the audit log", "action", action, "error", err)
	}
}

func (d *Dashboard) logout(w http.ResponseWriter, r *http.Request) {
	for _, hash := range d.presented(r) {
		if err := d.credentials.end(r.Context(), hash); err != nil {
			d.unavailable(w, r, "end a session", err)
			return
		}
	}
	d.dropCookies(w)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}
