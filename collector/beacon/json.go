package beacon

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
	"unsafe"
)

// kind is the type of a JSON value.
type kind uint8

const (
	absent kind = iota // zero: the key did not come up
	null
	falsity
	truth
	number
	text
	object
	array
)

// value is where a JSON value lies in the scanned string. For text that is
// between the quotes, for everything else the whole literal. Positions are 32
// bits wide because a parser clears one value per known key.
type value struct {
	lo, hi  int32
	kind    kind
	escaped bool // text: has a backslash
	plain   bool // text: printable ASCII without a backslash
}

// scanner reads RFC 8259 JSON strictly, in one pass and without allocating. It
// checks everything, also what nobody asked for: the structure, the numbers,
// UTF-8 and the escapes. A lone surrogate escape passes, because
// JSON.stringify writes one where a script cut a string in half.
type scanner struct {
	s  string
	at int
}

// space skips white space, of which scripts send none.
func (s *scanner) space() {
	if s.at < len(s.s) && s.s[s.at] <= ' ' {
		s.spaces()
	}
}

func (s *scanner) spaces() {
	for s.at < len(s.s) {
		switch s.s[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// peek returns the byte at hand, or 0 at the end: 0 is never valid JSON.
func (s *scanner) peek() byte {
	if s.at < len(s.s) {
		return s.s[s.at]
	}
	return 0
}

// wrong is the fault of an unexpected byte, which may be the end.
func (s *scanner) wrong() fault {
	if s.at >= len(s.s) {
		return truncated
	}
	return malformed
}

// end checks that nothing but white space is left.
func (s *scanner) end() fault {
	s.space()
	if s.at < len(s.s) {
		return trailing
	}
	return fine
}

// open enters the object at hand.
func (s *scanner) open() fault {
	if s.peek() != '{' {
		return s.wrong()
	}
	s.at++
	return fine
}

// member reads up to the next member's value and sets key; done is true after
// the object's last member, with the closing brace read. first says whether
// the object was just opened.
func (s *scanner) member(first bool, key *value) (done bool, f fault) {
	s.space()
	c := s.peek()
	if c == '}' {
		s.at++
		return true, fine
	}
	if !first {
		if c != ',' {
			return false, s.wrong()
		}
		s.at++
		s.space()
		c = s.peek()
	}
	if c != '"' {
		return false, s.wrong()
	}
	if f := s.text(key); f != fine {
		return false, f
	}
	s.space()
	if s.peek() != ':' {
		return false, s.wrong()
	}
	s.at++
	s.space()
	return false, fine
}

// value reads the value at hand, which lies depth containers deep.
func (s *scanner) value(v *value, depth int) fault {
	switch s.peek() {
	case '"':
		return s.text(v)
	case '{', '[':
		return s.container(v, depth)
	case 't':
		return s.literal(v, "true", truth)
	case 'f':
		return s.literal(v, "false", falsity)
	case 'n':
		return s.literal(v, "null", null)
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return s.number(v)
	}
	return s.wrong()
}

func (s *scanner) literal(v *value, word string, k kind) fault {
	*v = value{lo: int32(s.at), hi: int32(s.at + len(word)), kind: k}
	rest := s.s[s.at:]
	if len(rest) >= len(word) && rest[:len(word)] == word {
		s.at += len(word)
		return fine
	}
	if len(rest) < len(word) && word[:len(rest)] == rest {
		return truncated
	}
	return malformed
}

// container checks the object or array at hand without keeping its contents.
// Recursion is bounded by MaxDepth.
func (s *scanner) container(v *value, depth int) fault {
	if depth >= MaxDepth {
		return tooDeep
	}
	lo := s.at
	var inner value
	if s.peek() == '{' {
		s.at++
		for first := true; ; first = false {
			done, f := s.member(first, &inner)
			if f != fine {
				return f
			}
			if done {
				*v = value{lo: int32(lo), hi: int32(s.at), kind: object}
				return fine
			}
			if f := s.value(&inner, depth+1); f != fine {
				return f
			}
		}
	}
	s.at++
	s.space()
	if s.peek() == ']' {
		s.at++
		*v = value{lo: int32(lo), hi: int32(s.at), kind: array}
		return fine
	}
	for {
		s.space()
		if f := s.value(&inner, depth+1); f != fine {
			return f
		}
		s.space()
		switch s.peek() {
		case ',':
			s.at++
		case ']':
			s.at++
			*v = value{lo: int32(lo), hi: int32(s.at), kind: array}
			return fine
		default:
			return s.wrong()
		}
	}
}

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (s *scanner) number(v *value) fault {
	lo := s.at
	if s.peek() == '-' {
		s.at++
	}
	if s.peek() == '0' {
		s.at++
	} else if !s.digits() {
		return s.wrong()
	}
	if s.peek() == '.' {
		s.at++
		if !s.digits() {
			return s.wrong()
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		if !s.digits() {
			return s.wrong()
		}
	}
	*v = value{lo: int32(lo), hi: int32(s.at), kind: number}
	return fine
}

func (s *scanner) digits() bool {
	lo := s.at
	for s.at < len(s.s) && s.s[s.at]-'0' <= 9 {
		s.at++
	}
	return s.at > lo
}

// text reads the string at hand.
func (s *scanner) text(v *value) fault {
	s.at++
	*v = value{lo: int32(s.at), kind: text, plain: true}
	for {
		s.at = skipPlain(s.s, s.at)
		if s.at >= len(s.s) {
			return truncated
		}
		switch c := s.s[s.at]; {
		case c == '"':
			v.hi = int32(s.at)
			s.at++
			return fine
		case c == '\\':
			v.escaped, v.plain = true, false
			if f := s.escape(); f != fine {
				return f
			}
		case c < ' ':
			return malformed
		case c < utf8.RuneSelf: // DEL
			v.plain = false
			s.at++
		default:
			v.plain = false
			r, size := utf8.DecodeRuneInString(s.s[s.at:])
			if r == utf8.RuneError && size <= 1 {
				if !utf8.FullRuneInString(s.s[s.at:]) {
					return truncated
				}
				return badUTF8
			}
			s.at += size
		}
	}
}

// escape checks the escape at hand.
func (s *scanner) escape() fault {
	s.at++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.at++
		return fine
	case 'u':
		s.at++
		for range 4 {
			if hexValue(s.peek()) > 15 {
				return s.wrong()
			}
			s.at++
		}
		return fine
	}
	return s.wrong()
}

// skipPlain returns the position of the first byte from at on that is not
// printable ASCII or is a quote or a backslash. Eight bytes are looked at in
// one step, which is most of the scanner's speed. The lowest byte that a mask
// marks is always a true hit: borrows and carries only reach higher bytes.
func skipPlain(s string, at int) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for at+8 <= len(s) {
		x := binary.LittleEndian.Uint64(unsafe.Slice(unsafe.StringData(s[at:]), 8))
		quote := x ^ ones*'"'
		slash := x ^ ones*'\\'
		mask := ((x - ones*' ') &^ x) | ((quote - ones) &^ quote) | ((slash - ones) &^ slash) | x | (x + ones)
		if mask &= high; mask != 0 {
			return at + bits.TrailingZeros64(mask)/8
		}
		at += 8
	}
	for at < len(s) && s[at] >= ' ' && s[at] < 0x7f && s[at] != '"' && s[at] != '\\' {
		at++
	}
	return at
}

// hexValue returns the value of a hexadecimal digit, or 255.
func hexValue(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
