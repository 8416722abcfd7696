package anonymize

import (
	"math"
	"net/netip"

	"github.com/oschwald/maxminddb-golang/v2"
)

// ranges is a database's tree of IPv4 networks laid flat, in address order. The
// tree takes a step, and mostly a cache miss, for each bit of an address; this
// takes two or three. It holds the networks of the file and nothing about who
// was looked up. With a Country database it takes about 2 MB, with a City
// database about 30.
type ranges struct {
	first  []uint32 // by the address's upper half: index of its first range
	starts []uint16 // lower half at which a range starts, 0 for the first of each upper half
	record []uint32 // where its record is in the file; none
}

// none is no record: nothing in the file lies there.
const none = math.MaxUint32

// layFlat reads a database's tree. It returns nil if the file is too large for
// offsets of 32 bits, or damaged: then the tree is asked, which says so.
func layFlat(reader *maxminddb.Reader) *ranges {
	r := &ranges{first: make([]uint32, 0, 1<<16+1)}
	next := uint64(0) // first address after the ranges so far
	for found := range reader.NetworksWithin(netip.PrefixFrom(netip.IPv4Unspecified(), 0)) {
		prefix, offset := found.Prefix(), found.Offset()
		if found.Err() != nil || !prefix.Addr().Is4() || uint64(offset) >= none {
			return nil
		}
		b := prefix.Addr().As4()
		start := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
		if start < next {
			return nil
		}
		r.add(next, start, none)
		next = start + 1<<(32-prefix.Bits())
		r.add(start, next, uint32(offset))
	}
	r.add(next, 1<<32, none)
	r.first = append(r.first, uint32(len(r.starts)))
	return r
}

// add appends the addresses from start up to end.
func (r *ranges) add(start, end uint64, record uint32) {
	for start < end {
		if start&0xffff == 0 {
			r.first = append(r.first, uint32(len(r.starts)))
		} else if r.record[len(r.record)-1] == record {
			start = min(end, start|0xffff+1)
			continue
		}
		r.starts = append(r.starts, uint16(start))
		r.record = append(r.record, record)
		start = min(end, start|0xffff+1)
	}
}

// find returns where an IPv4 address's record is, or none.
func (r *ranges) find(addr [4]byte) uint32 {
	upper, lower := uint32(addr[0])<<8|uint32(addr[1]), uint16(addr[2])<<8|uint16(addr[3])
	low, high := r.first[upper], r.first[upper+1]
	for high-low > 1 {
		if middle := (low + high) / 2; r.starts[middle] <= lower {
			low = middle
		} else {
			high = middle
		}
	}
	return r.record[low]
}
