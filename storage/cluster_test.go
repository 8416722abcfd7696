//go:build cluster

package storage

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/halfmask/halfmask/collector/anonymize"
	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/batch"
	"github.com/halfmask/halfmask/ingest/record"
	"github.com/halfmask/halfmask/ingest/spool"
	"github.com/halfmask/halfmask/internal/testkit"
	"github.com/halfmask/halfmask/internal/testkit/cluster"
)

// startCluster starts two replicas for tests that `make test-cluster` runs: they
// need ZooKeeper, and the engine's build that the rig knows.
func startCluster(t *testing.T) *cluster.Cluster {
	t.Helper()
	library, err := testkit.Library()
	if err != nil {
		t.Fatal(err)
	}
	return cluster.Start(t, library)
}

func openCluster(t *testing.T, hosts, parameters string) *Store {
	t.Helper()
	o, err := ParseDSN("clickhouse://"+cluster.User+":"+cluster.Password+"@"+hosts+"/halfmask"+parameters, cluster.Name)
	if err != nil {
		t.Fatal(err)
	}
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestAClusterOfReplicas(t *testing.T) {
	c := startCluster(t)
	s := openCluster(t, c.Hosts(), "")
	for range 2 {
		if err := s.Migrate(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	one, two := openCluster(t, c.Replicas[0].Address(), ""), openCluster(t, c.Replicas[1].Address(), "")
	tables := "SELECT arrayStringConcat(arraySort(groupArray(name)), ' ') FROM system.tables WHERE database = 'halfmask' AND engine LIKE 'Replicated%'"
	if a, b := ask[string](t, one, tables), ask[string](t, two, tables); a != b || !strings.Contains(a, "events") || strings.Count(a, " ") != 8 {
		t.Errorf("the replicas have the tables %q and %q", a, b)
	}

	// What is acknowledged is on both, and known by its token to both.
	events := daysAgo(100, 1, 2)
	all := map[event.Day]uint64{day(1): 100, day(2): 100}
	b := batchOf(s, 1, "t", events...)
	insert(t, one, b, map[event.Day]bool{day(1): true})
	for name, s := range map[string]*Store{"one": one, "two": two} {
		if got := stored(t, s, 1); !maps.Equal(got, map[event.Day]uint64{day(1): 100}) {
			t.Errorf("replica %s has %v of an acknowledged batch", name, got)
		}
	}
	insert(t, two, b, nil)
	for _, r := range c.Replicas { // whatever is restarted
		r.Kill()
	}
	for _, r := range c.Replicas {
		r.Start(t)
	}
	writable(t, one, two)
	insert(t, one, b, nil)
	insert(t, two, b, nil)
	if got := stored(t, two, 1); !maps.Equal(got, all) {
		t.Errorf("one batch, inserted by two through two replicas before and after a crash: %v, want %v", got, all)
	}

	registryOfACluster(t, one, two)
	if err := one.ConfirmClock(t.Context(), time.Now()); err != nil { // the newest event is of yesterday
		t.Error(err)
	}
	eventually(t, "broken connections are replaced and Retain passes", func() bool {
		return s.Retain(t.Context(), time.Now()) == nil
	})
	for name, want := range map[string]string{"sharded": "2 shards", "nowhere": "it knows: sharded, two"} {
		s.options.Cluster = name
		if err := s.Migrate(t.Context(), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("cluster %s: %v", name, err)
		}
	}
}

// registryOfACluster adds through one replica what the other must not add again.
func registryOfACluster(t *testing.T, one, two *Store) {
	t.Helper()
	salt := anonymize.Salt{Zone: "UTC", Day: 5, Key: [16]byte{1}, Created: noon()}
	first, err := one.AddSalt(t.Context(), salt)
	if err != nil {
		t.Fatal(err)
	}
	salt.Key[0] = 2
	if second, err := two.AddSalt(t.Context(), salt); err != nil || second.Key != first.Key {
		t.Errorf("two collectors have the salts %v and %v (%v)", first.Key, second.Key, err)
	}
	if _, err := one.AddSite(t.Context(), "example.com", "UTC"); err != nil {
		t.Error(err)
	}
	if _, err := two.AddSite(t.Context(), "example.com", "UTC"); err == nil {
		t.Error("a site was added twice")
	}
	if err := one.DropSalts(t.Context(), "UTC", 6); err != nil {
		t.Error(err)
	}
	for _, s := range []*Store{one, two} {
		eventually(t, "the salt is gone", func() bool { return ask[uint64](t, s, "SELECT count() FROM salts") == 0 })
	}
}

// writable waits until the replicas have found Keeper and each other again.
func writable(t *testing.T, all ...*Store) {
	t.Helper()
	for _, s := range all {
		eventually(t, "the replicas are back", func() bool {
			var ok bool
			_, err := s.one(t.Context(), statement{name: "test", sql: "SELECT countIf(is_readonly OR active_replicas < 2) = 0 FROM system.replicas"}, &ok)
			return err == nil && ok
		})
	}
}

// Replicas are killed at random, sometimes both, while two collectors ship: at the
// end every event is stored once, on each.
func TestAClusterKilledAtRandom(t *testing.T) {
	c := startCluster(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	if err := openCluster(t, c.Hosts(), "").Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	const collectors, kills = 2, 6
	var loads []*shipping
	for n := range collectors {
		loads = append(loads, ship(t, openCluster(t, c.Hosts(), ""), n))
	}
	for range kills {
		time.Sleep(time.Duration(random.IntN(800)) * time.Millisecond)
		victims := c.Replicas[:]
		if random.IntN(4) > 0 {
			victims = victims[random.IntN(2):][:1]
		}
		for _, r := range victims {
			r.Kill()
		}
		time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
		for _, r := range victims {
			r.Start(t)
		}
	}
	one, two := openCluster(t, c.Replicas[0].Address(), ""), openCluster(t, c.Replicas[1].Address(), "")
	writable(t, one, two)
	sent := uint64(0)
	for _, l := range loads {
		sent += l.end(t)
	}
	for name, s := range map[string]*Store{"one": one, "two": two} {
		if err := s.catchUp(t.Context(), "events"); err != nil {
			t.Error(err)
		}
		rows, different := ask[uint64](t, s, "SELECT count() FROM events"), ask[uint64](t, s, "SELECT uniqExact(visitor, visit) FROM events")
		t.Logf("replica %s: %d rows, %d different, of %d events", name, rows, different, sent)
		if rows != sent || different != sent {
			t.Errorf("replica %s stores %d rows, %d of them different, of %d events", name, rows, different, sent)
		}
	}
}

// shipping is a collector without its door.
type shipping struct {
	spool   *spool.Spool
	shipper *batch.Shipper
	stop    context.CancelFunc
	sent    chan uint64
	ran     chan error
}

func ship(t *testing.T, s *Store, collector int) *shipping {
	t.Helper()
	l := &shipping{sent: make(chan uint64, 1), ran: make(chan error, 1)}
	var err error
	if l.spool, err = spool.Open(spool.Options{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	l.shipper = batch.New(batch.Options{Source: l.spool, Sink: s, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ctx, cancel := context.WithCancel(t.Context())
	l.stop = cancel
	go func() { l.ran <- l.shipper.Run(context.WithoutCancel(ctx)) }()
	go func() {
		n := uint64(0)
		for ctx.Err() == nil {
			e := event.Event{At: time.Now().AddDate(0, 0, -int(n%2)), Site: 1, Kind: event.Pageview, Visitor: event.VisitorID(collector), Visit: event.VisitID(n), Path: fmt.Sprintf("/%d", n%50)}
			if _, err := l.spool.Append(record.Append(nil, &e)); err != nil {
				t.Error(err)
				break
			}
			n++
			time.Sleep(time.Millisecond)
		}
		l.sent <- n
	}()
	return l
}

func (l *shipping) end(t *testing.T) uint64 {
	t.Helper()
	l.stop()
	sent := <-l.sent
	deadline, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := l.shipper.Drain(deadline); err != nil {
		t.Error(err)
	}
	if err := <-l.ran; err != nil {
		t.Error(err)
	}
	if err := l.spool.Close(); err != nil {
		t.Error(err)
	}
	return sent
}

// While most replicas are up everything goes on through those; what was
// acknowledged is not lost with one of them.
func TestAClusterLosesAReplica(t *testing.T) {
	c := startCluster(t)
	s := openCluster(t, c.Hosts(), "")
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	insert(t, s, batchOf(s, 1, "t1", daysAgo(10, 1)...), nil)
	c.Replicas[0].Kill() // the one that was written to
	eventually(t, "the other one answers", func() bool {
		days, err := s.Stored(t.Context(), 7, 1)
		return err == nil && days[day(1)] == 10
	})
	short, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Insert(short, batchOf(s, 2, "t2", daysAgo(10, 1)...), nil); err == nil {
		t.Error("a batch was acknowledged that one replica of two has")
	} else {
		t.Log(err)
	}
	alone := openCluster(t, c.Hosts(), "?quorum=1")
	insert(t, alone, batchOf(alone, 3, "t3", daysAgo(10, 1)...), nil)
	if _, err := s.AddSite(t.Context(), "example.com", ""); err != nil {
		t.Errorf("a site cannot be added meanwhile: %v", err)
	}
	c.Replicas[0].Start(t)
	writable(t, alone)
	insert(t, s, batchOf(s, 2, "t2", daysAgo(10, 1)...), nil)
	for seq := uint64(1); seq <= 3; seq++ {
		if got := stored(t, s, seq)[day(1)]; got != 10 {
			t.Errorf("batch %d has %d rows of 10", seq, got)
		}
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
