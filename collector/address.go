package collector

import (
	"bytes"
	"net"
	"net/netip"
	"unsafe"

	"github.com/valyala/fasthttp"
)

// peer is the other end of a connection.
type peer struct {
	addr    netip.Addr // unmapped, without zone; invalid if the peer has none
	trusted bool       // its forwarding headers are believed
}

// peerOf looks at a connection once, when it comes in.
func (t trusted) peerOf(a net.Addr) peer {
	switch a := a.(type) {
	case *net.TCPAddr:
		addr := a.AddrPort().Addr().Unmap().WithZone("")
		return peer{addr: addr, trusted: t.has(addr)}
	case *net.UnixAddr:
		return peer{trusted: true}
	}
	return peer{}
}

// trusted are the networks of the proxies whose word counts.
type trusted []netip.Prefix

func newTrusted(prefixes []netip.Prefix) trusted {
	t := make(trusted, 0, len(prefixes))
	for _, p := range prefixes {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p.IsValid() {
			t = append(t, p.Masked())
		}
	}
	return t
}

func (t trusted) has(a netip.Addr) bool {
	for _, p := range t {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

var (
	forwardedForKey = []byte(fasthttp.HeaderXForwardedFor)
	cloudflareKey   = []byte("Cf-Connecting-Ip")
)

// client returns where a request came from: the peer, unless that is a trusted
// proxy. Then it is the right-most hop that is not a trusted proxy itself, of
// X-Forwarded-For, else of Forwarded, else CF-Connecting-IP, else the peer:
// what is further left was written by the client and proves nothing.
// X-Forwarded-For comes first because nearly every proxy appends to it, while
// a proxy that does not know the others passes on what the client made up. If
// all hops are trusted, it is the left-most.
//
// A hop that cannot be read makes the whole unreadable, and the result is
// invalid: guessing would put many visitors under one address, or let one
// choose its own.
func (t trusted) client(h *fasthttp.RequestHeader, p peer) netip.Addr {
	if !p.trusted {
		return p.addr
	}
	walk := walk{trusted: t, last: p.addr}
	if walk.lines(h.PeekAll(fasthttp.HeaderXForwardedFor), parseAddr) {
		return walk.last
	}
	if walk.lines(h.PeekAll(fasthttp.HeaderForwarded), parseForwarded) {
		return walk.last
	}
	if v := bytes.TrimSpace(h.PeekCanonical(cloudflareKey)); len(v) > 0 {
		return parseAddr(v)
	}
	return p.addr
}

// walk goes through hops from right to left.
type walk struct {
	trusted trusted
	last    netip.Addr
}

// lines reads a list header that may come in several lines, and reports
// whether it had any hop. Empty hops are none (RFC 9110, section 5.6.1).
func (w *walk) lines(lines [][]byte, parse func([]byte) netip.Addr) (found bool) {
	for i := len(lines) - 1; i >= 0; i-- {
		for line := lines[i]; len(line) > 0; {
			comma := bytes.LastIndexByte(line, ',')
			hop := bytes.TrimSpace(line[comma+1:])
			line = line[:max(comma, 0)]
			if len(hop) == 0 {
				continue
			}
			found = true
			if w.last = parse(hop); !w.last.IsValid() || !w.trusted.has(w.last) {
				return true
			}
		}
	}
	return found
}

// parseForwarded reads one element of RFC 7239's header:
// for="[2001:db8::1]:4711";proto=https.
func parseForwarded(element []byte) netip.Addr {
	for len(element) > 0 {
		var pair []byte
		pair, element, _ = bytes.Cut(element, []byte{';'})
		key, value, _ := bytes.Cut(pair, []byte{'='})
		if bytes.EqualFold(bytes.TrimSpace(key), []byte("for")) {
			value = bytes.TrimSpace(value)
			if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
				value = value[1 : n-1]
			}
			return parseAddr(value)
		}
	}
	return netip.Addr{}
}

// parseAddr reads an address as proxies write it: bare, with a port, or in
// brackets with or without one. Ports and zones are cut, IPv4 in IPv6 is
// unmapped. The result is invalid for everything else, and for addresses that
// cannot be anybody's.
func parseAddr(s []byte) netip.Addr {
	if len(s) > 0 && s[0] == '[' {
		end := bytes.IndexByte(s, ']')
		if end < 0 || !isPort(s[end+1:]) {
			return netip.Addr{}
		}
		s = s[1:end]
	} else if colon := bytes.IndexByte(s, ':'); colon >= 0 && colon == bytes.LastIndexByte(s, ':') {
		if !isPort(s[colon:]) {
			return netip.Addr{}
		}
		s = s[:colon]
	}
	// A zone is cut before parsing, because netip would keep it for ever.
	if zone := bytes.IndexByte(s, '%'); zone >= 0 {
		s = s[:zone]
	}
	// Longer than any address: not worth an error value that repeats it.
	if len(s) > 45 {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(s), len(s)))
	if err != nil {
		return netip.Addr{}
	}
	if a = a.Unmap(); a.IsUnspecified() || a.IsMulticast() {
		return netip.Addr{}
	}
	return a
}

// isPort accepts "" and ":" with up to five digits.
func isPort(s []byte) bool {
	if len(s) == 0 {
		return true
	}
	if s[0] != ':' || len(s) > 6 {
		return false
	}
	for _, c := range s[1:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
