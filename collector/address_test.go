package collector

import (
	"bufio"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

func headerOf(t testing.TB, lines ...string) *fasthttp.RequestHeader {
	t.Helper()
	raw := "GET / HTTP/1.1\r\nHost: h\r\n"
	for _, l := range lines {
		raw += l + "\r\n"
	}
	var h fasthttp.RequestHeader
	if err := h.Read(bufio.NewReaderSize(strings.NewReader(raw+"\r\n"), len(raw)+64)); err != nil {
		t.Fatal(err)
	}
	return &h
}

func prefixes(s ...string) (p []netip.Prefix) {
	for _, x := range s {
		p = append(p, netip.MustParsePrefix(x))
	}
	return p
}

func TestClient(t *testing.T) {
	const proxy, stranger, none = "10.0.0.1", "198.51.100.9", "invalid IP"
	trusted := newTrusted(prefixes("10.0.0.0/8", "2001:db8:feed::/48"))
	many := strings.Repeat("203.0.113.5, ", 10_000)
	for name, c := range map[string]struct {
		peer  string
		lines []string
		want  string
	}{
		"no proxy":                           {stranger, nil, stranger},
		"stranger's X-Forwarded-For":         {stranger, []string{"X-Forwarded-For: 203.0.113.5"}, stranger},
		"stranger's Forwarded":               {stranger, []string{"Forwarded: for=203.0.113.5"}, stranger},
		"stranger's CF-Connecting-IP":        {stranger, []string{"CF-Connecting-IP: 203.0.113.5"}, stranger},
		"stranger's X-Real-IP":               {stranger, []string{"X-Real-IP: 203.0.113.5"}, stranger},
		"stranger's True-Client-IP":          {stranger, []string{"True-Client-IP: 203.0.113.5"}, stranger},
		"proxy without a word":               {proxy, nil, proxy},
		"proxy, X-Real-IP is not read":       {proxy, []string{"X-Real-IP: 203.0.113.5"}, proxy},
		"one hop":                            {proxy, []string{"X-Forwarded-For: 203.0.113.5"}, "203.0.113.5"},
		"made up hop on the left":            {proxy, []string{"X-Forwarded-For: 1.1.1.1, 203.0.113.5"}, "203.0.113.5"},
		"trusted hops on the right":          {proxy, []string{"X-Forwarded-For: 1.1.1.1, 203.0.113.5, 10.9.9.9,10.8.8.8"}, "203.0.113.5"},
		"made up hop in a line of its own":   {proxy, []string{"X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 203.0.113.5"}, "203.0.113.5"},
		"all lines count":                    {proxy, []string{"X-Forwarded-For: 203.0.113.5", "X-Forwarded-For: 10.1.1.1"}, "203.0.113.5"},
		"all hops trusted":                   {proxy, []string{"X-Forwarded-For: 10.3.3.3, 10.2.2.2"}, "10.3.3.3"},
		"empty hops":                         {proxy, []string{"X-Forwarded-For: 203.0.113.5, , ,"}, "203.0.113.5"},
		"empty header":                       {proxy, []string{"X-Forwarded-For:"}, proxy},
		"empty header, then another":         {proxy, []string{"X-Forwarded-For: ,", "CF-Connecting-IP: 203.0.113.5"}, "203.0.113.5"},
		"port":                               {proxy, []string{"X-Forwarded-For: 203.0.113.5:4711"}, "203.0.113.5"},
		"IPv6":                               {proxy, []string{"X-Forwarded-For: 2001:db8::1"}, "2001:db8::1"},
		"IPv6 in brackets":                   {proxy, []string{"X-Forwarded-For: [2001:db8::1]"}, "2001:db8::1"},
		"IPv6 with port":                     {proxy, []string{"X-Forwarded-For: [2001:db8::1]:80"}, "2001:db8::1"},
		"IPv6 zone":                          {proxy, []string{"X-Forwarded-For: fe80::1%eth0"}, "fe80::1"},
		"IPv6 zone in brackets":              {proxy, []string{"X-Forwarded-For: [fe80::1%25eth0]:80"}, "fe80::1"},
		"IPv4 in IPv6":                       {proxy, []string{"X-Forwarded-For: ::ffff:203.0.113.5"}, "203.0.113.5"},
		"trusted IPv4 in IPv6":               {proxy, []string{"X-Forwarded-For: 203.0.113.5, ::ffff:10.0.0.7"}, "203.0.113.5"},
		"trusted IPv6":                       {proxy, []string{"X-Forwarded-For: 203.0.113.5, 2001:db8:feed::7"}, "203.0.113.5"},
		"unreadable on the right":            {proxy, []string{"X-Forwarded-For: 203.0.113.5, nonsense"}, none},
		"unreadable behind trusted":          {proxy, []string{"X-Forwarded-For: nonsense, 10.1.1.1"}, none},
		"unreadable, not reached":            {proxy, []string{"X-Forwarded-For: nonsense, 203.0.113.5"}, "203.0.113.5"},
		"unknown":                            {proxy, []string{"X-Forwarded-For: unknown"}, none},
		"too many dots":                      {proxy, []string{"X-Forwarded-For: 203.0.113.5.6"}, none},
		"leading zero":                       {proxy, []string{"X-Forwarded-For: 203.0.113.05"}, none},
		"port of a name":                     {proxy, []string{"X-Forwarded-For: 203.0.113.5:http"}, none},
		"bracket without end":                {proxy, []string{"X-Forwarded-For: [::1"}, none},
		"rubbish after bracket":              {proxy, []string{"X-Forwarded-For: [2001:db8::1]x"}, none},
		"nobody's address":                   {proxy, []string{"X-Forwarded-For: 0.0.0.0"}, none},
		"nobody's IPv6 address":              {proxy, []string{"X-Forwarded-For: ::"}, none},
		"everybody's address":                {proxy, []string{"X-Forwarded-For: 224.0.0.1"}, none},
		"very long":                          {proxy, []string{"X-Forwarded-For: " + strings.Repeat("1", 9000)}, none},
		"10,000 hops":                        {proxy, []string{"X-Forwarded-For: " + many + "203.0.113.6"}, "203.0.113.6"},
		"10,000 trusted hops":                {proxy, []string{"X-Forwarded-For: 203.0.113.6" + strings.Repeat(",10.0.0.9", 10_000)}, "203.0.113.6"},
		"10,000 commas":                      {proxy, []string{"X-Forwarded-For: 203.0.113.6" + strings.Repeat(",", 10_000)}, "203.0.113.6"},
		"Forwarded":                          {proxy, []string{"Forwarded: for=203.0.113.5"}, "203.0.113.5"},
		"Forwarded, quoted, port":            {proxy, []string{`Forwarded: For="[2001:db8::1]:80";proto=https;by=10.0.0.1`}, "2001:db8::1"},
		"Forwarded, loopback":                {proxy, []string{`Forwarded: for="[::1]:80"`}, "::1"},
		"Forwarded, later pair":              {proxy, []string{`Forwarded: proto=http; FOR = 203.0.113.5`}, "203.0.113.5"},
		"Forwarded, made up on the left":     {proxy, []string{`Forwarded: for=1.1.1.1, for=203.0.113.5, for=10.0.0.3`}, "203.0.113.5"},
		"Forwarded, open quote on the left":  {proxy, []string{`Forwarded: for="1.1.1.1, for=203.0.113.5`}, "203.0.113.5"},
		"Forwarded, hidden":                  {proxy, []string{`Forwarded: for=_hidden`}, none},
		"Forwarded, unknown":                 {proxy, []string{`Forwarded: for=unknown`}, none},
		"Forwarded, nobody":                  {proxy, []string{`Forwarded: proto=https`}, none},
		"Forwarded, lone quote":              {proxy, []string{`Forwarded: for="`}, none},
		"X-Forwarded-For before Forwarded":   {proxy, []string{"Forwarded: for=1.1.1.1", "X-Forwarded-For: 203.0.113.5"}, "203.0.113.5"},
		"X-Forwarded-For before Cloudflare":  {proxy, []string{"CF-Connecting-IP: 1.1.1.1", "X-Forwarded-For: 203.0.113.5"}, "203.0.113.5"},
		"Cloudflare":                         {proxy, []string{"CF-Connecting-IP: 203.0.113.5"}, "203.0.113.5"},
		"Cloudflare, unreadable":             {proxy, []string{"CF-Connecting-IP: x"}, none},
		"proxy's address as IPv4 in IPv6":    {"::ffff:10.0.0.1", []string{"X-Forwarded-For: 203.0.113.5"}, "203.0.113.5"},
		"stranger's address as IPv4 in IPv6": {"::ffff:198.51.100.9", []string{"X-Forwarded-For: 203.0.113.5"}, stranger},
		"peer with a zone":                   {"fe80::1%eth0", nil, "fe80::1"},
	} {
		t.Run(name, func(t *testing.T) {
			peer := trusted.peerOf(net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.peer), 4711)))
			if got := trusted.client(headerOf(t, c.lines...), peer); got.String() != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestPeersWithoutAddress(t *testing.T) {
	var nobody trusted
	unix := nobody.peerOf(&net.UnixAddr{Name: "@", Net: "unix"})
	if got := nobody.client(headerOf(t, "X-Forwarded-For: 203.0.113.5"), unix); got.String() != "203.0.113.5" {
		t.Errorf("behind a Unix socket: %v", got)
	}
	if got := nobody.client(headerOf(t), unix); got.IsValid() {
		t.Errorf("a Unix socket has the address %v", got)
	}
	other := nobody.peerOf(&net.IPAddr{IP: net.IPv4(10, 0, 0, 1)})
	if got := nobody.client(headerOf(t, "X-Forwarded-For: 203.0.113.5"), other); got.IsValid() {
		t.Errorf("a peer that is neither has the address %v", got)
	}
}

func TestTrustedPrefixes(t *testing.T) {
	trusted := newTrusted([]netip.Prefix{{}, netip.MustParsePrefix("192.0.2.77/24"), netip.MustParsePrefix("::ffff:198.51.100.0/120"), netip.MustParsePrefix("::1/128")})
	for addr, want := range map[string]bool{"192.0.2.1": true, "192.0.3.1": false, "198.51.100.200": true, "198.51.101.1": false, "::1": true, "::2": false} {
		if got := trusted.has(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

// Through the whole door: what strangers say about themselves changes nothing.
func TestForwardedAddressIsMasked(t *testing.T) {
	spoof := []string{"X-Forwarded-For: 203.0.113.5", "Forwarded: for=203.0.113.6", "CF-Connecting-IP: 203.0.113.7", "X-Real-IP: 203.0.113.8", "True-Client-IP: 203.0.113.9"}
	d := open(t, nil)
	d.send(t, "POST", "/api/event", pageview, spoof...)
	if got := d.masker.addrs[0].String(); got != "127.0.0.1" {
		t.Errorf("a stranger is taken for %s", got)
	}
	if log := d.log.String(); !strings.Contains(log, "--trusted-proxies") || strings.Contains(log, "203.0.113") || strings.Contains(log, "127.0.0") {
		t.Errorf("log %q", log)
	}

	d = open(t, func(o *Options) { o.TrustedProxies = prefixes("127.0.0.0/8") })
	d.send(t, "POST", "/api/event", pageview, spoof...)
	if got := d.masker.addrs[0].String(); got != "203.0.113.5" {
		t.Errorf("behind a proxy, masked %s", got)
	}
	r := d.send(t, "POST", "/api/event", pageview, "X-Forwarded-For: nonsense")
	if r.StatusCode != 202 || r.Header.Get("X-Halfmask-Dropped") != "no_address" || len(d.masker.addrs) != 1 || len(d.recorder.all()) != 1 {
		t.Errorf("unreadable address: %v, masked %v", r, d.masker.addrs)
	}
	if d.log.String() != "" {
		t.Errorf("log %q", d.log.String())
	}
}

// However a stranger spells where it says it comes from, one thing counts: the
// connection.
func TestSpellingsOfASpoof(t *testing.T) {
	values := []string{
		"203.0.113.5", "203.0.113.5:80", "[2001:db8::5]:80", "2001:db8::5", "2001:db8::5%eth0", "::ffff:203.0.113.5", "203.0.113.5, 127.0.0.1", "127.0.0.1, 203.0.113.5",
		"for=203.0.113.5", `for="[2001:db8::5]:80";proto=https`, "unknown", "", ",,,", strings.Repeat("203.0.113.5, ", 1000) + "203.0.113.5",
	}
	for _, name := range []string{
		"X-Forwarded-For", "x-forwarded-for", "X-FORWARDED-FOR", "X_Forwarded_For", "X-Forwarded_For", "XForwardedFor", "X-Forwarded", "Forwarded-For", "Forwarded",
		"X-Real-IP", "X-Client-IP", "Client-IP", "True-Client-IP", "CF-Connecting-IP", "CF-Connecting-IPv6", "CF-Pseudo-IPv4", "Fastly-Client-IP", "Fly-Client-IP",
		"X-Cluster-Client-IP", "X-Original-Forwarded-For", "X-ProxyUser-IP", "X-Appengine-User-IP", "Remote-Addr", "REMOTE_ADDR", "Via", "From",
	} {
		for _, value := range values {
			header := headerOf(t, name+": "+value)
			stranger := peer{addr: netip.MustParseAddr("192.0.2.99")}
			if got := newTrusted(prefixes("10.0.0.0/8")).client(header, stranger); got != stranger.addr {
				t.Errorf("%s: %.40q makes a stranger %v", name, value, got)
			}
		}
	}
	// And to a proxy's word only three of them are listened to, in their one spelling.
	proxy := peer{addr: netip.MustParseAddr("10.0.0.1"), trusted: true}
	for _, name := range []string{"X_Forwarded_For", "X-Forwarded_For", "X-Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP", "Forwarded-For", "REMOTE_ADDR"} {
		if got := newTrusted(prefixes("10.0.0.0/8")).client(headerOf(t, name+": 203.0.113.5"), proxy); got != proxy.addr {
			t.Errorf("%s: a proxy's client is %v", name, got)
		}
	}
}

func TestClientAllocatesNothing(t *testing.T) {
	trusted := newTrusted(prefixes("10.0.0.0/8"))
	p := peer{addr: netip.MustParseAddr("10.0.0.1"), trusted: true}
	h := headerOf(t, "X-Forwarded-For: 1.1.1.1, 2001:db8::1, 10.0.0.7")
	if n := testing.AllocsPerRun(100, func() { trusted.client(h, p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzClient looks for a crash, and for an address that nobody wrote: only
// what stands in a header may come out.
func FuzzClient(f *testing.F) {
	f.Add("1.1.1.1, [::1]:80", `for="[::1]:80";by=x`, "203.0.113.5")
	f.Add(", ,fe80::1%a,", `for=,;=";"`, "")
	f.Add("::ffff:10.0.0.1:", `FOR="_x"`, "[")
	trusted := newTrusted(prefixes("10.0.0.0/8"))
	f.Fuzz(func(t *testing.T, xff, forwarded, cloudflare string) {
		var h fasthttp.RequestHeader
		h.Set("X-Forwarded-For", xff)
		h.Set("Forwarded", forwarded)
		h.Set("Cf-Connecting-Ip", cloudflare)
		p := peer{addr: netip.MustParseAddr("10.0.0.1"), trusted: true}
		a := trusted.client(&h, p)
		if a.Is4In6() || a.Zone() != "" || a.IsValid() && (a.IsUnspecified() || a.IsMulticast()) {
			t.Errorf("%v", a)
		}
		p.trusted = false
		if a := trusted.client(&h, p); a != p.addr {
			t.Errorf("a stranger is taken for %v", a)
		}
	})
}

func BenchmarkClient(b *testing.B) {
	trusted := newTrusted(prefixes("10.0.0.0/8"))
	p := peer{addr: netip.MustParseAddr("10.0.0.1"), trusted: true}
	h := headerOf(b, "User-Agent: x", "Accept: */*", "Origin: https://example.com", "X-Forwarded-For: 203.0.113.5, 10.0.0.7")
	b.ReportAllocs()
	for b.Loop() {
		trusted.client(h, p)
	}
}
