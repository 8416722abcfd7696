package dashboard_test

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/halfmask/halfmask/account"
	"github.com/halfmask/halfmask/dashboard"
)

func TestSessionCookie(t *testing.T) {
	tests := []struct {
		name    string
		tls     bool
		trusted bool
		headers []string
		secure  bool
	}{
		{"HTTP", false, false, nil, false},
		{"HTTPS", true, false, nil, true},
		{"HTTPS at a trusted proxy", false, true, []string{"X-Forwarded-Proto", "https"}, true},
		{"HTTP at a trusted proxy", false, true, []string{"X-Forwarded-Proto", "http"}, false},
		{"a claim by somebody else", false, false, []string{"X-Forwarded-Proto", "https"}, false},
		{"a proxy that forgot to say so", false, false, []string{"Origin", "https://HOST"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t, func(o *dashboard.Options) {
				if tt.trusted {
					o.TrustedProxies = dashboard.Proxies{netip.MustParsePrefix("127.0.0.0/8")}
				}
			})
			h.addUser(t, "ada")
			b := h.serve(t, tt.tls)
			_, host, _ := strings.Cut(b.base, "://")
			for i := range tt.headers {
				tt.headers[i] = strings.ReplaceAll(tt.headers[i], "HOST", host)
			}
			got := b.do("POST", "/login", "application/x-www-form-urlencoded", "name=ada&password=a+few+unrelated+words", tt.headers...)
			cookie, err := http.ParseSetCookie(got.header.Get("Set-Cookie"))
			if err != nil {
				t.Fatalf("%d: %v", got.code, err)
			}
			name := "halfmask"
			if tt.secure {
				name = "__Host-halfmask"
			}
			if cookie.Name != name || cookie.Secure != tt.secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode ||
				cookie.Path != "/" || cookie.Domain != "" || len(cookie.Value) != 43 {
				t.Errorf("%+v", cookie)
			}
			if got := b.get("/api/me", append(tt.headers, "Cookie", cookie.Name+"="+cookie.Value)...); got.code != http.StatusOK {
				t.Errorf("with the cookie: %d", got.code)
			}
			for hash := range h.accounts.sessions {
				if strings.Contains(cookie.Value, string(hash[:])) {
					t.Error("the cookie's value is stored")
				}
			}
		})
	}
}

// TestPlantedCookie: over HTTPS a cookie that a neighbour in the domain could
// have set is not looked at.
func TestPlantedCookie(t *testing.T) {
	h := open(t)
	h.addUser(t, "ada")
	plain := h.serve(t, false)
	plain.login("ada", password)
	value := plain.cookies()[0].Value
	secure := h.serve(t, true)
	if got := secure.get("/api/me", "Cookie", "halfmask="+value); got.code != http.StatusUnauthorized {
		t.Errorf("a cookie without __Host- over HTTPS: %d", got.code)
	}
}

// TestLoginRotatesTheSession: a session that was planted before the login is
// not the one after it.
func TestLoginRotatesTheSession(t *testing.T) {
	h := open(t)
	h.addUser(t, "ada")
	b := h.serve(t, false)
	b.login("ada", password)
	before := b.cookies()[0].Value
	b.login("ada", password)
	if after := b.cookies()[0].Value; after == before || len(h.accounts.sessions) != 1 {
		t.Errorf("the session stayed the same, or %d sessions are open", len(h.accounts.sessions))
	}
	if got := b.get("/api/me", "Cookie", "halfmask="+before); got.code != http.StatusUnauthorized {
		t.Errorf("the session before: %d", got.code)
	}
}

func TestSessionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		h.addUser(t, "ada")
		login := func() string {
			got := h.send("POST", "/login", "name=ada&password=a+few+unrelated+words", "Content-Type", "application/x-www-form-urlencoded")
			return strings.Split(got.Header().Get("Set-Cookie"), ";")[0]
		}
		me := func(cookie string) int { return h.send("GET", "/api/me", "", "Cookie", cookie).Code }

		idle := login()
		time.Sleep(12*time.Hour - time.Minute)
		if code := me(idle); code != http.StatusOK {
			t.Errorf("used within 12 hours: %d", code)
		}
		time.Sleep(12*time.Hour - time.Minute)
		if code := me(idle); code != http.StatusOK {
			t.Errorf("used again within 12 hours: %d", code)
		}
		time.Sleep(12 * time.Hour)
		if code := me(idle); code != http.StatusUnauthorized {
			t.Errorf("not used for 12 hours: %d", code)
		}

		busy := login()
		start := time.Now()
		for time.Since(start) < 30*24*time.Hour {
			if code := me(busy); code != http.StatusOK {
				t.Fatalf("after %v of use: %d", time.Since(start), code)
			}
			time.Sleep(6 * time.Hour)
		}
		if code := me(busy); code != http.StatusUnauthorized {
			t.Errorf("after 30 days: %d", code)
		}
	})
}

// TestRevocation: what is revoked here ends at once, what is revoked by another
// process within seconds.
func TestRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		user := h.addUser(t, "ada")
		secret := h.addToken(t, siteA.ID)
		got := h.send("POST", "/login", "name=ada&password=a+few+unrelated+words", "Content-Type", "application/x-www-form-urlencoded")
		cookie := strings.Split(got.Header().Get("Set-Cookie"), ";")[0]
		byCookie := func() int { return h.send("GET", "/api/me", "", "Cookie", cookie).Code }
		byToken := func() int { return h.send("GET", "/api/me", "", "Authorization", "Bearer "+secret).Code }
		if byCookie() != http.StatusOK || byToken() != http.StatusOK {
			t.Fatal("no access to begin with")
		}
		before := h.accounts.lookups
		byCookie()
		byToken()
		if h.accounts.lookups != before {
			t.Error("storage is asked for every request")
		}
		tokens, _ := h.accounts.Tokens(t.Context())
		if err := errors.Join(h.accounts.DeleteUser(t.Context(), user.ID), h.accounts.DeleteToken(t.Context(), tokens[0].ID)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		if byCookie() != http.StatusUnauthorized || byToken() != http.StatusUnauthorized {
			t.Error("still let in 15 seconds after the user and the token were deleted")
		}
	})
}

// TestRevocationMeetsALookUp: a session that was read before it was revoked is
// not believed afterwards.
func TestRevocationMeetsALookUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		user := h.addUser(t, "ada")
		got := h.send("POST", "/login", "name=ada&password=a+few+unrelated+words", "Content-Type", "application/x-www-form-urlencoded")
		cookie := strings.Split(got.Header().Get("Set-Cookie"), ";")[0]
		for name, path := range map[string]string{"here": "/logout", "everywhere": "/account/logout"} {
			session := h.onlySession(t)
			read, goOn := make(chan struct{}), make(chan struct{})
			var once atomic.Bool
			h.accounts.found = func() {
				if once.CompareAndSwap(false, true) {
					close(read)
					<-goOn
				}
			}
			var meanwhile sync.WaitGroup
			meanwhile.Go(func() { h.send("GET", "/api/me", "", "Cookie", cookie) })
			<-read
			if got := h.send("POST", path, "", "Cookie", cookie); got.Code != http.StatusSeeOther {
				t.Fatalf("logging out %s: %d", name, got.Code)
			}
			close(goOn)
			meanwhile.Wait()
			if got := h.send("GET", "/api/me", "", "Cookie", cookie); got.Code != http.StatusUnauthorized {
				t.Errorf("logged out %s, and yet: %d", name, got.Code)
			}
			session.User = user.ID
			if err := h.accounts.AddSession(t.Context(), session); err != nil { // for the next round
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
	})
}

// onlySession returns the one session there is.
func (h *house) onlySession(t *testing.T) account.Session {
	t.Helper()
	h.accounts.mu.Lock()
	defer h.accounts.mu.Unlock()
	if len(h.accounts.sessions) != 1 {
		t.Fatalf("%d sessions", len(h.accounts.sessions))
	}
	for _, session := range h.accounts.sessions {
		return session
	}
	panic("unreachable")
}
