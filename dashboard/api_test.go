package dashboard_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/halfmask/halfmask/dashboard"
	"github.com/halfmask/halfmask/stats"
)

func TestQueryWithToken(t *testing.T) {
	h := open(t)
	secret := h.addToken(t, siteA.ID)
	got := h.send("POST", "/api/v2/query", question("www.A.example"), "Authorization", "Bearer "+secret)
	if got.Code != http.StatusOK || !strings.HasPrefix(got.Body.String(), `{"results":[{"metrics":[42],"dimensions":[]}],"meta":{},"query":{"site_id":`) {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	if asked := h.stats.questions(); len(asked) != 1 || asked[0].Site != siteA.ID || asked[0].Zone != siteA.Zone {
		t.Errorf("asked %+v", asked)
	}
}

func TestQueryComparesWithThePreviousPeriod(t *testing.T) {
	h := open(t)
	secret := h.addToken(t, siteA.ID)
	body := `{"site_id":"a.example","metrics":["visits"],"date_range":"7d","include":{"compare":"previous_period"}}`
	got := h.send("POST", "/api/v2/query", body, "Authorization", "Bearer "+secret)
	if !strings.Contains(got.Body.String(), `"comparison":{"metrics":[42],"change":[0]}`) {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	if asked := h.stats.questions(); len(asked) != 2 || asked[1].To.After(asked[0].From) {
		t.Errorf("asked %+v", asked)
	}
}

// TestAccess holds who may see what: a key of one site must not learn even
// whether another site is there.
func TestAccess(t *testing.T) {
	h := open(t)
	keyA := h.addToken(t, siteA.ID)
	stranger, _ := dashboard.NewToken(siteA.ID, "never added")
	paths := []struct{ method, path, body string }{
		{"POST", "/api/v2/query", question("%")},
		{"GET", "/api/v1/stats/realtime/visitors?site_id=%", ""},
	}
	for _, p := range paths {
		send := func(key, site string) *httptest.ResponseRecorder {
			return h.send(p.method, strings.ReplaceAll(p.path, "%", site), strings.ReplaceAll(p.body, "%", site), "Authorization", key)
		}
		if got := send("Bearer "+keyA, "a.example"); got.Code != http.StatusOK {
			t.Errorf("%s: the key's own site: %d %s", p.path, got.Code, got.Body)
		}
		before := len(h.stats.questions())
		want := ""
		for name, got := range map[string]*httptest.ResponseRecorder{
			"another site":      send("Bearer "+keyA, "b.example"),
			"no site":           send("Bearer "+keyA, "c.example"),
			"an unknown key":    send("Bearer "+stranger, "a.example"),
			"a malformed key":   send("Bearer hm_x", "a.example"),
			"another scheme":    send("Basic "+keyA, "a.example"),
			"a key, no scheme":  send(keyA, "a.example"),
			"injection":         send("Bearer ' OR 1=1 --", "a.example"),
			"unknown key, site": send("Bearer "+stranger, "c.example"),
		} {
			if want == "" {
				want = got.Body.String()
			}
			if got.Code != http.StatusUnauthorized || got.Body.String() != want || !strings.HasPrefix(want, `{"error":"Invalid API key or site.`) {
				t.Errorf("%s: %s: %d %s", p.path, name, got.Code, got.Body)
			}
		}
		if after := len(h.stats.questions()); after != before {
			t.Errorf("%s: storage was asked %d times by those who may not", p.path, after-before)
		}
	}
	if got := h.send("POST", "/api/v2/query", question("a.example")); got.Code != http.StatusUnauthorized || got.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("no key: %d", got.Code)
	}
	if got := h.send("GET", "/api/sites", "", "Authorization", "Bearer "+keyA); got.Body.String() != `[{"domain":"a.example","timezone":"UTC"}]`+"\n" {
		t.Errorf("the key's sites: %s", got.Body)
	}
}

func TestBadQueries(t *testing.T) {
	h := open(t)
	secret := h.addToken(t, siteA.ID)
	tests := []struct {
		name, body string
		code       int
		says       string
	}{
		{"unknown key", `{"site_id":"a.example","metrics":["visitors"],"date_range":"7d","x":1}`, 400, "has no"},
		{"truncated", `{"site_id":"a.example"`, 400, "not valid JSON"},
		{"invalid UTF-8", "{\"site_id\":\"\xff\",\"metrics\":[\"visitors\"],\"date_range\":\"7d\"}", 401, "Invalid API key or site"},
		{"10 MB", strings.Repeat("x", 10<<20), 413, "larger than 64 KB"},
		{"too many buckets", `{"site_id":"a.example","metrics":["visitors"],"date_range":"91d","dimensions":["time:minute"]}`, 400, "coarser"},
	}
	for _, tt := range tests {
		got := h.send("POST", "/api/v2/query", tt.body, "Authorization", "Bearer "+secret)
		var fault struct{ Error string }
		if err := json.Unmarshal(got.Body.Bytes(), &fault); err != nil || got.Code != tt.code || !strings.Contains(fault.Error, tt.says) {
			t.Errorf("%s: %d %s", tt.name, got.Code, got.Body)
		}
	}
	if got := h.send("GET", "/api/v2/query", "", "Authorization", "Bearer "+secret); got.Code != 405 || got.Header().Get("Allow") != "POST" {
		t.Errorf("GET: %d", got.Code)
	}
	if len(h.stats.questions()) != 0 {
		t.Error("storage was asked")
	}
	if h.log.Len() > 0 {
		t.Errorf("a bad query was logged: %s", h.log)
	}
}

func TestLiveVisitorsIsABareNumber(t *testing.T) {
	h := open(t)
	secret := h.addToken(t, siteB.ID)
	got := h.send("GET", "/api/v1/stats/realtime/visitors?site_id=b.example", "", "Authorization", "Bearer "+secret)
	if got.Code != http.StatusOK || got.Body.String() != "2" {
		t.Errorf("%d %q", got.Code, got.Body)
	}
	if got := h.send("GET", "/api/v1/stats/realtime/visitors", "", "Authorization", "Bearer "+secret); got.Code != http.StatusBadRequest {
		t.Errorf("without site_id: %d", got.Code)
	}
}

func TestStorageAwayIsSaidAndLogged(t *testing.T) {
	h := open(t)
	secret := h.addToken(t, siteA.ID)
	h.stats.err = errors.New("storage: connection refused")
	got := h.send("POST", "/api/v2/query", question("a.example"), "Authorization", "Bearer "+secret)
	if got.Code != http.StatusInternalServerError || strings.Contains(got.Body.String(), "refused") || !strings.Contains(got.Body.String(), `{"error":`) {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if !strings.Contains(h.log.String(), "connection refused") {
		t.Errorf("logged %q", h.log)
	}
}

func TestWhatStorageRefusesIsTheAskersFault(t *testing.T) {
	h := open(t)
	secret := h.addToken(t, siteA.ID)
	h.stats.err = fmt.Errorf("cannot ask this question: filters nest too deep: %w", stats.ErrInvalid)
	got := h.send("POST", "/api/v2/query", question("a.example"), "Authorization", "Bearer "+secret)
	if got.Code != http.StatusBadRequest || !strings.Contains(got.Body.String(), `"error":"Cannot ask this question: filters nest too deep`) {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if h.log.Len() > 0 {
		t.Errorf("logged %q", h.log)
	}
}

func TestRequestsPerHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		secret, other := h.addToken(t, siteA.ID), h.addToken(t, siteA.ID)
		send := func(key string) *httptest.ResponseRecorder {
			return h.send("POST", "/api/v2/query", question("a.example"), "Authorization", "Bearer "+key)
		}
		for i := range 600 {
			if got := send(secret); got.Code != http.StatusOK {
				t.Fatalf("request %d: %d", i+1, got.Code)
			}
		}
		got := send(secret)
		wait, err := strconv.Atoi(got.Header().Get("Retry-After"))
		if got.Code != http.StatusTooManyRequests || !strings.Contains(got.Body.String(), "600 requests per hour") || err != nil {
			t.Fatalf("request 601: %d %s", got.Code, got.Body)
		}
		if got := send(other); got.Code != http.StatusOK {
			t.Errorf("another key: %d", got.Code)
		}
		time.Sleep(time.Duration(wait) * time.Second)
		if got := send(secret); got.Code != http.StatusOK {
			t.Errorf("after Retry-After: %d", got.Code)
		}
	})
}

