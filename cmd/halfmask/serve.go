package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/halfmask/halfmask/collector"
	"github.com/halfmask/halfmask/collector/anonymize"
	"github.com/halfmask/halfmask/collector/tracker"
	"github.com/halfmask/halfmask/dashboard"
	"github.com/halfmask/halfmask/internal/demo"
	"github.com/halfmask/halfmask/internal/registry"
)

// storagePatience is how long a start with known sites waits for storage
// before it opens the dashboard all the same; and the door, too, if the machine
// went down: the visits of before can only be gone on with once storage is
// there, so it is worth a moment.
const storagePatience = 2 * time.Second

// commandPatience is how long a command waits for a server that is starting or
// stopping.
const commandPatience = 10 * time.Second

type serveCommand struct {
	settings `embed:""`
}

// Run serves until ctx ends.
func (c *serveCommand) Run(ctx context.Context, s *streams) error {
	// Whoever read our output may go away: that must not end us in the middle.
	signal.Ignore(syscall.SIGPIPE)
	if err := c.prepare(); err != nil {
		return err
	}
	release, err := c.lock()
	if errors.Is(err, errBusy) {
		return fmt.Errorf("%w; stop it first, or give another folder with --data", err)
	}
	if err != nil {
		return err
	}
	defer release()
	// Said before anything is started for which the answer would come too late.
	if c.ClickHouse == "" {
		if _, err := c.library(); err != nil {
			return err
		}
	}
	log := c.logger(s.err)
	log.Info("starting", "version", Version, "data", c.Data)
	// Bound first: while the rest starts, visitors wait in the kernel's queue
	// instead of being turned away.
	listeners, err := c.bind()
	if err != nil {
		return err
	}
	defer listeners.close()
	h, err := open(ctx, &c.settings, log, newMetrics(), s)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		log.Info("stopped while starting")
		return nil
	}
	if err != nil {
		return err
	}
	failed := h.serve(ctx, listeners)
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.ShutdownTimeout)
	defer cancel()
	log.Info("stopping", "deadline", c.ShutdownTimeout)
	if err := errors.Join(failed, h.close(stopping)); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// listeners are bound before anything else starts.
type listeners struct {
	collector, dashboard, operations, demo net.Listener // demo may be nil
}

func (c *settings) bind() (*listeners, error) {
	var l listeners
	for _, b := range []struct {
		flag, addr string
		to         *net.Listener
	}{
		{"--listen", c.Listen, &l.collector},
		{"--dashboard-listen", c.DashboardListen, &l.dashboard},
		{"--ops-listen", c.OpsListen, &l.operations},
		{"--demo-listen", c.DemoListen, &l.demo},
	} {
		if b.addr == "" {
			continue
		}
		listener, err := net.Listen("tcp", b.addr)
		if err != nil {
			l.close()
			return nil, fmt.Errorf("cannot listen on %s %s: %w", b.flag, b.addr, err)
		}
		*b.to = listener
	}
	return &l, nil
}

func (l *listeners) close() {
	for _, each := range []net.Listener{l.collector, l.dashboard, l.operations, l.demo} {
		if each != nil {
			_ = each.Close() // closed already after a regular stop
		}
	}
}

// serve opens the listeners, says so, and returns when ctx ends or a listener
// fails.
func (h *house) serve(ctx context.Context, l *listeners) error {
	h.collectorURL = orElse(h.settings.PublicURL, localURL(l.collector.Addr()))
	closeControl, err := h.settings.control(h.operations(), h.log)
	if err != nil {
		return err
	}
	h.started("the control socket", allBy, func(context.Context) error { closeControl(); return nil })
	failures := make(chan error, 4)
	h.serveHTTP("operations", l.operations, webServer(opsHandler(h.metrics, h.log, h.checks()), h.log), failures)
	door, err := h.door()
	if err != nil {
		return err
	}
	open := h.opener(door, l.collector, failures)
	// Whatever comes next, the door closes first.
	defer h.parting("the door", door.Shutdown)
	if h.knowsAll() {
		open()
	}
	if !h.ready(ctx) {
		return nil
	}
	open()
	dash := dashboard.New(dashboard.Options{
		Stats: h.store, Accounts: h.store, Sites: h.sites, PublicURL: h.collectorURL,
		TrustedProxies: h.settings.proxies, Logger: h.log, Registerer: h.metrics, Version: Version,
	})
	h.serveHTTP("dashboard", l.dashboard, dash.Server(), failures)
	if l.demo != nil {
		if err := h.addDemo(ctx); err != nil {
			return err
		}
		dashboardURL := orElse(h.settings.DashboardURL, localURL(l.dashboard.Addr()))
		h.serveHTTP("demo", l.demo, webServer(demo.Handler(h.collectorURL, demoDomain, dashboardURL), h.log), failures)
	}
	h.worker(ctx, "the invitation", func(ctx context.Context) {
		h.announceSetup(ctx, dash, orElse(h.settings.DashboardURL, localURL(l.dashboard.Addr())))
	})
	select {
	case <-ctx.Done():
		return nil
	case err := <-failures:
		return fmt.Errorf("a listener failed: %w", err)
	}
}

// opener returns what opens the door, once.
func (h *house) opener(door *collector.Collector, l net.Listener, failures chan<- error) func() {
	return sync.OnceFunc(func() {
		go func() { failures <- door.Serve(l) }()
		fmt.Fprintf(h.out.out, "collector   at %s\n", localURL(l.Addr()))
	})
}

