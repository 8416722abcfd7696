package enrich

import (
	"encoding/base64"
	"strings"
)

// Each function of this file that takes a text and a position returns the end
// of what it is named after and what begins there, or 0.

// How short things may be before they are nobody's.
const (
	shortestNumber = 9  // digits: a date has eight, and so have most shops' articles
	shortestToken  = 20 // letters and digits in a row that no word has
	shortestMail64 = 12 // characters of a@b.cd in base64
)

// atSign returns the length of the @ that s begins with, which may be escaped,
// also twice.
func atSign(s string) int {
	switch {
	case s == "":
		return 0
	case s[0] == '@':
		return 1
	case strings.HasPrefix(s, "%40"):
		return 3
	case strings.HasPrefix(s, "%2540"):
		return 5
	}
	return 0
}

// mailbox finds an e-mail address: something, an @, and a name with a dot whose
// last part begins with two letters. @handle, package@1.2.3 and a map's
// @52.5,13.4 are none.
func mailbox(s string, i int) int {
	at := i
	for at < len(s) && sorts[s[at]]&outside == 0 && atSign(s[at:]) == 0 {
		at++
	}
	if at == i || at == len(s) {
		return 0
	}
	size := atSign(s[at:])
	if size == 0 {
		return 0
	}
	end, dot := at+size, -1
	for end < len(s) && (sorts[s[end]]&tokenic != 0 || s[end] == '.' || s[end] == '%' || s[end] >= 0x80) {
		if s[end] == '.' {
			dot = end
		}
		if s[end] == '%' && end+2 < len(s) && s[end+1] == '2' && s[end+2]|0x20 == 'e' {
			dot = end + 2
		}
		end++
	}
	if dot == end-1 { // a sentence's
		end = dot
		dot = at + size + strings.LastIndexByte(s[at+size:end], '.')
	}
	if dot <= at+size || dot+2 >= end || !letter(s[dot+1]) || !letter(s[dot+2]) {
		return 0
	}
	return end
}

func letter(c byte) bool { return sorts[c]&(lower|upper) != 0 || c >= 0x80 }

// jwt finds a JSON Web Token: eyJ is {" in base64.
func jwt(s string, i int) int {
	if !strings.HasPrefix(s[i:], "eyJ") {
		return 0
	}
	end := skip(s, i, tokenic)
	if end-i < 10 {
		return 0
	}
	for end+1 < len(s) && s[end] == '.' && sorts[s[end+1]]&tokenic != 0 {
		end = skip(s, end+1, tokenic)
	}
	return end
}

// uuid finds 8-4-4-4-12 hexadecimal digits.
func uuid(s string, i int) int {
	if i < 0 || len(s)-i < 36 {
		return 0
	}
	for at := range 36 {
		c := s[i+at]
		if at == 8 || at == 13 || at == 18 || at == 23 {
			if c != '-' {
				return 0
			}
		} else if sorts[c]&hexa == 0 {
			return 0
		}
	}
	if i+36 < len(s) && sorts[s[i+36]]&alnum != 0 {
		return 0
	}
	return i + 36
}

// ip finds an IPv4 address, or an IPv6 or hardware address.
func ip(s string, i int) int {
	if end := ip4(s, i); end > 0 {
		return end
	}
	end, colons, groups, length := i, 0, 0, 0
	for ; end < len(s) && (sorts[s[end]]&hexa != 0 || s[end] == ':'); end++ {
		if s[end] == ':' {
			if colons, length = colons+1, 0; colons > 8 {
				return 0 // longer than any, and looked at again from its next group on
			}
			continue
		}
		if length++; length == 1 {
			groups++
		}
		if length > 4 {
			return 0
		}
	}
	if end < len(s) && sorts[s[end]]&alnum != 0 || colons < 2 || groups < 2 {
		return 0
	}
	if colons < 5 && !strings.Contains(s[i:end], "::") {
		return 0 // a time of day
	}
	return end
}