// TestFewQueriesRunAtOnce: a hundred heavy requests cannot take storage from
// those who record.
func TestFewQueriesRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		secret := h.addToken(t, siteA.ID)
		h.stats.hold = make(chan struct{})
		var wg sync.WaitGroup
		var mu sync.Mutex
		codes := map[int]int{}
		for range 100 {
			wg.Go(func() {
				got := h.send("POST", "/api/v2/query", question("a.example"), "Authorization", "Bearer "+secret)
				mu.Lock()
				defer mu.Unlock()
				codes[got.Code]++
			})
		}
		synctest.Wait()
		mu.Lock()
		if codes[http.StatusTooManyRequests] != 76 || len(codes) != 1 {
			t.Errorf("while storage is busy: %v", codes)
		}
		mu.Unlock()
		close(h.stats.hold)
		wg.Wait()
		if codes[http.StatusOK] != 24 || h.stats.most != 4 {
			t.Errorf("codes %v, %d at once", codes, h.stats.most)
		}
	})
}

func TestSlowQueryIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		secret := h.addToken(t, siteA.ID)
		h.stats.hold = make(chan struct{})
		got := h.send("POST", "/api/v2/query", question("a.example"), "Authorization", "Bearer "+secret)
		if got.Code != http.StatusServiceUnavailable || !strings.Contains(got.Body.String(), "shorter range") {
			t.Errorf("%d %s", got.Code, got.Body)
		}
	})
}

// TestGuessingKeysDoesNotReachStorage: look-ups of keys that do not exist are
// bounded per network; keys that are in use go on working.
func TestGuessingKeysDoesNotReachStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		secret := h.addToken(t, siteA.ID)
		send := func(key string) int {
			return h.send("GET", "/api/me", "", "Authorization", "Bearer "+key).Code
		}
		if code := send(secret); code != http.StatusOK {
			t.Fatal(code)
		}
		refused := 0
		for range 200 {
			guess, _ := dashboard.NewToken(siteA.ID, "")
			if send(guess) == http.StatusTooManyRequests {
				refused++
			}
		}
		if refused != 140 || h.accounts.lookups != 61 {
			t.Errorf("%d refused, %d look-ups", refused, h.accounts.lookups)
		}
		if code := send(secret); code != http.StatusOK {
			t.Errorf("a key in use: %d", code)
		}
		time.Sleep(time.Minute)
		if code := send(secret); code != http.StatusOK {
			t.Errorf("a minute later: %d", code)
		}
	})
}
