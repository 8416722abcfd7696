package dashboard

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/halfmask/halfmask/account"
)

// setup holds the one link by which the first user is made.
type setup struct {
	mu    sync.Mutex
	valid bool
	hash  [32]byte
}

// SetupLink returns a link, below baseURL, that makes the first user, and
// false if there is a user already. The link works once, until the process
// ends or SetupLink is called again.
func (d *Dashboard) SetupLink(ctx context.Context, baseURL string) (string, bool, error) {
	count, err := d.o.Accounts.CountUsers(ctx)
	if err != nil {
		return "", false, fmt.Errorf("cannot make a setup link: %w", err)
	}
	if count > 0 {
		return "", false, nil
	}
	secret := newSecret()
	d.setup.mu.Lock()
	defer d.setup.mu.Unlock()
	d.setup.valid, d.setup.hash = true, digest(secret)
	return strings.TrimSuffix(baseURL, "/") + "/setup?token=" + secret, true, nil
}

// fits reports whether a token is that of the link. The lock is held.
func (s *setup) fits(token string) bool {
	hash := digest(token)
	return s.valid && subtle.ConstantTimeCompare(hash[:], s.hash[:]) == 1
}

const deadLink = "This setup link does not work any more: it was used, or Halfmask was restarted. If there is no user yet, " +
	"open the link in the newest lines of Halfmask's output. If you lost your password, run: halfmask user add"

func (d *Dashboard) showSetup(w http.ResponseWriter, r *http.Request) {
	token := r.URL.Query().Get("token")
	d.setup.mu.Lock()
	ok := d.setup.fits(token)
	d.setup.mu.Unlock()
	if !ok {
		d.refuse(w, r, http.StatusNotFound, deadLink)
		return
	}
	d.pages.render(w, http.StatusOK, "setup", page{Title: "Welcome to Halfmask", Token: token})
}

// errLinkDead means that the setup link was used or never valid.
var errLinkDead = errors.New("the setup link is dead")

func (d *Dashboard) doSetup(w http.ResponseWriter, r *http.Request) {
	if !d.form(w, r) {
		return
	}
	token, password := r.PostForm.Get("token"), r.PostForm.Get("password")
	again := func(err error) {
		d.pages.render(w, http.StatusUnprocessableEntity, "setup", page{
			Title: "Welcome to Halfmask", Token: token, Name: r.PostForm.Get("name"), Error: sentence(err),
		})
	}
	name, err := CleanName(r.PostForm.Get("name"))
	if err == nil {
		err = validateNew(name, password, r.PostForm.Get("again"))
	}
	if err != nil {
		d.setup.mu.Lock()
		ok := d.setup.fits(token)
		d.setup.mu.Unlock()
		if !ok {
			d.refuse(w, r, http.StatusNotFound, deadLink)
			return
		}
		again(err)
		return
	}
	user, err := d.addFirstUser(r.Context(), token, name, password)
	if errors.Is(err, errLinkDead) {
		d.refuse(w, r, http.StatusNotFound, deadLink)
		return
	}
	if err == nil {
		d.audit(r.Context(), "user:"+name, "user.setup", name)
		err = d.openSession(w, r, user.ID)
	}
	if err != nil {
		d.unavailable(w, r, "add the first user", err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// addFirstUser uses the link up. Of several who send it at once, one wins.
func (d *Dashboard) addFirstUser(ctx context.Context, token, name, password string) (account.User, error) {
	d.setup.mu.Lock()
	defer d.setup.mu.Unlock()
	if !d.setup.fits(token) {
		return account.User{}, errLinkDead
	}
	count, err := d.o.Accounts.CountUsers(ctx)
	if err != nil {
		return account.User{}, err
	}
	if count > 0 { // added from the command line meanwhile
		d.setup.valid = false
		return account.User{}, errLinkDead
	}
	hash, err := d.hasher.hash(ctx, password)
	if err != nil {
		return account.User{}, err
	}
	user := account.User{ID: NewUserID(), Name: name, PasswordHash: hash, Created: time.Now()}
	if err := d.o.Accounts.AddUser(ctx, user); err != nil {
		return account.User{}, err
	}
	d.setup.valid = false
	return user, nil
}

// validateNew checks a new password and its repetition.
func validateNew(name, password, again string) error {
	if password != again {
		return errors.New("the two passwords differ; type the same one twice")
	}
	if strings.EqualFold(password, name) {
		return errors.New("the password is your name; use another one")
	}
	return ValidatePassword(password)
}

// sentence makes an error something to show a person.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
