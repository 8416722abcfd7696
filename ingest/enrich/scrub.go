package enrich

import (
	"strings"
	"unsafe"

	"github.com/halfmask/halfmask/event"
)

// What stands in a path for what was taken out of it.
const (
	mailMark   = ":email"  // an e-mail address
	idMark     = ":id"     // a UUID, or 20 and more hexadecimal digits
	tokenMark  = ":token"  // a JSON Web Token, or what else looks drawn by chance
	numberMark = ":number" // a telephone number, or nine and more digits
	ipMark     = ":ip"     // an IP or hardware address
)

// Scrubber takes out of events what tells one person from all others and was
// never meant to be counted: e-mail addresses, tokens, long numbers and
// identifiers in the paths of pages and referrers, e-mail addresses and JSON
// Web Tokens in all other text. It is not safe for concurrent use; what it
// writes is valid until Reset. The zero value is ready.
type Scrubber struct{ buffer []byte }

// Reset forgets what was written.
func (s *Scrubber) Reset() {
	s.buffer = s.buffer[:0]
	if cap(s.buffer) > largestBuffer {
		s.buffer = nil
	}
}

// largestBuffer bounds what a Scrubber holds on to after an unusual event.
const largestBuffer = 8 << 10

// Event scrubs the texts of an event but for its origin, in place. The event's
// Props must be the caller's to write. It allocates nothing once the Scrubber has
// its size.
func (s *Scrubber) Event(e *event.Event) {
	e.Path = s.Path(e.Path)
	e.Name = s.Text(e.Name)
	for i := range e.Props {
		e.Props[i].Key, e.Props[i].Value = s.Text(e.Props[i].Key), s.Text(e.Props[i].Value)
	}
}

// Origin scrubs the texts of an origin, likewise.
func (s *Scrubber) Origin(o *event.Origin) {
	if slash := strings.IndexByte(o.Referrer, '/'); slash >= 0 {
		if path := s.Path(o.Referrer[slash:]); len(path) != len(o.Referrer)-slash || path != o.Referrer[slash:] {
			from := len(s.buffer)
			s.buffer = append(append(s.buffer, o.Referrer[:slash]...), path...)
			o.Referrer = s.since(from)
		}
	}
	c := &o.Campaign
	for _, text := range [...]*string{&o.Source, &c.Source, &c.Medium, &c.Campaign, &c.Content, &c.Term} {
		if *text != "" {
			*text = s.Text(*text)
		}
	}
}

// Path scrubs a path.
func (s *Scrubber) Path(path string) string {
	if !suspicious(path) {
		return path
	}
	return s.scrub(path, matchInPath)
}

// Text scrubs text that is no path, in which numbers and identifiers are the
// site owner's: only e-mail addresses and JSON Web Tokens are taken out.
func (s *Scrubber) Text(text string) string {
	seen := uint8(0)
	for i := range len(text) {
		seen |= signs[text[i]]
	}
	if seen&telling == 0 {
		return text
	}
	return s.scrub(text, matchInText)
}

// scrub replaces each match. A match begins where the one before ended or later.
func (s *Scrubber) scrub(text string, match func(string, int) (int, string)) string {
	from, copied := len(s.buffer), 0
	for i := 0; i < len(text); {
		if i > 0 && sorts[text[i]]&(lower|upper) != 0 && sorts[text[i-1]]&alnum != 0 {
			i++ // nothing begins within a word
			continue
		}
		end, mark := match(text, i)
		if end <= i {
			i++
			continue
		}
		s.buffer = append(append(s.buffer, text[copied:i]...), mark...)
		i, copied = end, end
	}
	if copied == 0 {
		return text
	}
	s.buffer = append(s.buffer, text[copied:]...)
	return s.since(from)
}

func (s *Scrubber) since(from int) string {
	return unsafe.String(&s.buffer[from], len(s.buffer)-from)
}

// What a byte of a path can be.
const (
	digit   = 1 << iota // 0 to 9
	lower               // a to z
	upper               // A to Z
	hexa                // 0 to 9, a to f, A to F
	glue                // - and _, which tokens have inside
	gap                 // what may stand within a telephone number
	outside             // what ends an e-mail address's first part

	alnum   = digit | lower | upper
	tokenic = alnum | glue
)

