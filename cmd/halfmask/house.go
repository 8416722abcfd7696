package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/halfmask/halfmask/collector/anonymize"
	"github.com/halfmask/halfmask/collector/tracker"
	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest"
	"github.com/halfmask/halfmask/ingest/batch"
	"github.com/halfmask/halfmask/ingest/enrich"
	"github.com/halfmask/halfmask/ingest/ledger"
	"github.com/halfmask/halfmask/ingest/session"
	"github.com/halfmask/halfmask/ingest/spool"
	"github.com/halfmask/halfmask/internal/registry"
	"github.com/halfmask/halfmask/storage"
	"github.com/halfmask/halfmask/storage/engine"
)

// What lies in the data folder.
const (
	spoolFolder  = "spool"
	engineFolder = "engine"
	sitesFile    = "sites.json"
	saltsFile    = "salts"
	visitsFile   = "visits"
	ledgerFile   = "ledger"
)

// refreshInterval is how soon a site added by another collector of the same
// cluster is known here.
const refreshInterval = 5 * time.Second

// house is a running Halfmask: everything but the listeners.
type house struct {
	stairs
	settings *settings
	metrics  *prometheus.Registry
	out      *streams

	spool    *spool.Spool
	ledger   *ledger.Ledger
	sites    *registry.Registry
	salts    *anonymize.Keeper
	places   *anonymize.Places // nil without a database
	visits   *session.Table
	recorder *ingest.Recorder
	engine   *engine.Engine // nil with a server of one's own
	store    *storage.Store
	admin    *admin

	collectorURL string        // where browsers reach the collector
	up           chan struct{} // closed once storage is ready
	recount      chan struct{} // wakes runAudits
}

// open starts everything but the listeners, like stairs: each step may lean on
// the ones before it.
func open(ctx context.Context, c *settings, log *slog.Logger, metrics *prometheus.Registry, out *streams) (_ *house, err error) {
	h := &house{stairs: stairs{log: log}, settings: c, metrics: metrics, out: out, up: make(chan struct{}), recount: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.ShutdownTimeout)
			defer cancel()
			err = errors.Join(err, h.close(stopping))
		}
	}()
	for _, step := range []func(context.Context) error{h.openSpool, h.openLedger, h.openMemory, h.openPlaces, h.openStorage, h.openIngest} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// durabilities are what --durability may say.
var durabilities = map[string]spool.Durability{"process": spool.Process, "power": spool.Power}

func (h *house) openSpool(context.Context) error {
	s, err := spool.Open(spool.Options{
		Dir:          h.settings.path(spoolFolder),
		MaxBytes:     h.settings.SpoolMax << 20,
		SealAfter:    h.settings.BatchInterval,
		Durability:   durabilities[h.settings.Durability],
		SyncInterval: h.settings.SyncInterval,
		Logger:       h.log,
		Registerer:   h.metrics,
	})
	if err != nil {
		return err
	}
	h.spool = s
	h.started("the spool", allBy, func(context.Context) error { return s.Close() })
	return nil
}

// openMemory takes over what the last run knew of sites and salts.
func (h *house) openMemory(ctx context.Context) error {
	sites, err := registry.Open(h.settings.path(sitesFile))
	if err != nil {
		h.log.Warn("going on without the snapshot of sites until storage answers", "error", err)
	}
	h.sites = sites
	h.salts, err = anonymize.OpenKeeper(h.settings.path(saltsFile), h.log, h.metrics)
	if err != nil {
		return err
	}
	h.started("the salts", allBy, func(context.Context) error { return h.salts.Close() })
	h.worker(ctx, "the turning of salts", func(ctx context.Context) { _ = h.salts.Run(ctx) })
	h.sites.OnChange(func(all []*event.Site) {
		for _, s := range all {
			h.salts.Ensure(s.Zone)
		}
	})
	return nil
}

func (h *house) openPlaces(context.Context) error {
	file := h.settings.GeoIP
	if file == "" {
		if file = h.findPlaces(); file == "" {
			h.log.Warn("no database of places: countries stay unknown; run 'make geoip' or give one with --geoip")
			return nil
		}
	}
	places, err := anonymize.OpenPlaces(file, h.log, h.metrics)
	if err != nil {
		return err
	}
	h.places = places
	h.started("the database of places", allBy, func(context.Context) error { return places.Close() })
	return nil
}

// findPlaces looks where 'make geoip' and the container image put it.
func (h *house) findPlaces() string {
	const name = "country.mmdb"
	exe, err := os.Executable()
	if err != nil {
		return ""
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	dir := filepath.Dir(exe)
	for _, file := range []string{
		filepath.Join(dir, name),
		filepath.Join(dir, "..", "lib", "halfmask", name),
		filepath.Join(dir, "..", ".cache", "geoip", name),
		filepath.Join("/usr/lib/halfmask", name),
	} {
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			return file
		}
	}
	return ""
}

// openStorage starts the engine, or finds the server given.
func (h *house) openStorage(ctx context.Context) error {
	options, err := h.storageOptions(ctx)
	if err != nil {
		return err
	}
	options.Logger, options.Registerer = h.log, h.metrics
	h.store, err = storage.Open(ctx, options)
	if err != nil {
		return err
	}
	// It waits for statements that nobody waits for any more. Those of an engine
	// that hangs end when the engine does, one step further down.
	h.started("the connection to storage", shippedBy, waiting(h.store.Close))
	return nil
}

