//go:build !race

package collector

import "testing"

// The race detector makes pools forget, which would count as allocations.
func TestHandlingAllocatesNothing(t *testing.T) {
	for name, variant := range variants {
		o := benchOptions()
		request := variant(&o)
		c := New(o)
		ctx := benchContext(t, request)
		handle := func() {
			ctx.Response.Reset()
			c.handle(ctx)
		}
		handle()
		if code := ctx.Response.StatusCode(); code != 202 && code != 200 {
			t.Errorf("%s: status %d: %s", name, code, ctx.Response.Body())
		}
		if n := testing.AllocsPerRun(200, handle); n >= 1 { // a collection may empty the pool
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
