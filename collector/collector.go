// Package collector is the door: the one listener that browsers talk to. For
// each beacon it finds out, in this order, whether the visitor may be counted,
// where the request came from, what the page said and which site is meant;
// then the address is masked and the hit recorded. It promises that a request
// with an opt-out is answered before its body is looked at, that an address
// lives no longer than the call that handles it and is never logged, and that
// every event it was sent shows in exactly one metric. It never knows how
// hits are stored or what became of a visitor.
package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"github.com/halfmask/halfmask/collector/poll"
	"github.com/halfmask/halfmask/event"
)

// Sites knows the sites that may be counted.
type Sites interface {
	// Site finds a site by its domain (lower case, no "www."). It must not
	// keep domain, which is only valid until it returns, and it is called
	// from every request at once: lock-free.
	Site(domain string) (*event.Site, bool)
}

// Masker cuts addresses: *anonymize.Masker.
type Masker interface {
	// Mask derives Day, Network, Visitor, Previous and Place of a hit whose
	// At, Site and UserAgent are set. It returns false, and the hit is
	// dropped, if addr cannot be masked. It must not keep addr.
	Mask(hit *event.Hit, addr netip.Addr) bool
}

// Recorder takes hits: *ingest.Recorder.
type Recorder interface {
	// Record takes a hit whose strings live until it returns. Accepted means
	// that the hit will be stored.
	Record(*event.Hit) event.Outcome
}

// Options is what a Collector is made of. Sites, Masker and Recorder are
// required.
type Options struct {
	Sites    Sites
	Masker   Masker
	Recorder Recorder

	// Assets are the files to hand out, by path ("/js/hm.js").
	Assets map[string]Asset

	// TrustedProxies are the peers whose word is taken for where a request
	// came from. From all others forwarding headers are ignored. A peer on a
	// Unix socket is always trusted: it has no address of its own.
	TrustedProxies []netip.Prefix

	// Limits bound what a peer can ask for; zero fields get the defaults.
	Limits Limits

	// Books returns the counter of a fate ("received", "accepted", "dropped",
	// "suppressed", "rejected" or "refused") and a reason, which outlives the
	// process and is shown as the metric desc. nil: they count for this process.
	Books func(fate, reason string, desc *prometheus.Desc) Counter

	Logger     *slog.Logger          // nil: nothing is logged
	Registerer prometheus.Registerer // nil: metrics are counted for nobody
}

// Limits bound one request and all of them together.
type Limits struct {
	Body               int           // bytes; default 66,560: what sendBeacon can carry and a little more
	Header             int           // bytes of request line and header together; default 16 KiB
	Headers            int           // lines; default 100
	Connections        int           // at a time; default 10,000
	ConnectionsPerPeer int           // at a time from one IPv4 address or IPv6 /64 that is no trusted proxy; default 1,000
	ReadTimeout        time.Duration // for a whole request; default 10 s
	WriteTimeout       time.Duration // for a whole answer; default 10 s
	IdleTimeout        time.Duration // between two requests; default 30 s

	// EventsPerNetwork bounds the events per second of one network, the /16 of
	// an IPv4 address or the /32 of an IPv6 address; it may send two seconds'
	// worth at once. 0 means no bound. This machine itself is not bounded.
	EventsPerNetwork int
}

func (l Limits) withDefaults() Limits {
	number := func(n *int, d int) {
		if *n <= 0 {
			*n = d
		}
	}
	duration := func(n *time.Duration, d time.Duration) {
		if *n <= 0 {
			*n = d
		}
	}
	number(&l.Body, 65<<10)
	number(&l.Header, 16<<10)
	number(&l.Headers, 100)
	number(&l.Connections, 10_000)
	number(&l.ConnectionsPerPeer, 1_000)
	duration(&l.ReadTimeout, 10*time.Second)
	duration(&l.WriteTimeout, 10*time.Second)
	duration(&l.IdleTimeout, 30*time.Second)
	return l
}

