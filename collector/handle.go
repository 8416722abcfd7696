package collector

import (
	"bytes"
	"net/netip"
	"unsafe"

	"github.com/valyala/fasthttp"

	"github.com/halfmask/halfmask/collector/beacon"
	"github.com/halfmask/halfmask/collector/consent"
	"github.com/halfmask/halfmask/event"
)

// The paths that the door itself answers.
const (
	eventPath = "/api/event"
	pixelPath = "/pixel.gif"
	rootPath  = "/"
)

// maxUserAgent bounds what is hashed and looked up, in bytes. The longest that
// in-app browsers send is about half of it.
const maxUserAgent = 1024

// call is the memory of one beacon's way through the door.
type call struct {
	beacon beacon.Beacon
	hit    event.Hit
}

// forget empties the call before it waits for the next beacon.
func (l *call) forget() {
	l.beacon.Reset()
	l.hit = event.Hit{}
}

// handle answers one request.
func (c *Collector) handle(ctx *fasthttp.RequestCtx) {
	t := tally{m: c.metrics}
	defer c.rescue(ctx, &t)

	path := ctx.Path()
	allow := c.allowed(path)
	if ctx.IsOptions() {
		preflight(ctx, allow)
		return
	}
	switch string(path) {
	case eventPath:
		if ctx.IsPost() {
			t.expect(eventEndpoint, 1)
		}
	case pixelPath:
		if ctx.IsGet() {
			t.expect(pixelEndpoint, 1)
		}
	}
	if why, bad := c.improper(ctx); bad {
		t.settleAll(c.metrics.rejected[why])
		cors(ctx)
		refuseRequest(ctx, why)
		return
	}
	switch {
	case t.pending > 0:
		c.take(ctx, &t)
	case allow == "":
		c.metrics.notFound.Inc()
		text(ctx, fasthttp.StatusNotFound, "There is nothing here. Beacons go to POST /api/event.\n")
	case !ctx.IsGet() && !ctx.IsHead() || allow == allowPost:
		c.metrics.badMethod.Inc()
		ctx.Response.Header.SetCanonical(allowKey, []byte(allow))
		text(ctx, fasthttp.StatusMethodNotAllowed, "This path answers to: "+allow+"\n")
	default:
		c.show(ctx, path)
	}
}

// show answers GET and HEAD of everything that is no event.
func (c *Collector) show(ctx *fasthttp.RequestCtx, path []byte) {
	switch a, found := c.assets[string(path)]; {
	case found:
		a.serve(ctx)
	case string(path) == pixelPath: // HEAD: somebody checks a link, nobody looks at a page
		ctx.Response.Header.SetCanonical(cacheControlKey, noStore)
		gif(ctx, fasthttp.StatusOK)
	default:
		text(ctx, fasthttp.StatusOK, "This is a Halfmask collector: it counts page views and only ever keeps half of an address.\n")
	}
}

const (
	allowPost = "OPTIONS, POST"
	allowGet  = "GET, HEAD, OPTIONS"
)

// allowed returns the methods of a path, or "" if there is nothing.
func (c *Collector) allowed(path []byte) string {
	switch string(path) {
	case eventPath:
		return allowPost
	case pixelPath, rootPath:
		return allowGet
	}
	if _, found := c.assets[string(path)]; found {
		return allowGet
	}
	return ""
}

// improper finds requests that are well-formed but not acceptable, whatever
// they ask for.
func (c *Collector) improper(ctx *fasthttp.RequestCtx) (rejection, bool) {
	h := &ctx.Request.Header
	raw := h.RawHeaders()
	lines, folded := countLines(raw)
	if lines > c.limits.Headers {
		return headersTooMany, true
	}
	// A line that goes on in the next one is a header of its own to some proxies.
	if folded {
		return badFraming, true
	}
	// A length beside chunks is how requests are smuggled past a proxy. The
	// server takes the chunks and forgets the length, so it is looked up in
	// what came in; no browser sends chunks.
	if h.ContentLength() == -1 && hasHeader(raw, "content-length") {
		return badFraming, true
	}
	if e := h.ContentEncoding(); len(e) > 0 && !bytes.EqualFold(e, identity) {
		return encodedBody, true
	}
	return 0, false
}

// countLines counts line ends, and tells whether a line begins with a blank.
func countLines(raw []byte) (lines int, folded bool) {
	for {
		end := bytes.IndexByte(raw, '\n')
		if end < 0 {
			return lines, folded
		}
		lines++
		if raw = raw[end+1:]; len(raw) > 0 && (raw[0] == ' ' || raw[0] == '\t') {
			folded = true
		}
	}
}

// hasHeader looks for a header in raw lines; name is in lower case.
func hasHeader(raw []byte, name string) bool {
	for len(raw) > 0 {
		var line []byte
		line, raw, _ = bytes.Cut(raw, newline)
		key, _, found := bytes.Cut(line, []byte{':'})
		if found && bytes.EqualFold(bytes.TrimSpace(key), []byte(name)) {
			return true
		}
	}
	return false
}

