package collector

import (
	"github.com/valyala/fasthttp"

	"github.com/halfmask/halfmask/collector/beacon"
	"github.com/halfmask/halfmask/event"
)

// Header names and values in the form that the server does not have to
// normalise.
var (
	allowKey         = []byte("Allow")
	originKey        = []byte("Origin")
	varyKey          = []byte("Vary")
	cacheControlKey  = []byte("Cache-Control")
	retryAfterKey    = []byte("Retry-After")
	etagKey          = []byte("Etag")
	nosniffKey       = []byte("X-Content-Type-Options")
	corpKey          = []byte("Cross-Origin-Resource-Policy")
	allowOriginKey   = []byte("Access-Control-Allow-Origin")
	credentialsKey   = []byte("Access-Control-Allow-Credentials")
	exposeKey        = []byte("Access-Control-Expose-Headers")
	allowMethodsKey  = []byte("Access-Control-Allow-Methods")
	allowHeadersKey  = []byte("Access-Control-Allow-Headers")
	maxAgeKey        = []byte("Access-Control-Max-Age")
	wantedHeadersKey = []byte("Access-Control-Request-Headers")
	droppedKey       = []byte("X-Halfmask-Dropped")
	errorKey         = []byte("X-Halfmask-Error")

	yes         = []byte("true")
	anyOrigin   = []byte("*")
	nosniff     = []byte("nosniff")
	noStore     = []byte("no-store")
	crossOrigin = []byte("cross-origin")
	oneDay      = []byte("86400")
	soon        = []byte("5")
	inASecond   = []byte("1")
	vary        = []byte("Origin")
	varyHeaders = []byte("Origin, Access-Control-Request-Headers")
	newline     = []byte{'\n'}
	identity    = []byte("identity")

	plainText = []byte("text/plain; charset=utf-8")
	jsonType  = []byte("application/json")
	gifType   = []byte("image/gif")
	okBody    = []byte("ok")
)

// pixel is a transparent GIF of 1x1, the shortest that browsers take.
var pixel = []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")

// cors lets the page that sent the request read the answer. The origin is
// echoed and credentials are allowed, because scripts that send them take an
// answer with a bare * for a failure and send the same hit once more.
func cors(ctx *fasthttp.RequestCtx) {
	origin := ctx.Request.Header.PeekCanonical(originKey)
	if len(origin) == 0 {
		return
	}
	h := &ctx.Response.Header
	h.SetCanonical(allowOriginKey, origin)
	h.SetCanonical(credentialsKey, yes)
	h.SetCanonical(varyKey, vary)
}

// tell sets a header of ours and lets the page that asked read it.
func tell(ctx *fasthttp.RequestCtx, key, value []byte) {
	ctx.Response.Header.SetCanonical(key, value)
	if len(ctx.Request.Header.PeekCanonical(originKey)) > 0 {
		ctx.Response.Header.SetCanonical(exposeKey, key)
	}
}

// preflight answers OPTIONS of any path, so that a page learns what is wrong
// from the request itself and not from a preflight that failed.
func preflight(ctx *fasthttp.RequestCtx, allow string) {
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	h := &ctx.Response.Header
	if allow == "" {
		allow = "OPTIONS"
	}
	h.SetCanonical(allowKey, []byte(allow))
	if len(ctx.Request.Header.PeekCanonical(originKey)) == 0 {
		return
	}
	cors(ctx)
	h.SetCanonical(varyKey, varyHeaders)
	h.SetCanonical(allowMethodsKey, []byte("GET, POST, OPTIONS"))
	if wanted := ctx.Request.Header.PeekCanonical(wantedHeadersKey); len(wanted) > 0 {
		h.SetCanonical(allowHeadersKey, wanted)
	}
	h.SetCanonical(maxAgeKey, oneDay)
}

// drop is a reason to drop an event: an event.Outcome, or one of the door's
// own, which follow them.
type drop uint8

var (
	dropNoAddress   = drop(len(event.Outcomes()))
	dropUnknownSite = dropNoAddress + 1
)

// String returns the reason as the header tells it.
func (d drop) String() string {
	switch d {
	case dropNoAddress:
		return noAddress
	case dropUnknownSite:
		return rejectionNames[unknownSite]
	}
	return event.Outcome(d).String()
}

// drops is a set of reasons.
type drops uint32

func (d *drops) add(reason drop) { *d |= 1 << reason }

// appendTo lists the reasons.
func (d drops) appendTo(dst []byte) []byte {
	for reason := range dropUnknownSite + 1 {
		if d&(1<<reason) != 0 {
			if len(dst) > 0 {
				dst = append(dst, ", "...)
			}
			dst = append(dst, reason.String()...)
		}
	}
	return dst
}

