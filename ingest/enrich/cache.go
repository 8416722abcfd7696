package enrich

import (
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"

	"github.com/halfmask/halfmask/event"
)

// ways is how many places an agent may be in. Two cache lines of pointers.
const ways = 8

// cache remembers user agents in a fixed number of sets of a few places each.
// Reading takes no lock and writes nothing but, once, a mark that the entry
// was asked for again. A new entry takes the place of one without the mark,
// so that a flood of agents seen once pushes out its own, and not those that
// people use. The hash is seeded, so nobody can aim at a set.
type cache struct {
	seed maphash.Seed
	mask uint64
	sets [][ways]atomic.Pointer[agentEntry]
}

// agentEntry is what is known of a user agent. It is immutable but for again.
type agentEntry struct {
	hash   uint64
	agent  string
	client event.Client
	bot    bool
	again  atomic.Bool
}

// newCache returns a cache for at least n agents, rounded up to a power of two.
func newCache(n int) *cache {
	sets := 1 << bits.Len(uint(max(1, n/ways)-1))
	return &cache{seed: maphash.MakeSeed(), mask: uint64(sets - 1), sets: make([][ways]atomic.Pointer[agentEntry], sets)}
}

func (c *cache) get(hash uint64, agent string) *agentEntry {
	set := &c.sets[hash&c.mask]
	for i := range set {
		e := set[i].Load()
		if e == nil || e.hash != hash || e.agent != agent {
			continue
		}
		if !e.again.Load() {
			e.again.Store(true)
		}
		return e
	}
	return nil
}

// put adds an entry. Two that race for a place are no harm: one is forgotten.
func (c *cache) put(fresh *agentEntry) {
	set := &c.sets[fresh.hash&c.mask]
	start := rand.IntN(ways)
	for n := range ways {
		place := &set[(start+n)%ways]
		old := place.Load()
		if old == nil || !old.again.Load() {
			place.CompareAndSwap(old, fresh)
			return
		}
	}
	// All were asked for again: that was long ago for some, so all have to show
	// it anew.
	for i := range set {
		set[i].Load().again.Store(false)
	}
	set[start].Store(fresh)
}
