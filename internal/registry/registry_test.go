package registry

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/halfmask/halfmask/event"
)

type shelf struct {
	mu    sync.Mutex
	sites []*event.Site
	err   error
}

func (s *shelf) Sites(context.Context) ([]*event.Site, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sites, s.err
}

func (s *shelf) put(sites ...*event.Site) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sites = sites
}

func TestRegistryOutlivesStorage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sites.json")
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	src := &shelf{sites: []*event.Site{
		{ID: 1<<63 + 5, Domain: "b.example", Zone: berlin},
		{ID: 7, Domain: "a.example", Zone: time.UTC},
	}}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	var told [][]*event.Site
	r.OnChange(func(s []*event.Site) { told = append(told, s) })
	if err := r.Refresh(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	if err := r.Refresh(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || len(told[0]) != 0 || len(told[1]) != 2 {
		t.Errorf("listeners were told %d times; want once at the start and once for the change", len(told))
	}

	again, err := Open(file) // a new process, storage away
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Sites(); len(got) != 2 || got[0].Domain != "a.example" {
		t.Fatalf("after a restart: %d sites, want 2 in order", len(got))
	}
	s, ok := again.Site("b.example")
	if !ok || s.ID != 1<<63+5 || s.Zone.String() != "Europe/Berlin" {
		t.Errorf("b.example came back as %+v", s)
	}
	if err := again.Refresh(t.Context(), &shelf{err: errors.New("away")}); err == nil {
		t.Error("a failing source went unnoticed")
	}
	if _, ok := again.Site("a.example"); !ok {
		t.Error("a failing source emptied the registry")
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("snapshot: %v %v, want mode 0600", info.Mode(), err)
	}
}

func TestDamagedSnapshotIsReportedAndSurvived(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sites.json")
	if err := os.WriteFile(file, []byte(`[{"id":"1","domain":"a`), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file)
	if err == nil || r == nil {
		t.Fatalf("Open = %v, %v; want an empty registry and an error", r, err)
	}
	if err := r.Refresh(t.Context(), &shelf{sites: []*event.Site{{ID: 1, Domain: "a.example", Zone: time.UTC}}}); err != nil {
		t.Fatal(err)
	}
	if again, err := Open(file); err != nil || len(again.Sites()) != 1 {
		t.Errorf("the snapshot was not mended: %v", err)
	}
}

func TestRunPicksUpSitesAddedElsewhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sites.json")
	synctest.Test(t, func(t *testing.T) {
		r, err := Open(file)
		if err != nil {
			t.Fatal(err)
		}
		src := &shelf{}
		ctx, stop := context.WithCancel(t.Context())
		go r.Run(ctx, src, 5*time.Second, slog.New(slog.DiscardHandler))
		time.Sleep(6 * time.Second)
		src.put(&event.Site{ID: 1, Domain: "late.example", Zone: time.UTC})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if _, ok := r.Site("late.example"); !ok {
			t.Error("a site added elsewhere did not arrive within one interval")
		}
		stop()
		synctest.Wait()
	})
}
