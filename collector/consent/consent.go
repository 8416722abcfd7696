// Package consent is the first thing inside the door: it decides from a
// request's headers alone whether the visitor may be counted. It promises to
// honour an opt-out cookie, Global Privacy Control and Do Not Track, and to
// cost no allocation. It never knows a body, a URL or an address: they are not
// among its arguments.
package consent

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// Cookie and CookieValue are the opt-out: a constant, so that the cookie of a
// visitor who wishes not to be counted cannot tell that visitor from another.
const (
	Cookie      = "halfmask_optout"
	CookieValue = "1"
)

// Signal is the reason why a visitor is not counted. Its String is a metric
// label: a closed set.
type Signal uint8

// The signals, in the order in which they are looked for.
const (
	None         Signal = iota // nothing says no: count
	OptOutCookie               // the visitor used the opt-out on this very server
	GPC                        // Sec-GPC: 1, https://www.w3.org/TR/gpc/
	DNT                        // DNT: 1, deprecated but still sent
	signals
)

var signalNames = [signals]string{None: "none", OptOutCookie: "optout_cookie", GPC: "gpc", DNT: "dnt"}

// String returns the signal's name.
func (s Signal) String() string {
	if s < signals {
		return signalNames[s]
	}
	return "unknown"
}

// Signals lists the signals that suppress, for metrics that must exist before
// they move.
func Signals() []Signal { return []Signal{OptOutCookie, GPC, DNT} }

// Decide returns the first signal that h carries, or None. A header that is
// sent more than once counts if any of its values says no: in doubt the
// visitor wins. It is safe for concurrent use on different headers.
func Decide(h *fasthttp.RequestHeader) Signal {
	// Most requests carry none of the three, and looking for one value is
	// cheaper than collecting all of them.
	if h.PeekCanonical(cookieKey) != nil {
		for _, line := range h.PeekAll(fasthttp.HeaderCookie) {
			if optedOut(line) {
				return OptOutCookie
			}
		}
	}
	if h.PeekCanonical(gpcKey) != nil && saysOne(h.PeekAll("Sec-Gpc")) {
		return GPC
	}
	if h.PeekCanonical(dntKey) != nil && saysOne(h.PeekAll("Dnt")) {
		return DNT
	}
	return None
}

// The names as the server normalises them while it reads a request.
var (
	cookieKey = []byte(fasthttp.HeaderCookie)
	gpcKey    = []byte("Sec-Gpc")
	dntKey    = []byte("Dnt")
)

func saysOne(values [][]byte) bool {
	for _, v := range values {
		if string(bytes.TrimSpace(v)) == "1" {
			return true
		}
	}
	return false
}

// optedOut reports whether one of the cookies in a Cookie header is the
// opt-out. All of them are read, because a plain and a partitioned cookie of
// the same name may both be there.
func optedOut(line []byte) bool {
	for len(line) > 0 {
		pair := line
		if i := bytes.IndexByte(line, ';'); i >= 0 {
			pair, line = line[:i], line[i+1:]
		} else {
			line = nil
		}
		name, value, found := bytes.Cut(pair, []byte{'='})
		if found && string(bytes.TrimSpace(name)) == Cookie && string(bytes.TrimSpace(value)) == CookieValue {
			return true
		}
	}
	return false
}
