package anonymize

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/halfmask/halfmask/event"
)

// Salt is the secret of one day in one time zone. Printing or logging it shows
// a placeholder instead of the key.
type Salt struct {
	Zone    string // as time.Location.String names it
	Day     event.Day
	Key     [16]byte
	Created time.Time
}

// Format implements fmt.Formatter: no verb prints the key.
func (s Salt) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "[salt of %s %s]", s.Zone, s.Day) }

// LogValue implements slog.LogValuer without the key.
func (s Salt) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// SaltStore is where collectors agree on salts, so that a visitor has one
// pseudonym whichever of them answers.
type SaltStore interface {
	// LoadSalts returns every salt that is still kept.
	LoadSalts(ctx context.Context) ([]Salt, error)
	// AddSalt stores a salt unless one for its zone and day exists, and
	// returns the one that counts.
	AddSalt(ctx context.Context, s Salt) (Salt, error)
	// DropSalts destroys the salts of zone before day, so that their bytes
	// are gone when it returns.
	DropSalts(ctx context.Context, zone string, before event.Day) error
}

// Keeper holds the salts of today and yesterday for every time zone in use,
// makes tomorrow's ahead of time and destroys those older than yesterday. It
// is safe for concurrent use.
//
// The store says which salts count. While it is away the Keeper works with
// those of its snapshot file and with fresh ones, and offers them to the store
// when it comes; if the store has another one by then, that one is used from
// then on, and visitors of that day may count twice.
//
// Destroying means: overwritten in memory, overwritten in the snapshot before
// that is unlinked, dropped from the store. A file system that copies on write
// may keep old bytes all the same; put the file on one that is encrypted or
// does not.
type Keeper struct {
	logger *slog.Logger
	file   *snapshot // nil: in memory only
	wake   chan struct{}

	zones atomic.Pointer[map[string]*zone] // replaced, never written to

	mu    sync.Mutex // guards what follows, what zones say is guarded, and replacing zones
	store SaltStore  // nil until Attach
	known bool       // the store's salts were loaded
	dirty bool       // the snapshot does not hold what memory holds

	failures *prometheus.CounterVec
}

// OpenKeeper reads the snapshot file at path, if there is one, so that
// pseudonyms go on where the last process stopped. A damaged snapshot is
// reported, destroyed and done without. An empty path keeps salts in memory
// only: a restart then counts visitors anew.
func OpenKeeper(path string, logger *slog.Logger, registerer prometheus.Registerer) (*Keeper, error) {
	k := &Keeper{
		logger: logger,
		wake:   make(chan struct{}, 1),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "halfmask_anonymize_salt_failures_total",
			Help: "Times the salts could not be loaded from, added to or dropped from the store, or written to the snapshot file.",
		}, []string{"step"}),
	}
	k.zones.Store(&map[string]*zone{})
	for _, step := range []string{"load", "add", "drop", "snapshot"} {
		k.failures.WithLabelValues(step)
	}
	salts := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "halfmask_anonymize_salts",
		Help: "Salts kept in memory: at most yesterday's, today's and tomorrow's of each time zone in use.",
	}, func() float64 { return float64(k.count()) })
	if err := errors.Join(registerer.Register(k.failures), registerer.Register(salts)); err != nil {
		return nil, fmt.Errorf("cannot register the salts' metrics: %w", err)
	}
	if path == "" {
		return k, nil
	}
	k.file = &snapshot{path: path}
	kept, err := k.file.read()
	switch {
	case errors.Is(err, errDamaged):
		logger.Warn("the snapshot of the salts was damaged and is gone; visitors of today may count twice unless storage has the salts", "path", path)
	case err != nil:
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range kept {
		k.adopt(s, false)
	}
	k.tend(time.Now())
	return k, nil
}