func ip4(s string, i int) int {
	if i > 0 && s[i-1] == '.' {
		return 0
	}
	for part := range 4 {
		if part > 0 {
			if i >= len(s) || s[i] != '.' {
				return 0
			}
			i++
		}
		end := skip(s, i, digit)
		if end == i || end-i > 3 || end-i == 3 && s[i:end] > "255" {
			return 0
		}
		i = end
	}
	if i < len(s) && sorts[s[i]]&alnum != 0 || i+1 < len(s) && s[i] == '.' && sorts[s[i+1]]&digit != 0 {
		return 0
	}
	return i
}

// drawn finds what looks drawn by chance: hexadecimal digits, or letters and
// digits that change more often than words and numbers do. An e-mail address in
// base64 is found by what it says.
func drawn(s string, i int) (end int, mark string) {
	end = skip(s, i, alnum)
	run, all := s[i:end], s[i:end]
	if i == 0 || sorts[s[i-1]]&glue == 0 {
		all = s[i:skip(s, end, tokenic)]
	}
	switch {
	case mail64(all):
		return i + len(all), mailMark
	case hexadecimal(run):
		return end, idMark
	case chance(run):
		return end, tokenMark
	case chance(all):
		return i + len(all), tokenMark
	}
	return 0, ""
}

// hexadecimal reports whether run is made of hexadecimal digits, in letters
// and figures, longer than a colour or a commit's short name.
func hexadecimal(run string) bool {
	if len(run) < shortestToken || skip(run, 0, hexa) < len(run) {
		return false
	}
	is := shape(run)
	return is.digits > 0 && is.changes > 0 // else it is a number
}

// chance tells by how often upper case, lower case and digits take turns: in
// words written together twice a word, in what is drawn more than at every
// other place. The bounds were chosen by the corpus of TestScrubCorpus.
func chance(run string) bool {
	if len(run) < shortestToken {
		return false
	}
	is := shape(run)
	switch {
	case is.seen&alnum == alnum && is.resumed > 0:
		return is.changes*100 >= len(run)*40
	case is.seen&(upper|lower) == upper|lower: // words, perhaps with a number at the end
		return is.changes*100 >= len(run)*50
	case is.seen&(upper|lower) != 0 && is.seen&glue == 0:
		return is.changes*100 >= len(run)*25 && is.digits >= 4
	}
	return false
}

// looks are what tells the drawn from the written.
type looks struct {
	digits  int
	changes int   // between digits, lower and upper case
	resumed int   // of them, those from a digit to a letter
	seen    uint8 // the sorts there are
}

func shape(run string) (is looks) {
	before := uint8(0)
	for i := range len(run) {
		sort := sorts[run[i]]
		is.seen |= sort
		if sort &= alnum; sort == 0 {
			continue
		}
		if sort == digit {
			is.digits++
		}
		if before != 0 && sort != before {
			is.changes++
			if before == digit {
				is.resumed++
			}
		}
		before = sort
	}
	return is
}

// mail64 reports whether run is an e-mail address in base64, or begins with
// one. That has both cases in it, as nearly all of base64 does.
func mail64(run string) bool {
	if len(run) < shortestMail64 || len(run) > 400 || shape(run).seen&(upper|lower) != upper|lower {
		return false
	}
	var source [400]byte
	for i := range len(run) {
		switch c := run[i]; c {
		case '-':
			source[i] = '+'
		case '_':
			source[i] = '/'
		default:
			source[i] = c
		}
	}
	var plain [300]byte
	whole := len(run)
	if whole%4 == 1 { // no base64 has that length
		whole--
	}
	n, err := base64.RawStdEncoding.Decode(plain[:], source[:whole])
	if err != nil {
		return false
	}
	at := 0
	for i, c := range plain[:n] {
		switch {
		case c <= ' ' || c >= 0x7f:
			return false
		case c == '@':
			at = i
		case c == '.' && at > 0 && i > at+1:
			return true
		}
	}
	return false
}
