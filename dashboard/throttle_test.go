package dashboard_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/halfmask/halfmask/dashboard"
)

// from sends a login from an address.
func (h *house) from(addr, name, password string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/login", strings.NewReader("name="+name+"&password="+strings.ReplaceAll(password, " ", "+")))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(addr), 4000).String()
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, r)
	return w
}

func TestGuessingIsSlowedPerNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		h.addUser(t, "ada")
		for i := range 10 {
			if got := h.from("203.0.113.7", "user"+strconv.Itoa(i), "wrong"); got.Code != http.StatusUnauthorized {
				t.Fatalf("guess %d: %d", i+1, got.Code)
			}
		}
		got := h.from("203.0.113.99", "ada", password) // another host of the same /24
		if got.Code != http.StatusTooManyRequests || got.Header().Get("Retry-After") != "1" {
			t.Fatalf("after ten guesses: %d, Retry-After %s", got.Code, got.Header().Get("Retry-After"))
		}
		if got := h.from("203.0.114.7", "ada", password); got.Code != http.StatusSeeOther {
			t.Errorf("another network: %d", got.Code)
		}
		var waits []string
		for range 12 {
			got := h.from("203.0.113.7", "eve", "wrong")
			if got.Code == http.StatusTooManyRequests {
				waits = append(waits, got.Header().Get("Retry-After"))
				wait, _ := strconv.Atoi(got.Header().Get("Retry-After"))
				time.Sleep(time.Duration(wait) * time.Second)
			}
		}
		if want := []string{"1", "2", "4", "8", "16", "32"}; !slices.Equal(waits, want) {
			t.Errorf("waits of %v seconds, want %v", waits, want)
		}
		time.Sleep(time.Hour)
		if got := h.from("203.0.113.7", "ada", password); got.Code != http.StatusSeeOther {
			t.Errorf("an hour later: %d", got.Code)
		}
	})
}

// TestOwnerIsNotLockedOut: strangers from everywhere guess at one account; the
// owner gets in where they have been before, and elsewhere soon.
func TestOwnerIsNotLockedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		h.addUser(t, "ada")
		if got := h.from("198.51.100.1", "ada", password); got.Code != http.StatusSeeOther {
			t.Fatal(got.Code)
		}
		throttled := 0
		for i := range 60 {
			if got := h.from("10.0."+strconv.Itoa(i)+".1", "ada", "wrong"); got.Code == http.StatusTooManyRequests {
				throttled++
			}
			time.Sleep(time.Second)
		}
		if throttled < 40 {
			t.Errorf("only %d of 60 guesses from 60 networks were held up", throttled)
		}
		if got := h.from("198.51.100.200", "ada", password); got.Code != http.StatusSeeOther {
			t.Errorf("the owner at home: %d", got.Code)
		}
		for i := range 30 {
			h.from("10.1."+strconv.Itoa(i)+".1", "ada", "wrong")
		}
		time.Sleep(30 * time.Second)
		if got := h.from("192.0.2.1", "ada", password); got.Code != http.StatusSeeOther {
			t.Errorf("the owner elsewhere, half a minute later: %d", got.Code)
		}
	})
}

func TestManyGuessesAtOnceCountOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		h.addUser(t, "ada")
		var wg sync.WaitGroup
		var mu sync.Mutex
		codes := map[int]int{}
		for range 100 {
			wg.Go(func() {
				got := h.from("203.0.113.7", "ada", "wrong")
				mu.Lock()
				defer mu.Unlock()
				codes[got.Code]++
			})
		}
		wg.Wait()
		if codes[http.StatusUnauthorized] != 10 || codes[http.StatusTooManyRequests] != 90 {
			t.Errorf("codes %v", codes)
		}
	})
}

func TestForwardedForIsBelievedFromProxiesOnly(t *testing.T) {
	proxy, chain := netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("198.51.100.0/24")
	tests := []struct {
		name    string
		proxies dashboard.Proxies
		header  string // % is another number for each request
		slowed  bool   // all are taken for one client
	}{
		{"no proxy is trusted", nil, "203.0.%.1", true},
		{"the last hop counts, not the first", dashboard.Proxies{proxy}, "203.0.%.1, 198.51.100.1", true},
		{"the last hop that is no proxy counts", dashboard.Proxies{proxy, chain}, "6.6.6.6, 203.0.%.1, 198.51.100.1", false},
		{"one proxy", dashboard.Proxies{proxy}, "203.0.%.1", false},
		{"hosts of one network", dashboard.Proxies{proxy}, "203.0.113.%", true},
		{"hosts of one IPv6 network", dashboard.Proxies{proxy}, "2001:db8:1:%::1", true},
		{"IPv6 networks", dashboard.Proxies{proxy}, "2001:db8:%::1", false},
		{"IPv4 written as IPv6", dashboard.Proxies{proxy}, "::ffff:203.0.113.%", true},
		{"nonsense ends the walk", dashboard.Proxies{proxy}, "203.0.%.1, unknown", true},
		{"nothing", dashboard.Proxies{proxy}, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := open(t, func(o *dashboard.Options) { o.TrustedProxies = tt.proxies })
				slowed := false
				for i := range 12 {
					r := httptest.NewRequest("POST", "/login", strings.NewReader("password=wrong&name=user"+strconv.Itoa(i)))
					r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
					r.Header.Set("X-Forwarded-For", strings.ReplaceAll(tt.header, "%", strconv.Itoa(i)))
					r.RemoteAddr = "127.0.0.1:4000"
					w := httptest.NewRecorder()
					h.Handler().ServeHTTP(w, r)
					slowed = slowed || w.Code == http.StatusTooManyRequests
				}
				if slowed != tt.slowed {
					t.Errorf("slowed down: %v", slowed)
				}
			})
		})
	}
}
