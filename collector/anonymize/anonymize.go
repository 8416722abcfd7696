// Package anonymize is the last room that sees an address. It turns address,
// user agent and the day's salt into the half of the address that is kept, a
// pseudonym that dies with the salt, and a place no finer than a city.
//
// It promises that nothing it hands on can hold a whole address, that a salt
// older than yesterday is gone from memory, from its file and from the store,
// and that a pseudonym is never derived with a salt that was destroyed. It
// never logs, counts or stores an address, a user agent or a salt.
package anonymize

import (
	"encoding/binary"
	"net/netip"

	"github.com/halfmask/halfmask/event"
)

// Options are what a Masker works with.
type Options struct {
	Salts  *Keeper // required
	Places *Places // nil: every place is unknown
}

// Masker fills in what is kept of an address. It is safe for concurrent use,
// takes no lock except in the instant a site's day turns, and allocates
// nothing.
type Masker struct {
	salts  *Keeper
	places *Places
}

// New returns a Masker.
func New(o Options) *Masker {
	return &Masker{salts: o.Salts, places: o.Places}
}

// Mask derives Day, Network, Visitor, Previous and Place of a hit from its
// instant, site and user agent and from the client's address, of which nothing
// else remains. It returns false, and leaves the hit alone, if the address is
// not valid: such a hit must be dropped, never passed on.
func (m *Masker) Mask(hit *event.Hit, addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return false
	}
	whole := addr.As16()
	if addr.Is4() {
		hit.Network = event.NetworkV4(whole[12], whole[13])
	} else {
		hit.Network = event.NetworkV6(whole[0], whole[1], whole[2], whole[3])
	}

	keys := m.salts.keys(hit.Site.Zone, hit.At)
	hit.Day = keys.day
	who := identity{
		site: uint64(hit.Site.ID),
		high: binary.BigEndian.Uint64(whole[:8]),
		low:  binary.BigEndian.Uint64(whole[8:]),
	}
	hit.Visitor = who.visitor(keys.current, string(hit.UserAgent))
	hit.Previous = 0
	if keys.hasPrevious {
		hit.Previous = who.visitor(keys.previous, string(hit.UserAgent))
	}

	hit.Place = event.Place{}
	if m.places != nil {
		hit.Place = m.places.find(addr)
	}
	return true
}