// take is a beacon's way through the door.
func (c *Collector) take(ctx *fasthttp.RequestCtx, t *tally) {
	cors(ctx)
	if t.at == pixelEndpoint {
		ctx.Response.Header.SetCanonical(cacheControlKey, noStore)
	}
	h := &ctx.Request.Header
	if signal := consent.Decide(h); signal != consent.None {
		t.settleAll(c.metrics.suppressed[signal])
		accept(ctx, t.at)
		return
	}
	addr := c.clientOf(ctx)
	if !c.rate.admit(addr, ctx.Time()) {
		t.settleAll(c.metrics.rejected[rateLimited])
		c.hint(&c.hints.rate, "a network sends more events than --rate-limit allows; what is over is answered with 429", "limit", c.limits.EventsPerNetwork)
		slowDown(ctx, t.at)
		return
	}

	l := c.calls.Get().(*call)
	faults := l.parse(ctx, t.at)
	if !faults.OK() {
		t.settleAll(c.metrics.rejected[rejectionOf(faults)])
		reject(ctx, t.at, faults)
	} else {
		t.expect(t.at, len(l.beacon.Domains))
		c.rate.charge(addr, t.pending-1)
		l.beacon.Fill(&l.hit)
		l.hit.At = ctx.Time()
		l.hit.UserAgent = userAgent(h)
		answer(ctx, t.at, c.record(l, addr, t))
	}
	l.forget()
	c.calls.Put(l)
}

func (l *call) parse(ctx *fasthttp.RequestCtx, at endpoint) beacon.Faults {
	if at == pixelEndpoint {
		return l.beacon.ParsePixel(ctx.URI().QueryString(), ctx.Request.Header.Referer())
	}
	return l.beacon.ParseEvent(ctx.PostBody())
}

// userAgent borrows the header.
func userAgent(h *fasthttp.RequestHeader) event.UserAgent {
	ua := h.UserAgent()
	ua = ua[:min(len(ua), maxUserAgent)]
	return event.UserAgent(unsafe.String(unsafe.SliceData(ua), len(ua)))
}

// clientOf returns where a request came from.
func (c *Collector) clientOf(ctx *fasthttp.RequestCtx) netip.Addr {
	var p peer
	if g, ok := ctx.Conn().(*guest); ok {
		p = g.peer
	} else {
		p = c.trusted.peerOf(ctx.RemoteAddr())
	}
	if !p.trusted && (p.addr.IsPrivate() || p.addr.IsLoopback()) && ctx.Request.Header.PeekCanonical(forwardedForKey) != nil {
		c.hint(&c.hints.forwarded, "ignoring X-Forwarded-For from a peer in a private network, so that all its visitors look like one; "+
			"if it is your reverse proxy, name it in --trusted-proxies")
	}
	return c.trusted.client(&ctx.Request.Header, p)
}

// result is what became of a beacon's events.
type result struct {
	drops   drops
	refused bool
	unknown bool
	known   bool // there was at least one event for a site that exists
}

// record masks and records the hit once for each site that the beacon names.
func (c *Collector) record(l *call, addr netip.Addr, t *tally) (r result) {
	for _, domain := range l.beacon.Domains {
		site, found := c.sites.Site(domain)
		if !found {
			r.unknown = true
			r.drops.add(dropUnknownSite)
			t.settle(c.metrics.rejected[unknownSite])
			continue
		}
		r.known = true
		l.hit.Site = site
		l.hit.Day, l.hit.Network, l.hit.Visitor, l.hit.Previous, l.hit.Place = 0, event.Network{}, 0, 0, event.Place{}
		if !addr.IsValid() || !c.masker.Mask(&l.hit, addr) {
			r.drops.add(dropNoAddress)
			t.settle(c.metrics.noAddress)
			continue
		}
		switch outcome := c.recorder.Record(&l.hit); {
		case outcome.Dropped():
			r.drops.add(drop(outcome))
			t.settle(c.metrics.dropped[outcome])
		case outcome.Refused():
			r.refused = true
			t.settle(c.refusalOf(outcome))
		default:
			t.settle(c.metrics.accepted)
		}
	}
	return r
}

// refusalOf returns the counter of a refusal; one that is not known counts as
// a fault of ours rather than as nothing.
func (c *Collector) refusalOf(o event.Outcome) Counter {
	if int(o) < len(c.metrics.refused) {
		return c.metrics.refused[o]
	}
	return c.metrics.panicked
}

// rejectionOf returns the reason that stands for faults.
func rejectionOf(f beacon.Faults) rejection {
	switch f.Class() {
	case beacon.ClassMissing:
		return missingField
	case beacon.ClassInvalid:
		return invalidField
	}
	return badJSON
}
