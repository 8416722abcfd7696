package dashboard_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestFirstUserComesByTheSetupLink(t *testing.T) {
	h := open(t)
	b := h.serve(t, false)
	if got := b.get("/setup?token=guess"); got.code != http.StatusNotFound || !strings.Contains(got.body, "does not work any more") {
		t.Fatalf("before there is a link: %d", got.code)
	}
	stale, ok, err := h.SetupLink(t.Context(), b.base+"/")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	link, _, err := h.SetupLink(t.Context(), b.base)
	if err != nil || link == stale {
		t.Fatalf("a second link: %q, %v", link, err)
	}
	if got := b.get(strings.TrimPrefix(stale, b.base)); got.code != http.StatusNotFound {
		t.Errorf("the link before: %d", got.code)
	}
	path, token, _ := strings.Cut(strings.TrimPrefix(link, b.base), "?token=")
	if got := b.get(path + "?token=" + token); got.code != http.StatusOK || !strings.Contains(got.body, token) {
		t.Fatalf("the link: %d %s", got.code, got.body)
	}
	tests := []struct{ name, user, password, again, says string }{
		{"short", "ada", "short", "short", "at least 10"},
		{"common", "ada", "Qwertyuiop", "Qwertyuiop", "first that anybody tries"},
		{"two passwords", "ada", "a few unrelated words", "a few unrelated wards", "differ"},
		{"the name", "ada.lovelace", "Ada.Lovelace", "Ada.Lovelace", "your name"},
		{"a bad name", "ada lovelace", password, password, "1 to 64 letters"},
	}
	for _, tt := range tests {
		got := b.post("/setup", "token", token, "name", tt.user, "password", tt.password, "again", tt.again)
		if got.code != http.StatusUnprocessableEntity || !strings.Contains(got.body, tt.says) || !strings.Contains(got.body, token) {
			t.Errorf("%s: %d %s", tt.name, got.code, got.body)
		}
		if strings.Contains(got.body, tt.password) && tt.password != tt.user {
			t.Errorf("%s: the password is in the answer", tt.name)
		}
	}
	if got := b.post("/setup", "token", token+"x", "name", "eve", "password", password, "again", password); got.code != http.StatusNotFound {
		t.Errorf("a wrong token: %d", got.code)
	}
	if got := b.post("/setup", "token", token, "name", " Ada ", "password", password, "again", password); got.code != http.StatusSeeOther {
		t.Fatalf("setting up: %d %s", got.code, got.body)
	}
	if got := b.get("/api/me"); got.body != `{"user":"ada"}`+"\n" {
		t.Errorf("not logged in after the setup: %s", got.body)
	}
	users, _ := h.accounts.Users(t.Context())
	if err := h.accounts.DeleteUser(t.Context(), users[0].ID); err != nil {
		t.Fatal(err)
	}
	if got := b.post("/setup", "token", token, "name", "eve", "password", password, "again", password); got.code != http.StatusNotFound {
		t.Errorf("the link after the user was deleted: %d", got.code)
	}
	if err := h.accounts.AddUser(t.Context(), users[0]); err != nil {
		t.Fatal(err)
	}
	if got := b.post("/setup", "token", token, "name", "eve", "password", password, "again", password); got.code != http.StatusNotFound {
		t.Errorf("the link again: %d", got.code)
	}
	if _, ok, err := h.SetupLink(t.Context(), b.base); ok || err != nil {
		t.Errorf("a link although there is a user: %v, %v", ok, err)
	}
	if got := h.accounts.actions(); !slices.Equal(got, []string{"user:ada user.setup ada"}) {
		t.Errorf("audit log: %q", got)
	}
}

