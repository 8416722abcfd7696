package collector

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRate(100, time.Now())
		admitted := func(n int, from ...string) (yes int) {
			for i := range n {
				if r.admit(addr(from[i%len(from)]), time.Now()) {
					yes++
				}
			}
			return yes
		}
		if got := admitted(1000, "203.0.113.5", "203.0.7.9"); got != 200 {
			t.Errorf("a network that was silent may send %d at once, want two seconds' worth", got)
		}
		if got := admitted(100, "203.1.113.5"); got != 100 {
			t.Errorf("its neighbour may send %d", got)
		}
		for range 50 {
			time.Sleep(100 * time.Millisecond)
			if got := admitted(100, "203.0.113.5"); got != 10 {
				t.Fatalf("%d are admitted in a tenth of a second, want 10", got)
			}
		}
		time.Sleep(time.Hour)
		if got := admitted(1000, "203.0.113.5"); got != 200 {
			t.Errorf("after an hour of silence it may send %d at once", got)
		}
		// All of an IPv6 provider is one network, and another one is not.
		if got := admitted(1000, "2001:db8::1", "2001:db8:ffff:1::2"); got != 200 {
			t.Errorf("an IPv6 /32 may send %d at once", got)
		}
		if got := admitted(100, "2a00:1450::1"); got != 100 {
			t.Errorf("another may send %d", got)
		}
		// A beacon for several sites costs as much as the events that it becomes.
		for range 50 {
			if !r.admit(addr("198.51.100.1"), time.Now()) {
				t.Fatal("refused too early")
			}
			r.charge(addr("198.51.100.1"), 3)
		}
		if got := admitted(10, "198.51.100.1"); got != 0 {
			t.Errorf("50 beacons for four sites each leave room for %d events", got)
		}
		if got := admitted(10_000, "127.0.0.1", "::1"); got != 10_000 {
			t.Errorf("this machine itself may send %d", got)
		}
	})
}

func TestNoRate(t *testing.T) {
	r := newRate(0, time.Now())
	for range 10_000 {
		if !r.admit(addr("203.0.113.5"), time.Time{}) {
			t.Fatal("refused without a limit")
		}
	}
	r.charge(addr("203.0.113.5"), 3)
}

// At whatever moment many ask at once, they are not given more than there is.
func TestRateIsExactUnderContention(t *testing.T) {
	start := time.Now()
	r := newRate(1000, start)
	var wg sync.WaitGroup
	var admitted atomic.Int64
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if r.admit(addr("203.0.113.5"), start) {
					admitted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := admitted.Load(); got != 2000 {
		t.Errorf("%d admitted, want 2000", got)
	}
}

func TestRateLimitIsAnswered(t *testing.T) {
	d := open(t, func(o *Options) {
		o.TrustedProxies = prefixes("127.0.0.0/8")
		o.Limits.EventsPerNetwork = 1 // two at once, and no third within this test unless it takes a second
	})
	from := func(ip string) string { return "X-Forwarded-For: " + ip }
	limited := 0
	for i := range 12 {
		r := d.send(t, "POST", "/api/event", pageview, from(fmt.Sprintf("203.0.113.%d", i)), "Origin: https://example.com")
		if r.StatusCode == 202 {
			continue
		}
		limited++
		if r.StatusCode != 429 || r.Header.Get("Retry-After") != "1" || r.Header.Get("Access-Control-Allow-Origin") != "https://example.com" ||
			!strings.Contains(bodyOf(t, r), `"request":["is one too many`) {
			t.Errorf("answer %v", r)
		}
	}
	if limited == 0 {
		t.Fatal("nothing was limited")
	}
	if r := d.send(t, "POST", "/api/event", pageview, from("198.51.100.1")); r.StatusCode != 202 {
		t.Errorf("another network got %d", r.StatusCode)
	}
	for range 12 { // until the third within a second
		if r := d.send(t, "GET", "/pixel.gif?u=https://example.com/", "", from("192.0.2.1")); r.StatusCode == 429 {
			limited++
			if bodyOf(t, r) != string(pixel) || r.Header.Get("Retry-After") != "1" {
				t.Errorf("pixel's answer %v", r)
			}
		}
	}
	// Whoever does not want to be counted is not counted here either.
	for range 5 {
		if r := d.send(t, "POST", "/api/event", pageview, from("203.0.113.5"), "DNT: 1"); r.StatusCode != 202 {
			t.Errorf("with an opt-out: %d", r.StatusCode)
		}
	}
	if got := d.count(t, "rejected_requests_total", "rate_limited"); got != float64(limited) {
		t.Errorf("%v counted, %d answered", got, limited)
	}
	if log := d.log.String(); !strings.Contains(log, "--rate-limit") || strings.Contains(log, "203.0") || strings.Count(log, "\n") != 1 {
		t.Errorf("log %q", log)
	}
	d.balance(t)
}

func BenchmarkRate(b *testing.B) {
	now := time.Now()
	addrs := make([]netip.Addr, 1024)
	for i := range addrs {
		addrs[i] = netip.AddrFrom4([4]byte{byte(11 + i%80), byte(i), 1, 1})
	}
	b.Run("many networks", func(b *testing.B) {
		r := newRate(1_000_000, now)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				r.admit(addrs[i%len(addrs)], now)
			}
		})
	})
	b.Run("one network", func(b *testing.B) {
		r := newRate(1_000_000_000, now)
		at := now
		b.ReportAllocs()
		for b.Loop() {
			at = at.Add(2)
			r.admit(addrs[0], at)
		}
	})
}
