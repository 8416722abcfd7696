package event

import (
	"strconv"
	"unsafe"
)

// Network is the half of an address that is kept: the /16 of an IPv4 address,
// the /32 of an IPv6 address (a /48 is one household, a /32 one provider: the
// true equal of an IPv4 /16). It can only be made from the bytes that are
// kept, so a whole address never gets in. The zero value means unknown.
type Network struct {
	family uint8 // 0, 4 or 6
	a, b   uint8 // both families
	c, d   uint8 // IPv6 only; 0 for IPv4
}

// A Network has no room for a whole address beside its family: this stops
// compiling if somebody makes some.
var _ [5]byte = [unsafe.Sizeof(Network{})]byte{}

// NetworkV4 is the /16 a.b.0.0.
func NetworkV4(a, b uint8) Network { return Network{family: 4, a: a, b: b} }

// NetworkV6 is the /32 whose four bytes are given.
func NetworkV6(a, b, c, d uint8) Network { return Network{family: 6, a: a, b: b, c: c, d: d} }

// Bytes returns the family (0, 4 or 6) and the four prefix bytes, the last two
// 0 for IPv4. With NetworkV4 and NetworkV6 it is how a Network is encoded.
func (n Network) Bytes() (family uint8, prefix [4]byte) {
	return n.family, [4]byte{n.a, n.b, n.c, n.d}
}

// String returns the network as people are shown it: "203.0.x.x",
// "2001:db8:x" or "".
func (n Network) String() string { return string(n.AppendText(nil)) }

// AppendText appends String's result to dst without allocating.
func (n Network) AppendText(dst []byte) []byte {
	switch n.family {
	case 4:
		dst = strconv.AppendUint(dst, uint64(n.a), 10)
		dst = append(dst, '.')
		dst = strconv.AppendUint(dst, uint64(n.b), 10)
		return append(dst, ".x.x"...)
	case 6:
		dst = strconv.AppendUint(dst, uint64(n.a)<<8|uint64(n.b), 16)
		dst = append(dst, ':')
		dst = strconv.AppendUint(dst, uint64(n.c)<<8|uint64(n.d), 16)
		return append(dst, ":x"...)
	}
	return dst
}
