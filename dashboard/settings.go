package dashboard

import (
	"errors"
	"net/http"
	"time"
)

func (d *Dashboard) showAccount(w http.ResponseWriter, r *http.Request) {
	if who, ok := d.user(w, r); ok {
		d.showSettings(w, http.StatusOK, who, page{})
	}
}

func (d *Dashboard) showSettings(w http.ResponseWriter, code int, who principal, p page) {
	p.Title, p.User = "Your account", who.user.Name
	d.pages.render(w, code, "account", p)
}

// changePassword sets a new password and logs out every other browser.
func (d *Dashboard) changePassword(w http.ResponseWriter, r *http.Request) {
	who, ok := d.user(w, r)
	if !ok || !d.form(w, r) {
		return
	}
	password := r.PostForm.Get("password")
	if err := validateNew(who.user.Name, password, r.PostForm.Get("again")); err != nil {
		d.showSettings(w, http.StatusUnprocessableEntity, who, page{Error: sentence(err)})
		return
	}
	_, ok, err := d.checkPassword(r, who.user.Name, r.PostForm.Get("current"))
	var throttled *throttledError
	switch {
	case errors.As(err, &throttled):
		retryAfter(w, throttled.wait)
		d.showSettings(w, http.StatusTooManyRequests, who, page{Error: throttled.Error()})
		return
	case err == nil && !ok:
		d.showSettings(w, http.StatusUnprocessableEntity, who, page{Error: "The current password is wrong. Nothing was changed."})
		return
	}
	if err == nil {
		err = d.setPassword(w, r, who, password)
	}
	switch {
	case errors.Is(err, errCrowded):
		retryAfter(w, time.Second)
		d.showSettings(w, http.StatusServiceUnavailable, who, page{Error: "Too many people are logging in at once. Nothing was changed; try again in a moment."})
	case err != nil:
		d.unavailable(w, r, "change a password", err)
	default:
		d.showSettings(w, http.StatusOK, who, page{Notice: "Your password was changed. Every other browser was logged out."})
	}
}

func (d *Dashboard) setPassword(w http.ResponseWriter, r *http.Request, who principal, password string) error {
	hash, err := d.hasher.hash(r.Context(), password)
	if err != nil {
		return err
	}
	if err := d.o.Accounts.SetPassword(r.Context(), who.user.ID, hash); err != nil {
		return err
	}
	d.audit(r.Context(), "user:"+who.user.Name, "user.password", who.user.Name)
	if err := d.credentials.endAll(r.Context(), who.user.ID); err != nil {
		return err
	}
	return d.openSession(w, r, who.user.ID)
}

// logoutEverywhere ends every session of the user, this one too.
func (d *Dashboard) logoutEverywhere(w http.ResponseWriter, r *http.Request) {
	who, ok := d.user(w, r)
	if !ok {
		return
	}
	if err := d.credentials.endAll(r.Context(), who.user.ID); err != nil {
		d.unavailable(w, r, "log out everywhere", err)
		return
	}
	d.audit(r.Context(), "user:"+who.user.Name, "user.logout", who.user.Name)
	d.dropCookies(w)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}
