package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/halfmask/halfmask/e2e"
	"github.com/halfmask/halfmask/internal/testkit"
)

func TestMain(m *testing.M) { e2e.Main(m) }

// TestAShortWeek is `make chaos` in small: whatever is killed, stopped or full,
// every event answered 202 is stored exactly once. How fast things went is looked
// at by `make chaos` only.
func TestAShortWeek(t *testing.T) {
	library, err := testkit.Library()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			if s.name != "kills" { // which has the machine for itself
				t.Parallel()
			}
			err := run(t.Context(), options{
				binary: e2e.Binary(t, false), library: library, dir: t.TempDir(), out: t.Output(),
				kills: 20, outage: 4 * time.Second, rate: 500, only: s.name,
			})
			if err != nil && !errors.Is(err, errSlow) {
				t.Error(err)
			}
		})
	}
}

// TestTheCheckFinds holds the check itself: it must see an event that is missing,
// one that is there twice, and one that nobody sent.
func TestTheCheckFinds(t *testing.T) {
	library, err := testkit.Library()
	if err != nil {
		t.Fatal(err)
	}
	o := options{binary: e2e.Binary(t, false), library: library, dir: t.TempDir(), out: t.Output(), rate: 200}
	for name, c := range map[string]struct {
		spoil func(*rig)
		says  []string
	}{
		"nothing": {func(*rig) {}, nil},
		"lost":    {func(r *rig) { r.load.accepted.add(r.load.next.Add(1)) }, []string{"1 accepted events are lost"}},
		"twice": {func(r *rig) { // the next number is sent again
			sent := r.load.next.Load()
			var c conversation
			defer c.close()
			for range 2 {
				r.load.next.Store(sent)
				if status, err := r.load.send(&c); status != 202 {
					t.Fatal(status, err)
				}
			}
		}, []string{"0 accepted events are lost", "1 are stored more than once"}},
		"a stranger's": {func(r *rig) {
			var c conversation
			defer c.close()
			if status, err := r.load.send(&c); status != 202 {
				t.Fatal(status, err)
			}
			r.load.next.Add(^uint64(0))
		}, []string{"1 events are stored that nobody sent"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := o
			r, err := newRig(&o, scenario{name: strings.ReplaceAll(name, "'", "")})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = r.close() }()
			if err := r.open(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.load.stop()
			c.spoil(r)
			err = r.check(t.Context())
			if c.says == nil && err != nil {
				t.Error(err)
			}
			for _, words := range c.says {
				if err == nil || !strings.Contains(err.Error(), words) {
					t.Errorf("the check says %v, want %q", err, words)
				}
			}
		})
	}
}

// TestNumbers: what the load's book says of numbers it was not told is no.
func TestNumbers(t *testing.T) {
	var s numbers
	for _, id := range []uint64{1, 63, 64, 1_000_000} {
		s.add(id)
	}
	for id, want := range map[uint64]bool{0: false, 1: true, 2: false, 63: true, 64: true, 65: false, 1_000_000: true, 1 << 40: false} {
		if s.has(id) != want {
			t.Errorf("has(%d) is %v", id, !want)
		}
	}
}
