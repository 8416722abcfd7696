package dashboard_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestEveryAnswerIsGuarded: whatever the answer, a browser is told to stay
// here.
func TestEveryAnswerIsGuarded(t *testing.T) {
	h := open(t)
	secret := h.addToken(t, siteA.ID)
	auth := []string{"Authorization", "Bearer " + secret}
	tests := []struct {
		name    string
		code    int
		send    func() *httptest.ResponseRecorder
		cache   string
		content string
	}{
		{"a page", 200, func() *httptest.ResponseRecorder { return h.send("GET", "/login", "") }, "no-store", "text/html; charset=utf-8"},
		{"an answer", 200, func() *httptest.ResponseRecorder {
			return h.send("POST", "/api/v2/query", question("a.example"), auth...)
		}, "no-store", "application/json; charset=utf-8"},
		{"a script", 200, func() *httptest.ResponseRecorder { return h.send("GET", "/assets/app-0123456789.js", "") }, "public, max-age=31536000, immutable", "text/javascript; charset=utf-8"},
		{"a redirect", 303, func() *httptest.ResponseRecorder { return h.send("GET", "/a.example", "") }, "no-store", "text/html; charset=utf-8"},
		{"a bad query", 400, func() *httptest.ResponseRecorder { return h.send("POST", "/api/v2/query", "{}", auth...) }, "no-store", "application/json; charset=utf-8"},
		{"no key", 401, func() *httptest.ResponseRecorder { return h.send("GET", "/api/sites", "") }, "no-store", "application/json; charset=utf-8"},
		{"cross-site", 403, func() *httptest.ResponseRecorder { return h.send("POST", "/login", "", "Sec-Fetch-Site", "cross-site") }, "no-store", "text/html; charset=utf-8"},
		{"no such page", 404, func() *httptest.ResponseRecorder { return h.send("GET", "/no/such/page", "") }, "no-store", "text/html; charset=utf-8"},
		{"no such asset", 404, func() *httptest.ResponseRecorder { return h.send("GET", "/assets/..%2fdashboard.go", "") }, "no-store", "text/html; charset=utf-8"},
		{"no such API", 404, func() *httptest.ResponseRecorder { return h.send("GET", "/api/v3", "") }, "no-store", "application/json; charset=utf-8"},
		{"wrong method", 405, func() *httptest.ResponseRecorder { return h.send("GET", "/api/v2/query", "", auth...) }, "no-store", "application/json; charset=utf-8"},
		{"storage away", 500, func() *httptest.ResponseRecorder {
			h.stats.err = errors.New("away")
			defer func() { h.stats.err = nil }()
			return h.send("POST", "/api/v2/query", question("a.example"), auth...)
		}, "no-store", "application/json; charset=utf-8"},
		{"a panic", 500, func() *httptest.ResponseRecorder {
			h.stats.panics = true
			defer func() { h.stats.panics = false }()
			return h.send("POST", "/api/v2/query", question("a.example"), auth...)
		}, "no-store", "application/json; charset=utf-8"},
	}
	for _, tt := range tests {
		got := tt.send()
		if got.Code != tt.code {
			t.Errorf("%s: %d %s", tt.name, got.Code, got.Body)
		}
		for header, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
				"frame-ancestors 'none'; base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'",
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			"Cache-Control": tt.cache, "Content-Type": tt.content,
		} {
			if value := got.Header().Get(header); value != want {
				t.Errorf("%s: %s is %q, want %q", tt.name, header, value, want)
			}
		}
		if got.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: another origin may read it", tt.name)
		}
	}
}

// TestPanicIsLoggedWithoutWhatWasAsked: the log names the place, not the
// value.
func TestPanicIsLoggedWithoutWhatWasAsked(t *testing.T) {
	h := open(t)
	secret := h.addToken(t, siteA.ID)
	h.stats.panics = true
	h.send("POST", "/api/v2/query", question("a.example"), "Authorization", "Bearer "+secret)
	log := h.log.String()
	if !strings.Contains(log, "(*answers).Query:") || !strings.Contains(log, "runtime.boundsError") {
		t.Errorf("the log does not say where: %s", log)
	}
	if strings.Contains(log, "out of range") || strings.Contains(log, "a.example") || strings.Contains(log, "192.0.2.1") {
		t.Errorf("the log says too much: %s", log)
	}
}

