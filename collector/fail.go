package collector

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"

	"github.com/valyala/fasthttp"
)

// fail answers a request that could not be read. The error is only looked at
// for its kind: its text may hold what was sent.
func (c *Collector) fail(ctx *fasthttp.RequestCtx, err error) {
	class := classOf(err)
	if class == classBodyTooLarge {
		c.countTooLarge(ctx)
		cors(ctx)
		refuseRequest(ctx, bodyTooLarge)
		return
	}
	c.metrics.connectionErrors[class].Inc()
	switch class {
	case classHeaderTooLarge:
		failure(ctx, fasthttp.StatusRequestHeaderFieldsTooLarge, []byte(`{"errors":{"request":["header is too large"]}}`))
	case classTimeout:
		failure(ctx, fasthttp.StatusRequestTimeout, []byte(`{"errors":{"request":["took too long"]}}`))
	case classTruncated:
		failure(ctx, fasthttp.StatusBadRequest, []byte(`{"errors":{"request":["ended too early"]}}`))
	default:
		failure(ctx, fasthttp.StatusBadRequest, []byte(`{"errors":{"request":["is not valid HTTP"]}}`))
	}
}

// classOf tells the kinds of errors apart.
func classOf(err error) class {
	var small *fasthttp.ErrSmallBuffer
	var timeout net.Error
	switch {
	case errors.As(err, &small):
		return classHeaderTooLarge
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return classBodyTooLarge
	case errors.As(err, &timeout) && timeout.Timeout():
		return classTimeout
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return classTruncated
	}
	return classMalformed
}

// countTooLarge counts a body that is too large to be read. If it was meant as
// an event it counts as one.
func (c *Collector) countTooLarge(ctx *fasthttp.RequestCtx) {
	c.metrics.connectionErrors[classBodyTooLarge].Inc()
	if ctx.IsPost() && string(ctx.Path()) == eventPath {
		t := tally{m: c.metrics}
		t.expect(eventEndpoint, 1)
		t.settleAll(c.metrics.rejected[bodyTooLarge])
	}
}

// expect answers Expect: 100-continue, before the body is on its way. It must
// leave the response alone.
func (c *Collector) expect(ctx *fasthttp.RequestCtx) int {
	if ctx.Request.Header.ContentLength() <= c.limits.Body {
		return fasthttp.StatusContinue
	}
	c.countTooLarge(ctx)
	return fasthttp.StatusRequestEntityTooLarge
}

// rescue answers after a panic and lets the process live: a beacon that finds
// a fault in us must not take the other beacons with it. The panic's value and
// a stack's arguments may hold an address or a part of a beacon, so that only
// its type and the place in the code are logged.
func (c *Collector) rescue(ctx *fasthttp.RequestCtx, t *tally) {
	v := recover()
	if v == nil {
		return
	}
	c.metrics.panics.Inc()
	t.settleAll(c.metrics.panicked)
	if due(&c.hints.panicked) {
		c.log.Error("a request ended in a panic; please report it", "type", fmt.Sprintf("%T", v), "site", panicSite())
	}
	ctx.Response.Reset()
	failure(ctx, fasthttp.StatusInternalServerError, []byte(`{"errors":{"request":["hit a fault in Halfmask"]}}`))
	ctx.SetConnectionClose()
}

// panicSite returns the function and line that panicked.
func panicSite() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	inPanic := false
	for {
		frame, more := frames.Next()
		if inPanic && !strings.HasPrefix(frame.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", frame.Function, frame.Line)
		}
		inPanic = inPanic || frame.Function == "runtime.gopanic"
		if !more {
			return "unknown"
		}
	}
}
