package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// policy keeps pages to what this origin serves: no inline script or style,
// no other host, no frame around them, no text that becomes a script.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'"

// secured sets the headers that every answer has, whatever it is.
func (d *Dashboard) secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY") // for browsers without frame-ancestors
		// No other host is told anything. no-referrer would say no more to others,
		// but make browsers send our own forms with Origin: null, which over plain
		// HTTP is all there is to tell them from another site's.
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// recovered answers 500 for a handler that panics. It logs where and of what
// type the panic was, never its value, which may hold what was asked.
func (d *Dashboard) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			fault := recover()
			if fault == nil {
				return
			}
			if err, ok := fault.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(fault)
			}
			d.log.Error("the dashboard panicked; this is a defect, please report it", "type", fmt.Sprintf("%T", fault), "at", panicSite())
			d.refuse(w, r, http.StatusInternalServerError, "Something went wrong inside Halfmask. Its log says where. Visits are still being recorded.")
		}()
		next.ServeHTTP(w, r)
	})
}

// panicSite returns the function and line that panicked.
func panicSite() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	panicked := false
	for {
		frame, more := frames.Next()
		if panicked && !strings.HasPrefix(frame.Function, "runtime.") {
			return frame.Function + ":" + strconv.Itoa(frame.Line)
		}
		panicked = panicked || frame.Function == "runtime.gopanic"
		if !more {
			return "unknown"
		}
	}
}

// isAPI reports whether programs, rather than people, read the answer.
func isAPI(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/api/") }

// refuse answers with an error, as JSON to a program and as a page to a
// person.
func (d *Dashboard) refuse(w http.ResponseWriter, r *http.Request, code int, text string) {
	if isAPI(r) {
		writeJSON(w, code, map[string]string{"error": text})
		return
	}
	d.pages.render(w, code, "message", page{Title: http.StatusText(code), Error: text})
}

// unavailable answers for storage that did not, and logs why.
func (d *Dashboard) unavailable(w http.ResponseWriter, r *http.Request, doing string, err error) {
	switch {
	case r.Context().Err() != nil:
		// The asker has left; nobody reads this.
		d.refuse(w, r, http.StatusServiceUnavailable, "The request was cancelled.")
	case errors.Is(err, context.DeadlineExceeded):
		d.refuse(w, r, http.StatusServiceUnavailable, "The answer took too long. Ask for a shorter range or fewer dimensions.")
	default:
		d.log.Error("cannot "+doing, "error", err)
		d.refuse(w, r, http.StatusInternalServerError, "Storage did not answer; Halfmask's log says why. Visits are still being recorded. Try again in a moment.")
	}
}

// retryAfter says when to come back.
func retryAfter(w http.ResponseWriter, wait time.Duration) {
	seconds := int((wait + time.Second - 1) / time.Second)
	w.Header().Set("Retry-After", strconv.Itoa(max(seconds, 1)))
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // a value of ours that has no JSON
	}
	writeBody(w, code, "application/json; charset=utf-8", append(body, '\n'))
}

func writeBody(w http.ResponseWriter, code int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body) // a reader who has left is not our fault
}
