package dashboard

import (
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Guessing passwords or keys is slowed down for the network it comes from and
// for the account it is aimed at. An account's owner is not locked out by
// strangers: the networks that the account has logged in from are not held up
// by failures elsewhere, and a stranger's hold-up is short. Networks are cut
// to a /24 (IPv6: /48) and live in memory only: those that failed for an hour,
// those that logged in for 30 days.
const (
	freeFailures   = 10 // wrong passwords that cost no wait
	forgetAfter    = time.Hour
	longestNetwork = 15 * time.Minute
	longestAccount = 30 * time.Second
	maxThrottled   = 10_000 // networks, and accounts
	maxKnown       = 1000   // networks that logged in

	// Look-ups of credentials that do not exist, per network and minute.
	unknownPerMinute = 60
)

// Proxies are networks whose peers are believed about whom they speak for.
type Proxies []netip.Prefix

// trust reports whether r came from one of the proxies.
func (p Proxies) trust(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && p.contain(peer.Addr())
}

func (p Proxies) contain(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(p, func(prefix netip.Prefix) bool { return prefix.Contains(a) })
}

// network is where a request came from, cut so short that many share it.
type network struct{ prefix netip.Prefix }

// network returns where a request came from: the peer's network or, if the
// peer is a proxy, that of the last hop that is not.
func (p Proxies) network(r *http.Request) network {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return network{}
	}
	client := peer.Addr()
	if p.contain(client) {
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for _, hop := range slices.Backward(hops) {
			a, err := netip.ParseAddr(strings.TrimSpace(hop))
			if err != nil {
				break // whoever wrote this is not to be believed about what is left of it
			}
			if client = a; !p.contain(a) {
				break
			}
		}
	}
	client = client.Unmap().WithZone("")
	bits := 24
	if client.Is6() {
		bits = 48
	}
	prefix, _ := client.Prefix(bits)
	return network{prefix}
}

// throttle remembers failures.
type throttle struct {
	mu       sync.Mutex
	networks map[network]*failures
	accounts map[string]*failures
	known    map[knownNetwork]time.Time // when an account last logged in from a network
	unknown  map[network]*failures      // look-ups that found nothing
}

type failures struct {
	count int
	last  time.Time
	until time.Time // the next attempt is heard from then on
}

type knownNetwork struct {
	account string
	network network
}

func newThrottle() *throttle {
	return &throttle{
		networks: make(map[network]*failures),
		accounts: make(map[string]*failures),
		known:    make(map[knownNetwork]time.Time),
		unknown:  make(map[network]*failures),
	}
}

// attempt asks whether a password may be tried now; if not, it returns how
// long to wait. An attempt counts as failed until succeeded is called, so that
// many at once get no further than one after the other.
func (t *throttle) attempt(n network, account string) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	byNetwork, byAccount := entry(t.networks, n, now), entry(t.accounts, account, now)
	at, known := t.known[knownNetwork{account, n}]
	known = known && now.Sub(at) < sessionLife
	wait = byNetwork.until.Sub(now)
	if !known {
		wait = max(wait, byAccount.until.Sub(now))
	}
	if wait > 0 {
		return wait
	}
	byNetwork.fail(now, longestNetwork)
	byAccount.fail(now, longestAccount)
	return 0
}

// succeeded takes an attempt back: the password was right.
func (t *throttle) succeeded(n network, account string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if f, ok := t.networks[n]; ok && f.count > 0 {
		// Only this one: whoever has an account may not guess at others' for free.
		f.count--
		f.until = time.Time{}
	}
	delete(t.accounts, account)
	maps.DeleteFunc(t.known, func(_ knownNetwork, at time.Time) bool { return now.Sub(at) >= sessionLife })
	if len(t.known) >= maxKnown {
		clear(t.known)
	}
	t.known[knownNetwork{account, n}] = now
}

// undo takes an attempt back that came to no result.
func (t *throttle) undo(n network, account string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range []*failures{t.networks[n], t.accounts[account]} {
		if f != nil && f.count > 0 {
			f.count--
			f.until = time.Time{}
		}
	}
}

// entry finds what is remembered of a key, or makes room for it.
func entry[K comparable](m map[K]*failures, key K, now time.Time) *failures {
	f, ok := m[key]
	if ok && now.Sub(f.last) < forgetAfter {
		return f
	}
	if len(m) >= maxThrottled {
		makeRoom(m, now)
	}
	f = &failures{last: now}
	m[key] = f
	return f
}

// makeRoom drops what is old or, if all is young, something: a flood from
// everywhere must not fill the memory.
func makeRoom[K comparable](m map[K]*failures, now time.Time) {
	for key, f := range m {
		if now.Sub(f.last) >= forgetAfter {
			delete(m, key)
		}
	}
	for key := range m {
		if len(m) < maxThrottled {
			return
		}
		delete(m, key)
	}
}

func (f *failures) fail(now time.Time, longest time.Duration) {
	f.count++
	f.last = now
	if over := f.count - freeFailures; over >= 0 {
		f.until = now.Add(min(longest, time.Second<<min(over, 20)))
	}
}

// networkLookups counts one network's look-ups that found nothing.
type networkLookups struct {
	throttle *throttle
	network  network
}

func (d *Dashboard) lookups(r *http.Request) lookups {
	return networkLookups{d.throttle, d.o.TrustedProxies.network(r)}
}

// mayLookUp implements lookups.
func (l networkLookups) mayLookUp() bool {
	l.throttle.mu.Lock()
	defer l.throttle.mu.Unlock()
	f, ok := l.throttle.unknown[l.network]
	return !ok || f.count < unknownPerMinute || time.Since(f.last) >= time.Minute
}

// foundNothing implements lookups.
func (l networkLookups) foundNothing() {
	l.throttle.mu.Lock()
	defer l.throttle.mu.Unlock()
	now := time.Now()
	f := entry(l.throttle.unknown, l.network, now)
	if now.Sub(f.last) >= time.Minute { // last is the start of the minute that is counted
		*f = failures{last: now}
	}
	f.count++
}
