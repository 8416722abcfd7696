package collector

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/halfmask/halfmask/event"
)

// free masks and records for nothing, so that a benchmark shows the door alone.
type free struct{}

func (free) Mask(*event.Hit, netip.Addr) bool { return true }
func (free) Record(*event.Hit) event.Outcome  { return event.Accepted }

func benchOptions() Options {
	return Options{Sites: sites{"example.com": {ID: 1, Domain: "example.com", Zone: time.UTC}}, Masker: free{}, Recorder: free{}}
}

// browser is a request as a browser sends it: 830 bytes.
func browser(body string) string {
	return post(body,
		"User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
		`Sec-Ch-Ua: "Chromium";v="141", "Not?A_Brand";v="8"`, "Sec-Ch-Ua-Mobile: ?0", `Sec-Ch-Ua-Platform: "Windows"`, "Content-Type: text/plain;charset=UTF-8",
		"Accept: */*", "Origin: https://example.com", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty",
		"Referer: https://example.com/", "Accept-Encoding: gzip, deflate, br, zstd", "Accept-Language: de-DE,de;q=0.9,en;q=0.8", "X-Forwarded-For: 203.0.113.5")
}

const benchBody = `{"n":"pageview","v":36,"u":"https://www.example.com/blog/how-to-count?utm_source=newsletter&utm_medium=email&q=x",` +
	`"d":"example.com","r":"https://duckduckgo.com/","p":{"author":"Ada","logged_in":"false"}}`

// context makes a request context without a server around it.
func benchContext(t testing.TB, request string) *fasthttp.RequestCtx {
	t.Helper()
	ctx := new(fasthttp.RequestCtx)
	ctx.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.IPv4(198, 51, 100, 7), Port: 4711}, silence{})
	if err := ctx.Request.Read(bufio.NewReader(&repeat{s: request})); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// repeat is a reader of the same bytes for ever.
type repeat struct {
	s  string
	at int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.s[r.at:])
	r.at = (r.at + n) % len(r.s)
	return n, nil
}

var variants = map[string]func(*Options) string{
	"accepted":       func(*Options) string { return browser(benchBody) },
	"behind a proxy": func(o *Options) string { o.TrustedProxies = prefixes("198.51.100.0/24"); return browser(benchBody) },
	"suppressed":     func(*Options) string { return post(benchBody, "DNT: 1") },
	"pixel": func(*Options) string {
		return "GET /pixel.gif?u=https%3A%2F%2Fexample.com%2F HTTP/1.1\r\nHost: h\r\nUser-Agent: x\r\n\r\n"
	},
}

func BenchmarkHandle(b *testing.B) {
	b.Run("nothing", func(b *testing.B) {
		ctx := benchContext(b, browser(benchBody))
		b.ReportAllocs()
		for b.Loop() {
			ctx.Response.Reset()
			ctx.SetStatusCode(fasthttp.StatusNoContent)
		}
	})
	for name, variant := range variants {
		b.Run(name, func(b *testing.B) {
			o := benchOptions()
			request := variant(&o)
			c := New(o)
			ctx := benchContext(b, request)
			b.ReportAllocs()
			for b.Loop() {
				ctx.Response.Reset()
				c.handle(ctx)
			}
		})
	}
}

// BenchmarkServe sends requests through a whole server over a connection in
// memory: the door beside a server that answers 204 to everything. The ratio
// of the two is what the door leaves of the server's speed; over real sockets,
// whose cost is the same for both, more is left.
func BenchmarkServe(b *testing.B) {
	bare := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(fasthttp.StatusNoContent) }, NoDefaultServerHeader: true}
	b.Run("bare", func(b *testing.B) { serve(b, bare.Serve) })
	b.Run("door", func(b *testing.B) { serve(b, New(benchOptions()).Serve) })
}

func serve(b *testing.B, serve func(net.Listener) error) {
	ln := fasthttputil.NewInmemoryListener()
	go func() { _ = serve(ln) }()
	defer ln.Close()
	conn, err := ln.DialWithLocalAddr(&net.TCPAddr{IP: net.IPv4(198, 51, 100, 7), Port: 4711})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	request, back := []byte(browser(benchBody)), bufio.NewReader(conn)
	var response fasthttp.Response
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if err := response.Read(back); err != nil || response.StatusCode() >= 300 {
			b.Fatal(err, response.StatusCode())
		}
	}
}

// BenchmarkServeTCP is the same over real sockets, with eight connections.
func BenchmarkServeTCP(b *testing.B) {
	bare := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(fasthttp.StatusNoContent) }, NoDefaultServerHeader: true}
	for name, serve := range map[string]func(net.Listener) error{"bare": bare.Serve, "door": New(benchOptions()).Serve} {
		b.Run(name, func(b *testing.B) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			go func() { _ = serve(ln) }()
			defer ln.Close()
			request := []byte(browser(benchBody))
			b.SetParallelism(4)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				conn, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					panic(err)
				}
				defer conn.Close()
				back := bufio.NewReader(conn)
				var response fasthttp.Response
				for pb.Next() {
					if _, err := conn.Write(request); err != nil {
						panic(err)
					}
					if err := response.Read(back); err != nil || response.StatusCode() >= 300 {
						panic(fmt.Sprint(err, response.StatusCode()))
					}
				}
			})
		})
	}
}
