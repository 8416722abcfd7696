package collector

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"
)

// rate bounds how many events a second one network may send: the /16 of an
// IPv4 address or the /32 of an IPv6 address, which is what is kept of an
// address in any case. It remembers a moment per network and no address, in a
// megabyte whatever comes, without a lock.
//
// It is a token bucket told as a moment (the generic cell rate algorithm): each
// event pushes the moment at which its network is even by 1/limit seconds, and
// none is admitted that would push it further than two seconds ahead.
type rate struct {
	start time.Time
	cost  int64 // nanoseconds of one event
	seed  uint64
	v4    [1 << 16]atomic.Int64 // one for every /16: nanoseconds after start
	v6    [1 << 16]atomic.Int64 // by a hash of the /32: that two share one is rare, and cannot be aimed at
}

// burst is what a network may send at once, in nanoseconds' worth of events.
const burst = int64(2 * time.Second)

// newRate returns nil, which admits everything, if perSecond is 0 or less.
func newRate(perSecond int, now time.Time) *rate {
	if perSecond <= 0 {
		return nil
	}
	return &rate{start: now, cost: max(1, int64(time.Second)/int64(perSecond)), seed: rand.Uint64() | 1}
}

// admit reports whether a network may send an event now, and counts it if so.
// This machine itself, where a load test or a proxy that nobody named yet may
// be, is never refused.
func (r *rate) admit(addr netip.Addr, now time.Time) bool {
	if r == nil || !addr.IsValid() || addr.IsLoopback() {
		return true
	}
	even, at := r.network(addr), int64(now.Sub(r.start))
	for {
		before := even.Load()
		after := max(before, at) + r.cost
		if after > at+burst {
			return false
		}
		if even.CompareAndSwap(before, after) {
			return true
		}
	}
}

// charge counts n more events of a beacon that was admitted as one.
func (r *rate) charge(addr netip.Addr, n int) {
	if r != nil && n > 0 && addr.IsValid() && !addr.IsLoopback() {
		r.network(addr).Add(r.cost * int64(n))
	}
}

// network finds the moment at which a network is even.
func (r *rate) network(addr netip.Addr) *atomic.Int64 {
	if addr.Is4() {
		whole := addr.As4()
		return &r.v4[binary.BigEndian.Uint16(whole[:2])]
	}
	whole := addr.As16()
	return &r.v6[uint64(binary.BigEndian.Uint32(whole[:4]))*r.seed>>48]
}