// Close writes the snapshot and destroys the salts in memory. Call it when no
// hit is masked any more and Run has returned.
func (k *Keeper) Close() error {
	err := k.save()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, z := range *k.zones.Load() {
		z.turn.Store(nil)
		for _, s := range z.salts {
			s.destroy()
		}
	}
	k.zones.Store(&map[string]*zone{})
	return err
}

// Ensure prepares a site's time zone, so that its first hit finds the salts in
// place. nil means UTC, as it does for a time.Location.
func (k *Keeper) Ensure(loc *time.Location) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.turn(k.want(loc), time.Now())
	k.tend(time.Now())
	k.nudge()
}

// keyring is what one hit needs: the pseudonym's key and, soon after midnight,
// yesterday's.
type keyring struct {
	day         event.Day
	current     key
	previous    key
	hasPrevious bool
}

// keys returns the keys for a hit at a site in zone loc. It takes no lock
// unless the day has just turned or the zone is new.
func (k *Keeper) keys(loc *time.Location, at time.Time) keyring {
	now := at.Unix()
	var t *turn
	if z := (*k.zones.Load())[loc.String()]; z != nil {
		t = z.turn.Load()
	}
	for {
		if t != nil && now >= t.from && now < t.until {
			ring := keyring{day: t.day}
			ok := false
			if ring.current, ok = t.current.key(); ok {
				if now < t.grace && t.previous != nil {
					ring.previous, ring.hasPrevious = t.previous.key()
				}
				return ring
			}
		}
		k.mu.Lock()
		t = k.turn(k.want(loc), at)
		k.mu.Unlock()
	}
}

// want returns the zone, added if it is new. The caller holds mu.
func (k *Keeper) want(loc *time.Location) *zone {
	if loc == nil {
		loc = time.UTC
	}
	name := loc.String()
	z := (*k.zones.Load())[name]
	if z == nil {
		z = k.add(name, loc)
	}
	if !z.wanted {
		z.wanted, z.loc = true, loc
		z.turn.Store(nil)
	}
	return z
}

// add publishes a new zone. The caller holds mu.
func (k *Keeper) add(name string, loc *time.Location) *zone {
	z := &zone{name: name, loc: loc}
	zones := maps.Clone(*k.zones.Load())
	zones[name] = z
	k.zones.Store(&zones)
	return z
}

// turn publishes what hits at the given instant need. The caller holds mu.
func (k *Keeper) turn(z *zone, at time.Time) *turn {
	t, made := z.turnAt(at)
	z.turn.Store(t)
	if made {
		k.dirty = true
		k.nudge()
	}
	return t
}

// tend makes the salts that are due and destroys those that are. The caller
// holds mu.
func (k *Keeper) tend(now time.Time) {
	for _, z := range *k.zones.Load() {
		made, destroyed := z.tend(now)
		k.dirty = k.dirty || made || destroyed
	}
}

// adopt takes a salt from the snapshot, or with counts set from the store,
// whose word is final. It returns whether a different salt was in use. The
// caller holds mu.
func (k *Keeper) adopt(s Salt, counts bool) (replaced bool) {
	z := (*k.zones.Load())[s.Zone]
	if z == nil {
		loc, err := time.LoadLocation(s.Zone)
		if err != nil {
			// No zone is further behind, so the salt lives no shorter than it must.
			loc = time.FixedZone(s.Zone, -12*3600)
		}
		z = k.add(s.Zone, loc)
	}
	old := z.salt(s.Day)
	fresh := newSalt(s)
	fresh.agreed = counts
	if old != nil {
		if same, _ := old.key(); same == fresh.secret() {
			old.agreed = old.agreed || counts
			return false
		}
		old.destroy()
		z.salts = slices.DeleteFunc(z.salts, func(s *salt) bool { return s == old })
	}
	z.insert(fresh)
	z.turn.Store(nil)
	k.dirty = true
	return old != nil
}

// nudge wakes Run, which may be busy already.
func (k *Keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *Keeper) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, z := range *k.zones.Load() {
		n += len(z.salts)
	}
	return n
}
