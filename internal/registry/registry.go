// Package registry knows which sites there are. The hot path looks a site up
// without a lock; storage fills the registry, and a small snapshot beside the
// spool lets the door open while storage is away. It never knows a visitor.
package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/halfmask/halfmask/event"
)

// Source is where the sites are kept.
type Source interface {
	// Sites returns every site.
	Sites(ctx context.Context) ([]*event.Site, error)
}

// Registry is a set of sites. Reading is lock-free; all methods may be called
// concurrently.
type Registry struct {
	file     string
	byDomain atomic.Pointer[map[string]*event.Site]

	mu       sync.Mutex // one writer at a time
	onChange []func([]*event.Site)
	unsaved  bool // the snapshot on disk is behind
}

// Open returns a registry that holds what the snapshot file says, or no site
// if there is none. A damaged snapshot is an error that the caller may report
// and go on from: the registry is returned empty beside it.
func Open(file string) (*Registry, error) {
	r := &Registry{file: file}
	r.byDomain.Store(&map[string]*event.Site{})
	sites, err := readSnapshot(file)
	if err != nil {
		return r, fmt.Errorf("cannot read the snapshot of sites: %w", err)
	}
	r.publish(sites)
	return r, nil
}

// Site finds a site by its domain in lower case, without "www.".
func (r *Registry) Site(domain string) (*event.Site, bool) {
	s, ok := (*r.byDomain.Load())[domain]
	return s, ok
}

// Sites returns every site, sorted by domain.
func (r *Registry) Sites() []*event.Site {
	m := *r.byDomain.Load()
	sites := make([]*event.Site, 0, len(m))
	for _, s := range m {
		sites = append(sites, s)
	}
	slices.SortFunc(sites, func(a, b *event.Site) int { return cmp.Compare(a.Domain, b.Domain) })
	return sites
}

// OnChange calls f with every site now and after each change, one call at a
// time.
func (r *Registry) OnChange(f func([]*event.Site)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onChange = append(r.onChange, f)
	f(r.Sites())
}

// Refresh takes the sites from source and, if they changed, publishes them and
// rewrites the snapshot.
func (r *Registry) Refresh(ctx context.Context, source Source) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	sites, err := source.Sites(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the sites: %w", err)
	}
	if !r.same(sites) {
		r.publish(sites)
		r.unsaved = true
		for _, f := range r.onChange {
			f(r.Sites())
		}
	}
	if !r.unsaved {
		return nil
	}
	if err := writeSnapshot(r.file, sites); err != nil {
		return fmt.Errorf("cannot write the snapshot of sites: %w", err)
	}
	r.unsaved = false
	return nil
}

// Run refreshes every interval until ctx ends, so that sites added elsewhere
// in a cluster arrive. Failures are logged when they begin, not each time.
func (r *Registry) Run(ctx context.Context, source Source, interval time.Duration, log *slog.Logger) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := r.Refresh(ctx, source)
		if err != nil && !failing && ctx.Err() == nil {
			log.Warn("cannot refresh the list of sites; going on with the last one known", "error", err)
		}
		failing = err != nil
	}
}

func (r *Registry) publish(sites []*event.Site) {
	m := make(map[string]*event.Site, len(sites))
	for _, s := range sites {
		m[s.Domain] = s
	}
	r.byDomain.Store(&m)
}

func (r *Registry) same(sites []*event.Site) bool {
	m := *r.byDomain.Load()
	if len(m) != len(sites) {
		return false
	}
	for _, s := range sites {
		old, ok := m[s.Domain]
		if !ok || old.ID != s.ID || old.Zone.String() != s.Zone.String() {
			return false
		}
	}
	return true
}

type snapshotSite struct {
	ID     event.SiteID `json:"id,string"`
	Domain string       `json:"domain"`
	Zone   string       `json:"zone"`
}

func readSnapshot(file string) ([]*event.Site, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var stored []snapshotSite
	if err := json.Unmarshal(raw, &stored); err != nil {
		return nil, err
	}
	sites := make([]*event.Site, 0, len(stored))
	for _, s := range stored {
		zone, err := time.LoadLocation(s.Zone)
		if err != nil {
			return nil, err
		}
		sites = append(sites, &event.Site{ID: s.ID, Domain: s.Domain, Zone: zone})
	}
	return sites, nil
}

func writeSnapshot(file string, sites []*event.Site) error {
	stored := make([]snapshotSite, 0, len(sites))
	for _, s := range sites {
		stored = append(stored, snapshotSite{s.ID, s.Domain, s.Zone.String()})
	}
	raw, err := json.MarshalIndent(stored, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.new")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone already once it was renamed
	if _, err := tmp.Write(raw); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