func TestSetupLinkIsWonByOne(t *testing.T) {
	h := open(t)
	link, _, err := h.SetupLink(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	_, token, _ := strings.Cut(link, "=")
	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := map[int]int{}
	for i := range 4 {
		wg.Go(func() {
			got := h.send("POST", "/setup", "token="+token+"&name=user"+strconv.Itoa(i)+"&password=a+few+unrelated+words&again=a+few+unrelated+words",
				"Content-Type", "application/x-www-form-urlencoded")
			mu.Lock()
			defer mu.Unlock()
			codes[got.Code]++
		})
	}
	wg.Wait()
	if users, _ := h.accounts.Users(t.Context()); len(users) != 1 || codes[http.StatusSeeOther] != 1 {
		t.Errorf("%d users, codes %v", len(users), codes)
	}
}

func TestLoginAndLogout(t *testing.T) {
	h := open(t)
	h.addUser(t, "ada")
	b := h.serve(t, false)
	if got := b.get("/a.example?period=30d"); got.code != http.StatusSeeOther || got.header.Get("Location") != "/login?next=%2Fa.example%3Fperiod%3D30d" {
		t.Fatalf("%d %s", got.code, got.header.Get("Location"))
	}
	for name, pair := range map[string][2]string{"wrong password": {"ada", "wrong"}, "unknown name": {"eve", password}, "no name": {"", password}} {
		got := b.login(pair[0], pair[1])
		if got.code != http.StatusUnauthorized || !strings.Contains(got.body, "The name or the password is wrong.") || len(b.cookies()) > 0 {
			t.Errorf("%s: %d", name, got.code)
		}
	}
	got := b.post("/login", "name", "ADA", "password", password, "next", "/a.example?period=30d")
	if got.code != http.StatusSeeOther || got.header.Get("Location") != "/a.example?period=30d" {
		t.Fatalf("login: %d %s", got.code, got.header.Get("Location"))
	}
	if got := b.do("POST", "/api/v2/query", "application/json", question("b.example")); got.code != http.StatusOK {
		t.Errorf("query with a session: %d %s", got.code, got.body)
	}
	if got := b.do("POST", "/api/v2/query", "application/json", question("c.example")); got.code != http.StatusUnauthorized {
		t.Errorf("query about no site: %d", got.code)
	}
	if got := b.get("/login"); got.code != http.StatusSeeOther {
		t.Errorf("the login page when logged in: %d", got.code)
	}
	cookie := b.cookies()[0]
	if got := b.post("/logout"); got.code != http.StatusSeeOther || len(b.cookies()) != 0 {
		t.Errorf("logout: %d, cookies %v", got.code, b.cookies())
	}
	if got := b.get("/api/me", "Cookie", cookie.Name+"="+cookie.Value); got.code != http.StatusUnauthorized {
		t.Errorf("the cookie after the logout: %d", got.code)
	}
	log := h.accounts.actions()
	slices.Sort(log)
	if want := []string{"server login.failed ", "server login.failed ", "server login.failed ada", "user:ada login.ok ada"}; !slices.Equal(log, want) {
		t.Errorf("audit log: %q", log)
	}
}

// TestNextStaysHere: after a login nobody is sent to another host.
func TestNextStaysHere(t *testing.T) {
	h := open(t)
	h.addUser(t, "ada")
	b := h.serve(t, false)
	b.login("ada", password)
	for next, want := range map[string]string{
		"/a.example": "/a.example", "/a.example?q=1": "/a.example?q=1",
		"": "/", "/": "/", "//evil.example": "/", `/\evil.example`: "/", "https:evil.example": "/", "https://evil.example/a.example": "/",
		"/%2f%2fevil.example": "/", "//a.example": "/", "/c.example": "/", "/a.example/../..//evil": "/", "javascript:alert(1)": "/", "a.example": "/",
		"/a.example#//evil.example": "/a.example", "//user@a.example/a.example": "/",
	} {
		if got := b.get("/login?next=" + strings.NewReplacer("%", "%25", "#", "%23", "?", "%3F").Replace(next)); got.header.Get("Location") != want {
			t.Errorf("next=%q leads to %q, want %q", next, got.header.Get("Location"), want)
		}
	}
}

func TestChangePassword(t *testing.T) {
	h := open(t)
	h.addUser(t, "ada")
	b := h.serve(t, false)
	other := &browser{t, h.serve(t, false).client, b.base}
	b.login("ada", password)
	other.login("ada", password)
	const next = "some other few words"
	for _, tt := range []struct {
		current, password, again, says string
	}{
		{"wrong", next, next, "current password is wrong"},
		{password, "short", "short", "at least 10"},
		{password, next, next + "!", "differ"},
	} {
		if got := b.post("/account/password", "current", tt.current, "password", tt.password, "again", tt.again); got.code != 422 || !strings.Contains(got.body, tt.says) {
			t.Errorf("%d %s", got.code, got.body)
		}
	}
	if got := b.post("/account/password", "current", password, "password", next, "again", next); got.code != http.StatusOK || !strings.Contains(got.body, "was changed") {
		t.Fatalf("%d %s", got.code, got.body)
	}
	if got := b.get("/api/me"); got.code != http.StatusOK {
		t.Errorf("this browser was logged out: %d", got.code)
	}
	if got := other.get("/api/me"); got.code != http.StatusUnauthorized {
		t.Errorf("the other browser was not logged out: %d", got.code)
	}
	if got := other.login("ada", password); got.code != http.StatusUnauthorized {
		t.Errorf("the old password: %d", got.code)
	}
	if got := other.login("ada", next); got.code != http.StatusSeeOther {
		t.Errorf("the new password: %d", got.code)
	}
	if got := b.post("/account/logout"); got.code != http.StatusSeeOther || other.get("/api/me").code != http.StatusUnauthorized || len(h.accounts.sessions) != 0 {
		t.Errorf("logging out everywhere: %d, %d sessions", got.code, len(h.accounts.sessions))
	}
}
