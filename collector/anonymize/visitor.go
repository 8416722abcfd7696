package anonymize

import (
	"math/bits"

	"github.com/halfmask/halfmask/event"
)

// key is a salt as SipHash takes it.
type key struct{ k0, k1 uint64 }

// identity is what tells a visitor apart, beside the user agent.
type identity struct {
	site      uint64
	high, low uint64 // the 16 bytes of the address; IPv4 in its mapped form
}

// visitor returns SipHash-2-4 (Aumasson and Bernstein, 2012) of site, address
// and user agent, the integers as 8 little-endian bytes each. It is written
// out here because a library wants the message in one piece, which a user
// agent of any length would not be without a copy on the heap. The three
// integers have a fixed length, so no two identities share a message.
func (i identity) visitor(k key, userAgent string) event.VisitorID {
	s := sip{
		k.k0 ^ 0x736f6d6570736575,
		k.k1 ^ 0x646f72616e646f6d,
		k.k0 ^ 0x6c7967656e657261,
		k.k1 ^ 0x7465646279746573,
	}
	s = s.word(i.site).word(i.high).word(i.low)
	last := uint64(24+len(userAgent)) << 56
	for len(userAgent) >= 8 {
		b := userAgent[:8]
		s = s.word(uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56)
		userAgent = userAgent[8:]
	}
	for n := range len(userAgent) {
		last |= uint64(userAgent[n]) << (8 * n)
	}
	s = s.word(last)
	s.c ^= 0xff
	s = s.round().round().round().round()
	// 0 means no visitor, so it may not be one's hash.
	return event.VisitorID(max(s.a^s.b^s.c^s.d, 1))
}

// sip is SipHash's state.
type sip struct{ a, b, c, d uint64 }

func (s sip) word(m uint64) sip {
	s.d ^= m
	s = s.round().round()
	s.a ^= m
	return s
}

func (s sip) round() sip {
	s.a += s.b
	s.b = bits.RotateLeft64(s.b, 13) ^ s.a
	s.a = bits.RotateLeft64(s.a, 32)
	s.c += s.d
	s.d = bits.RotateLeft64(s.d, 16) ^ s.c
	s.a += s.d
	s.d = bits.RotateLeft64(s.d, 21) ^ s.a
	s.c += s.b
	s.b = bits.RotateLeft64(s.b, 17) ^ s.c
	s.c = bits.RotateLeft64(s.c, 32)
	return s
}