func (h *house) storageOptions(ctx context.Context) (storage.Options, error) {
	if h.settings.ClickHouse != "" {
		return storage.ParseDSN(h.settings.ClickHouse, h.settings.Cluster)
	}
	library, err := h.settings.library()
	if err != nil {
		return storage.Options{}, err
	}
	e, err := engine.Start(engine.Options{
		Library:     library,
		Dir:         h.settings.path(engineFolder),
		MemoryLimit: h.settings.EngineMemory << 20,
		Logger:      h.log,
		Registerer:  h.metrics,
	})
	if err != nil {
		return storage.Options{}, err
	}
	h.engine = e
	h.started("the engine", engineBy, e.Close)
	// With sites known from before, events are accepted whatever becomes of the
	// engine. Without, nothing can be done before it is there.
	if h.sites == nil || len(h.sites.Sites()) == 0 {
		if err := e.Wait(ctx); err != nil {
			return storage.Options{}, err
		}
	}
	return engineStorage(e), nil
}

// engineStorage tells storage how to use the local engine.
func engineStorage(e *engine.Engine) storage.Options {
	return storage.Options{
		Dial:   e.Dial,
		Writer: storage.Credentials(e.Writer()),
		Reader: storage.Credentials(e.Reader()),
		Epoch:  e.Epoch,
		Sync:   e.Sync,

		ClockDoubt: e.ClockDoubt,
	}
}

// openIngest puts the rooms between the door and storage in place, and lets
// storage come up in the background.
func (h *house) openIngest(ctx context.Context) error {
	enricher := enrich.New(enrich.Options{})
	if err := h.openVisits(); err != nil {
		return err
	}
	h.recorder = ingest.New(ingest.Options{
		Enricher: enricher, Sessions: h.visits, Spool: h.spool, Logger: h.log, Registerer: h.metrics,
	})
	shipper := batch.New(batch.Options{Source: h.spool, Sink: h.store, Books: h.ledger, Logger: h.log, Registerer: h.metrics})
	h.admin = &admin{store: h.store, engine: h.engine, registry: h.sites, snippet: func(domain string) string {
		return tracker.Snippet(h.collectorURL, domain)
	}, recount: h.recountSoon}
	h.worker(ctx, "the work on storage", func(ctx context.Context) { h.runStorage(ctx, shipper) })
	h.started("the shipping of events", shippedBy, func(ctx context.Context) error {
		select {
		case <-h.up:
			// No failure of the stop: nothing is lost.
			if err := shipper.Drain(ctx); err != nil {
				h.log.Warn("stopping with events in the spool, which the next start stores", "error", err)
			}
		default: // storage never came; the spool keeps everything
		}
		return nil
	})
	return nil
}

// runStorage brings storage up, however long that takes, and then works on it
// until ctx ends.
func (h *house) runStorage(ctx context.Context, shipper *batch.Shipper) {
	if !h.bringUp(ctx) {
		return
	}
	close(h.up)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := shipper.Run(ctx); err != nil && ctx.Err() == nil {
			h.log.Error("the shipping of events ended", "error", err)
		}
	})
	wg.Go(func() { h.store.RunJanitor(ctx) })
	wg.Go(func() { h.runAudits(ctx) })
	wg.Go(func() { h.sites.Run(ctx, h.store, refreshInterval, h.log) })
	wg.Wait()
}

// bringUp tries until storage is migrated and what it knows is taken over. It
// returns false if ctx ended first.
func (h *house) bringUp(ctx context.Context) bool {
	pause := 100 * time.Millisecond
	for said := false; ; pause = min(2*pause, 5*time.Second) {
		err := h.takeOver(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if errors.Is(err, storage.ErrNewer) || !said {
			h.log.Warn("storage is not ready; accepted events wait in the spool", "error", err)
			said = true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

// takeOver makes storage ready and learns what it knows.
func (h *house) takeOver(ctx context.Context) error {
	if err := h.store.Migrate(ctx, func(line string) { h.log.Info("migrating the database", "step", line) }); err != nil {
		return err
	}
	// Before the dashboard opens. What fails is said by the janitor, which begins
	// with the same; it must not keep events out of storage, since what is too old
	// is not shown in any case.
	_ = h.store.Retain(ctx, time.Now())
	if err := h.sites.Refresh(ctx, h.store); err != nil {
		return err
	}
	if err := h.salts.Attach(ctx, h.store); err != nil {
		return err
	}
	if h.visits.Complete() {
		return nil
	}
	err := h.restoreVisits(ctx)
	var f *storage.Failure
	if errors.As(err, &f) && (f.Class == storage.Memory || f.Class == storage.Timeout) && ctx.Err() == nil {
		// Another try would end likewise, and events would wait in the spool for it.
		h.log.Warn("the visits of the last run are not gone on with", "error", err)
		return nil
	}
	return err
}

// worker runs f until the house closes.
func (h *house) worker(ctx context.Context, name string, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { f(ctx) })
	h.started(name, allBy, func(context.Context) error {
		cancel()
		wg.Wait()
		return nil
	})
}

// localURL is how a browser on this machine reaches a listener.
func localURL(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return fmt.Sprintf("http://%s", net.JoinHostPort(host, port))
}