var sorts = func() (t [256]uint8) {
	for c := range t {
		switch c := byte(c); {
		case c >= '0' && c <= '9':
			t[c] |= digit | hexa
		case c >= 'a' && c <= 'z':
			t[c] |= lower
		case c >= 'A' && c <= 'Z':
			t[c] |= upper
		}
	}
	for _, c := range "abcdefABCDEF" {
		t[c] |= hexa
	}
	for _, c := range "-_" {
		t[c] |= glue
	}
	for _, c := range "-. ()+%" {
		t[c] |= gap
	}
	for _, c := range "/?#&=;,:()<>[]{}|*!\"'\\@ " {
		t[c] |= outside
	}
	return t
}()

// What suspicious looks for in a byte.
const (
	one     = 1 << iota // a digit, to be counted
	part                // of a word or number
	telling             // @ % : + and upper case: without them there are only numbers and lower case
	point               // .
	dash                // -
)

var signs = func() (t [256]uint8) {
	for c := range t {
		if sorts[c]&digit != 0 {
			t[c] |= one
		}
		if sorts[c]&alnum != 0 {
			t[c] |= part
		}
		if sorts[c]&upper != 0 || strings.IndexByte("@%:+", byte(c)) >= 0 {
			t[c] |= telling
		}
	}
	t['.'], t['-'] = point, dash
	return t
}()

// suspicious looks once at each byte and reports whether matchInPath could find
// anything; in most paths it could not.
func suspicious(s string) bool {
	seen, digits, begin := uint8(0), 0, 0
	for i := range len(s) {
		sign := signs[s[i]]
		seen |= sign
		digits += int(sign & one)
		if sign&part != 0 {
			continue
		}
		if i-begin >= shortestToken || sign == dash && i-begin >= 8 && i+15 < len(s) && s[i+5] == '-' && s[i+10] == '-' && s[i+15] == '-' {
			return true
		}
		begin = i + 1
	}
	return seen&telling != 0 || digits >= shortestNumber || seen&point != 0 && digits >= 4 || len(s)-begin >= shortestToken
}

// matchInText returns the end of what begins at i and must not be kept, with
// what to write in its place, or 0.
func matchInText(s string, i int) (end int, mark string) {
	if begins(s, i, outside) {
		if end = mailbox(s, i); end > 0 {
			return end, mailMark
		}
	}
	if s[i] == 'e' && (i == 0 || sorts[s[i-1]]&alnum == 0) {
		if end = jwt(s, i); end > 0 {
			return end, tokenMark
		}
	}
	return 0, ""
}

// matchInPath is matchInText for paths.
func matchInPath(s string, i int) (end int, mark string) {
	if end, mark = matchInText(s, i); end > 0 {
		return end, mark
	}
	sort := sorts[s[i]]
	inside := i > 0 && sorts[s[i-1]]&alnum != 0
	if !inside && (sort&alnum != 0 || s[i] == ':') {
		if end = uuid(s, i); end > 0 {
			return end, idMark
		}
		if end = ip(s, i); end > 0 {
			return end, ipMark
		}
	}
	if !inside && sort&alnum != 0 {
		if end, mark = drawn(s, i); end > 0 {
			return end, mark
		}
	}
	if !inside && (sort&digit != 0 || s[i] == '+' || s[i] == '(' || s[i] == '%') {
		if end = phone(s, i); end > 0 {
			return end, numberMark
		}
	}
	if sort&digit != 0 && (i == 0 || sorts[s[i-1]]&digit == 0) {
		if end = number(s, i); end > 0 {
			return end, numberMark
		}
	}
	return 0, ""
}

// begins reports whether a run begins at i: the byte before is of class, and
// the one at i is not.
func begins(s string, i int, class uint8) bool {
	return sorts[s[i]]&class == 0 && (i == 0 || sorts[s[i-1]]&class != 0)
}

// skip returns the position of the first byte from i on that is not of class.
func skip(s string, i int, class uint8) int {
	for i < len(s) && sorts[s[i]]&class != 0 {
		i++
	}
	return i
}
