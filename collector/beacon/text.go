package beacon

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// keep is the one gate, with keepPath, through which every string of a Beacon
// passes, and so the place for whatever must not be kept. It replaces each
// unwanted character with a space and trims white space: a site owner expects
// "Sign up" from "Sign\u0000up\n", and no refusal.
//
// plain says that s is known to be printable ASCII, as nearly everything is:
// then there is nothing to look for.
func (b *Beacon) keep(s string, plain bool) string {
	if !plain {
		return strings.TrimSpace(b.clean(s))
	}
	for len(s) > 0 && s[0] == ' ' {
		s = s[1:]
	}
	for len(s) > 0 && s[len(s)-1] == ' ' {
		s = s[:len(s)-1]
	}
	return s
}

// keepPath does the same for a path, whose leading space would mean something.
func (b *Beacon) keepPath(s string, plain bool) string {
	if plain && (s == "" || s[len(s)-1] != ' ') {
		return s
	}
	return strings.TrimRightFunc(b.clean(s), unicode.IsSpace)
}

// clean replaces each unwanted character of s, which is valid UTF-8, with a
// space.
func (b *Beacon) clean(s string) string {
	at := skipWanted(s, 0)
	if at == len(s) {
		return s
	}
	from := len(b.scratch)
	for done := 0; ; {
		b.scratch = append(b.scratch, s[done:at]...)
		if at == len(s) {
			return b.since(from)
		}
		_, size := utf8.DecodeRuneInString(s[at:])
		b.scratch = append(b.scratch, ' ')
		done = at + size
		at = skipWanted(s, done)
	}
}

// skipWanted returns the position of the first unwanted character from at on.
func skipWanted(s string, at int) int {
	for {
		at = skipPlain(s, at)
		if at == len(s) {
			return at
		}
		r, size := utf8.DecodeRuneInString(s[at:])
		if unwanted(r) {
			return at
		}
		at += size
	}
}

// unwanted reports whether r is a control character, a line separator or an
// override of the writing direction, none of which has a place in a report.
func unwanted(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r < 0xa0:
		return true
	case r < 0x2028:
		return false
	}
	return r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// cut shortens s, which is valid UTF-8, to at most n bytes of whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// lower returns s with ASCII letters in lower case.
func (b *Beacon) lower(s string) string {
	first := skipTo(s, 0, upper)
	if first == len(s) {
		return s
	}
	from := len(b.scratch)
	b.scratch = append(b.scratch, s...)
	for i := from + first; i < len(b.scratch); i++ {
		if classes[b.scratch[i]]&upper != 0 {
			b.scratch[i] |= 0x20
		}
	}
	return b.since(from)
}

// since returns the scratch space's bytes from position from on. They are
// never written again before the Beacon is reset, also not when the scratch
// space moves as it grows.
func (b *Beacon) since(from int) string {
	if from == len(b.scratch) {
		return ""
	}
	return unsafe.String(&b.scratch[from], len(b.scratch)-from)
}

// borrow returns body as a string without copying it.
func borrow(body []byte) string { return unsafe.String(unsafe.SliceData(body), len(body)) }

// unescape returns the contents of a JSON string that the scanner has checked.
// A lone surrogate becomes U+FFFD, as in encoding/json.
func (b *Beacon) unescape(s string) string {
	from := len(b.scratch)
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			b.scratch = append(b.scratch, s...)
			return b.since(from)
		}
		b.scratch = append(b.scratch, s[:i]...)
		c := s[i+1]
		s = s[i+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(s)
			s = s[4:]
			if utf16.IsSurrogate(r) {
				pair := rune(unicode.ReplacementChar)
				if len(s) >= 6 && s[0] == '\\' && s[1] == 'u' {
					pair = utf16.DecodeRune(r, hex4(s[2:]))
				}
				if pair != unicode.ReplacementChar {
					s = s[6:]
				}
				r = pair
			}
			b.scratch = utf8.AppendRune(b.scratch, r)
			continue
		}
		b.scratch = append(b.scratch, c)
	}
}

func hex4(s string) rune {
	return rune(hexValue(s[0]))<<12 | rune(hexValue(s[1]))<<8 | rune(hexValue(s[2]))<<4 | rune(hexValue(s[3]))
}

// unquote decodes a form's value: %XX to that byte, + to a space. A % without
// two digits stands for itself, as in browsers. The result may be invalid
// UTF-8.
func (b *Beacon) unquote(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	from := len(b.scratch)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(s) && hexValue(s[i+1]) < 16 && hexValue(s[i+2]) < 16:
			c = hexValue(s[i+1])<<4 | hexValue(s[i+2])
			i += 2
		}
		b.scratch = append(b.scratch, c)
	}
	return b.since(from)
}

// decode is unquote for a part of a page's URL, which is a text to be read:
// what would become invalid UTF-8 or an unwanted character stays escaped, so
// that /caf%E9 is not lost and /a%00 not disguised.
//
// plain says whether s is printable ASCII, and afterwards whether the result
// is.
func (b *Beacon) decode(s string, plusIsSpace bool, plain bool) (decoded string, stillPlain bool) {
	class := uint16(escapes)
	if plusIsSpace {
		class |= spaces
	}
	if skipTo(s, 0, class) == len(s) {
		return s, plain
	}
	from := len(b.scratch)
	for i := 0; i < len(s); {
		switch {
		case s[i] == '+' && plusIsSpace:
			b.scratch = append(b.scratch, ' ')
			i++
		case s[i] == '%':
			r, size := escapedRune(s[i:])
			if size == 0 {
				b.scratch = append(b.scratch, '%')
				i++
				continue
			}
			b.scratch = utf8.AppendRune(b.scratch, r)
			i += size
		default:
			b.scratch = append(b.scratch, s[i])
			i++
		}
	}
	return b.since(from), false
}

// escapedRune decodes the character at the start of s that is written as one
// to four escapes, and returns how much of s that took: 0 if it is not a
// character to show.
func escapedRune(s string) (r rune, size int) {
	var buf [utf8.UTFMax]byte
	n := 0
	for n < len(buf) && len(s) >= 3*n+3 && s[3*n] == '%' && hexValue(s[3*n+1]) < 16 && hexValue(s[3*n+2]) < 16 {
		buf[n] = hexValue(s[3*n+1])<<4 | hexValue(s[3*n+2])
		n++
	}
	r, used := utf8.DecodeRune(buf[:n])
	if used == 0 || r == utf8.RuneError && used == 1 || unwanted(r) {
		return 0, 0
	}
	return r, 3 * used
}