// Collector is the door. It is safe for concurrent use.
type Collector struct {
	sites    Sites
	masker   Masker
	recorder Recorder
	assets   map[string]*asset
	trusted  trusted
	limits   Limits
	rate     *rate // nil: no bound
	log      *slog.Logger
	metrics  *metrics

	server *fasthttp.Server
	guests guests
	calls  sync.Pool // of *call
	hints  hints

	mu        sync.Mutex
	listeners []*listener
	stopped   chan struct{} // closed under mu
}

// ErrStopped is returned by Serve on a Collector that was shut down.
var ErrStopped = errors.New("the collector was shut down")

// New makes a Collector that listens to nobody yet.
func New(o Options) *Collector {
	c := &Collector{
		sites:    o.Sites,
		masker:   o.Masker,
		recorder: o.Recorder,
		assets:   prepare(o.Assets),
		trusted:  newTrusted(o.TrustedProxies),
		limits:   o.Limits.withDefaults(),
		log:      o.Logger,
		rate:     newRate(o.Limits.EventsPerNetwork, time.Now()),
		stopped:  make(chan struct{}),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.calls.New = func() any { return new(call) }
	c.guests.limits(c.limits.Connections, c.limits.ConnectionsPerPeer)
	c.metrics = newMetrics(&o, c.guests.count)
	c.server = &fasthttp.Server{
		Handler:       c.handle,
		ErrorHandler:  c.fail,
		ExpectHandler: c.expect,
		Logger:        silence{},

		// The guests are counted before they come in; the surplus is for those
		// whose worker has not returned yet.
		Concurrency:        c.limits.Connections + 1024,
		MaxRequestBodySize: c.limits.Body,
		ReadBufferSize:     c.limits.Header,
		// The timeouts are the connections': see Serve.

		CloseOnShutdown:              true,
		DisablePreParseMultipartForm: true,
		LazyRequestTime:              true,
		NoDefaultContentType:         true,
		NoDefaultServerHeader:        true,
		SecureErrorLogMessage:        true,
	}
	return c
}

// Serve answers on ln until Shutdown, and closes ln. It may be called for
// several listeners. It returns nil after a Shutdown, or ErrStopped if that
// came before.
func (c *Collector) Serve(ln net.Listener) error {
	polled, err := poll.Listen(ln, poll.Timeouts{Read: c.limits.ReadTimeout, Write: c.limits.WriteTimeout, Idle: c.limits.IdleTimeout})
	if err != nil {
		_ = ln.Close()
		return fmt.Errorf("cannot serve beacons: %w", err)
	}
	l := &listener{Listener: polled, c: c}
	if !c.open(l) {
		_ = polled.Close()
		return ErrStopped
	}
	if err := c.server.Serve(l); err != nil {
		return fmt.Errorf("cannot serve beacons: %w", err)
	}
	return nil
}

// open remembers a listener, unless it came too late: the server would start
// serving it although it was shut down.
func (c *Collector) open(l *listener) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isStopped() {
		return false
	}
	c.listeners = append(c.listeners, l)
	return true
}

func (c *Collector) isStopped() bool {
	select {
	case <-c.stopped:
		return true
	default:
		return false
	}
}

// Shutdown stops listening, lets the requests in flight finish and closes the
// rest. If ctx ends first, what is left is cut off and its error returned. It
// may be called more than once.
func (c *Collector) Shutdown(ctx context.Context) error {
	c.mu.Lock()
	if !c.isStopped() {
		close(c.stopped)
	}
	for _, l := range c.listeners {
		_ = l.Close()
	}
	c.listeners = nil
	c.mu.Unlock()

	c.guests.closeSilent()
	if err := c.server.ShutdownWithContext(ctx); err != nil {
		c.guests.closeAll()
		return fmt.Errorf("cannot finish all requests before closing the door: %w", err)
	}
	return nil
}