// knowsAll tells whether nothing that the door needs is still to be learned
// from storage: there is no reason to keep visitors waiting then.
func (h *house) knowsAll() bool { return len(h.sites.Sites()) > 0 && h.visits.Complete() }

// operations are what commands may ask of this server.
func (h *house) operations() map[string]operation {
	ops := h.whenUp(h.admin.operations())
	ops["ledger"] = handle(h.readLedger) // it has an answer while storage is away
	return ops
}

// whenUp makes operations wait until storage is ready.
func (h *house) whenUp(ops map[string]operation) map[string]operation {
	patient := make(map[string]operation, len(ops))
	for name, op := range ops {
		patient[name] = func(ctx context.Context, args json.RawMessage) (any, error) {
			select {
			case <-h.up:
				return op(ctx, args)
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(commandPatience):
				return nil, errors.New("storage is not ready yet; try again in a moment, or look at the server's log")
			}
		}
	}
	return patient
}

// ready waits until storage has answered, or, if the sites are known from
// before, a moment. It returns false if ctx ended.
func (h *house) ready(ctx context.Context) bool {
	var patience <-chan time.Time
	if len(h.sites.Sites()) > 0 {
		patience = time.After(storagePatience)
	}
	select {
	case <-h.up:
	case <-patience:
		h.log.Warn("going on without storage; accepted events wait in the spool")
	case <-ctx.Done():
		return false
	}
	return true
}

func (h *house) door() (*collector.Collector, error) {
	assets, err := tracker.Assets()
	if err != nil {
		return nil, err
	}
	return collector.New(collector.Options{
		Sites:          h.sites,
		Recorder:       h.recorder,
		Masker:         anonymize.New(anonymize.Options{Salts: h.salts, Places: h.places}),
		Assets:         assets,
		TrustedProxies: h.settings.proxies,
		Limits:         collector.Limits{Connections: h.settings.MaxConnections, EventsPerNetwork: h.settings.RateLimit},
		Books:          h.books,
		Logger:         h.log,
		Registerer:     h.metrics,
	}), nil
}

func (h *house) serveHTTP(name string, l net.Listener, s *http.Server, failures chan<- error) {
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failures <- fmt.Errorf("%s: %w", name, err)
		}
	}()
	h.parting("the "+name+" listener", func(ctx context.Context) error {
		if err := s.Shutdown(ctx); err != nil {
			return errors.Join(err, s.Close())
		}
		return nil
	})
	fmt.Fprintf(h.out.out, "%-11s at %s\n", name, localURL(l.Addr()))
}

// parting adds the step that ends a listener. Clients who do not finish in
// time are cut off, which is no failure of the stop.
func (h *house) parting(name string, stop func(context.Context) error) {
	h.started(name, partedBy, func(ctx context.Context) error {
		if err := stop(ctx); err != nil {
			h.log.Info("clients that were too slow were cut off", "at", name)
		}
		return nil
	})
}

// announceSetup prints the one-time link while there is no user. Whether there
// is one only storage knows.
func (h *house) announceSetup(ctx context.Context, dash *dashboard.Dashboard, base string) {
	select {
	case <-h.up:
	case <-ctx.Done():
		return
	}
	link, needed, err := dash.SetupLink(ctx, base)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		h.log.Warn("cannot tell whether there is a user yet", "error", err)
		return
	}
	if needed {
		fmt.Fprintf(h.out.out, "First start: make your account at %s (works once)\n", link)
	}
}

// demoDomain is the site that the demo reports to.
const demoDomain = "demo.localhost"

func (h *house) addDemo(ctx context.Context) error {
	if _, ok := h.sites.Site(demoDomain); ok {
		return nil
	}
	select {
	case <-h.up:
	case <-ctx.Done():
		return nil
	}
	_, err := h.admin.siteAdd(ctx, siteAddArgs{Domain: demoDomain, Zone: "UTC"})
	return err
}

func (h *house) checks() []check {
	return []check{
		{"spool", h.spool.Writable, true},
		{"storage", func() bool {
			select {
			case <-h.up:
				return h.engine == nil || h.engine.Up()
			default:
				return false
			}
		}, false},
	}
}

func orElse(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

// alone runs f against the data folder when no server does: it starts what
// storage needs, quietly, and stops it again.
func (c *client) alone(ctx context.Context, s *streams, f func(caller) error) error {
	return c.withStorage(ctx, s, func(h *house) error {
		sites, err := registry.Open(c.path(sitesFile))
		if err != nil {
			h.log.Warn("going on without the snapshot of sites", "error", err)
		}
		a := &admin{store: h.store, engine: h.engine, registry: sites, snippet: func(domain string) string {
			return tracker.Snippet(c.PublicURL, domain)
		}}
		return f(local(a.operations()))
	})
}

// withStorage runs f with a house that has storage and nothing else.
func (p *place) withStorage(ctx context.Context, s *streams, f func(*house) error) (err error) {
	log := slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	h := &house{
		stairs: stairs{log: log}, settings: &settings{place: *p, EngineMemory: 512},
		metrics: newMetrics(), out: s,
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, h.close(stopping))
	}()
	if err := h.openStorage(ctx); err != nil {
		return err
	}
	if err := h.store.Migrate(ctx, func(line string) { fmt.Fprintln(s.err, line) }); err != nil {
		return err
	}
	return f(h)
}