// answer tells what became of a beacon. Whoever named a site that does not
// exist, and no other, is told so, because that is a mistake in a snippet;
// whoever could not be served may try again. All else is as if accepted, with
// a hint for those who look.
func answer(ctx *fasthttp.RequestCtx, at endpoint, r result) {
	switch {
	case r.refused:
		unavailable(ctx, at)
		return
	case r.unknown && !r.known:
		reject(ctx, at, beacon.UnknownSite())
		return
	case r.drops != 0:
		var list [128]byte
		tell(ctx, droppedKey, r.drops.appendTo(list[:0]))
	}
	accept(ctx, at)
}

// accept is the answer to everything that is well.
func accept(ctx *fasthttp.RequestCtx, at endpoint) {
	if at == pixelEndpoint {
		gif(ctx, fasthttp.StatusOK)
		return
	}
	ctx.SetStatusCode(fasthttp.StatusAccepted)
	ctx.Response.Header.SetContentTypeBytes(plainText)
	ctx.Response.SetBodyRaw(okBody)
}

// reject tells a site owner what is wrong with a beacon.
func reject(ctx *fasthttp.RequestCtx, at endpoint, f beacon.Faults) {
	if at == pixelEndpoint {
		tell(ctx, errorKey, f.AppendText(nil))
		gif(ctx, fasthttp.StatusBadRequest)
		return
	}
	failure(ctx, fasthttp.StatusBadRequest, f.AppendJSON(nil))
}

// unavailable asks to try again.
func unavailable(ctx *fasthttp.RequestCtx, at endpoint) {
	ctx.Response.Header.SetCanonical(retryAfterKey, soon)
	if at == pixelEndpoint {
		gif(ctx, fasthttp.StatusServiceUnavailable)
		return
	}
	failure(ctx, fasthttp.StatusServiceUnavailable, []byte(`{"errors":{"request":["cannot be stored right now, try again"]}}`))
}

// slowDown asks a network that sends too much to send less.
func slowDown(ctx *fasthttp.RequestCtx, at endpoint) {
	ctx.Response.Header.SetCanonical(retryAfterKey, inASecond)
	if at == pixelEndpoint {
		gif(ctx, fasthttp.StatusTooManyRequests)
		return
	}
	failure(ctx, fasthttp.StatusTooManyRequests, []byte(`{"errors":{"request":["is one too many from its network, try again in a second"]}}`))
}

// refuseRequest answers a request that is not acceptable whatever it says.
func refuseRequest(ctx *fasthttp.RequestCtx, why rejection) {
	switch why {
	case bodyTooLarge:
		failure(ctx, fasthttp.StatusRequestEntityTooLarge, []byte(`{"errors":{"request":["is too large"]}}`))
	case headersTooMany:
		failure(ctx, fasthttp.StatusRequestHeaderFieldsTooLarge, []byte(`{"errors":{"request":["has too many headers"]}}`))
	case encodedBody:
		failure(ctx, fasthttp.StatusUnsupportedMediaType, []byte(`{"errors":{"request":["must not be compressed"]}}`))
	default:
		failure(ctx, fasthttp.StatusBadRequest, []byte(`{"errors":{"request":["is ambiguous about its headers or its length"]}}`))
	}
	// What else is on the connection may not mean what it seems to.
	ctx.SetConnectionClose()
}

// failure answers with a JSON body.
func failure(ctx *fasthttp.RequestCtx, status int, body []byte) {
	ctx.SetStatusCode(status)
	ctx.Response.Header.SetContentTypeBytes(jsonType)
	ctx.Response.Header.SetCanonical(nosniffKey, nosniff)
	ctx.Response.SetBodyRaw(body)
}

// text answers with a line for people.
func text(ctx *fasthttp.RequestCtx, status int, line string) {
	ctx.SetStatusCode(status)
	ctx.Response.Header.SetContentTypeBytes(plainText)
	ctx.Response.Header.SetCanonical(nosniffKey, nosniff)
	ctx.Response.SetBodyString(line)
}

// gif answers with the pixel, which pages that isolate themselves (COEP) may
// show too.
func gif(ctx *fasthttp.RequestCtx, status int) {
	ctx.SetStatusCode(status)
	ctx.Response.Header.SetContentTypeBytes(gifType)
	ctx.Response.Header.SetCanonical(corpKey, crossOrigin)
	ctx.Response.SetBodyRaw(pixel)
}