// TestCrossSiteRequestsDoNothing: no other site can act in a user's name.
func TestCrossSiteRequestsDoNothing(t *testing.T) {
	h := open(t)
	h.addUser(t, "ada")
	b := h.serve(t, false)
	b.login("ada", password)
	const form, json = "application/x-www-form-urlencoded", "application/json"
	attacks := []struct {
		name    string
		headers []string
	}{
		{"cross-site", []string{"Sec-Fetch-Site", "cross-site"}},
		{"same-site", []string{"Sec-Fetch-Site", "same-site"}},
		{"another origin", []string{"Sec-Fetch-Site", "", "Origin", "https://evil.example"}},
		{"null origin", []string{"Sec-Fetch-Site", "", "Origin", "null"}},
	}
	for _, attack := range attacks {
		for _, route := range []struct{ path, kind, body string }{
			{"/api/v2/query", json, question("a.example")},
			{"/api/v2/query", "text/plain", question("a.example")},
			{"/login", form, "name=ada&password=a+few+unrelated+words"},
			{"/logout", form, ""},
			{"/setup", form, ""},
			{"/account/password", form, ""},
			{"/account/logout", form, ""},
			{"/account/logout", "text/plain", ""},
		} {
			if got := b.do("POST", route.path, route.kind, route.body, attack.headers...); got.code != http.StatusForbidden {
				t.Errorf("%s: POST %s: %d", attack.name, route.path, got.code)
			}
		}
	}
	if got := b.do("POST", "/api/v2/query", "text/plain", question("a.example")); got.code != http.StatusForbidden {
		t.Errorf("JSON as text/plain: %d", got.code)
	}
	if got := b.do("POST", "/api/v2/query", json, question("a.example"), "Sec-Fetch-Site", "", "Origin", ""); got.code != http.StatusForbidden {
		t.Errorf("a query by cookie from who knows where: %d", got.code)
	}
	if got := b.get("/api/sites", "Sec-Fetch-Site", "cross-site"); got.code != http.StatusForbidden {
		t.Errorf("reading the sites from another site: %d", got.code)
	}
	for _, path := range []string{"/logout", "/account/logout", "/account/password"} {
		if got := b.get(path); got.code == http.StatusOK {
			t.Errorf("GET %s: %d", path, got.code)
		}
	}
	if got := b.do("POST", "/api/v2/query", json, question("a.example"), "Sec-Fetch-Site", ""); got.code != http.StatusOK {
		t.Errorf("a browser over plain HTTP, which sends Origin alone: %d", got.code)
	}
	if got := b.get("/api/me"); got.code != http.StatusOK {
		t.Errorf("after all that the user is logged out: %d", got.code)
	}
}

func TestMetrics(t *testing.T) {
	h := open(t)
	h.addUser(t, "ada")
	h.send("GET", "/login", "")
	h.send("GET", "/a.example", "")
	h.send("GET", "/<script>", "")
	h.from("203.0.113.7", "ada", "wrong")
	h.from("203.0.113.7", "ada", password)
	err := testutil.GatherAndCompare(h.registry, strings.NewReader(`
# HELP halfmask_dashboard_logins_total Attempts to log in, by result.
# TYPE halfmask_dashboard_logins_total counter
halfmask_dashboard_logins_total{result="crowded"} 0
halfmask_dashboard_logins_total{result="failed"} 1
halfmask_dashboard_logins_total{result="ok"} 1
halfmask_dashboard_logins_total{result="throttled"} 0
# HELP halfmask_dashboard_requests_total Requests answered, by route and class of status code.
# TYPE halfmask_dashboard_requests_total counter
halfmask_dashboard_requests_total{code_class="2xx",route="login"} 1
halfmask_dashboard_requests_total{code_class="3xx",route="login"} 1
halfmask_dashboard_requests_total{code_class="3xx",route="site"} 2
halfmask_dashboard_requests_total{code_class="4xx",route="login"} 1
`), "halfmask_dashboard_logins_total", "halfmask_dashboard_requests_total")
	if err != nil {
		t.Error(err)
	}
}

// TestConnectionFaultsAreCountedNotLogged: net/http's own log names peers.
func TestConnectionFaultsAreCountedNotLogged(t *testing.T) {
	h := open(t)
	server := h.Server()
	server.ErrorLog.Printf("http: TLS handshake error from 203.0.113.77:4000: EOF")
	server.ErrorLog.Printf("http: panic serving 203.0.113.77:4000: boom")
	if strings.Contains(h.log.String(), "203.0.113.77") || strings.Contains(h.log.String(), "boom") {
		t.Errorf("logged %s", h.log)
	}
	if n, err := testutil.GatherAndCount(h.registry, "halfmask_dashboard_connection_faults_total"); n != 2 || err != nil {
		t.Errorf("%d faults counted, %v", n, err)
	}
	if server.ReadHeaderTimeout == 0 || server.ReadTimeout == 0 || server.WriteTimeout == 0 || server.IdleTimeout == 0 || server.MaxHeaderBytes > 64<<10 {
		t.Errorf("a slow or large request is not bounded: %+v", server)
	}
}
