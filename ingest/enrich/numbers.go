package enrich

import "strings"

// number finds nine and more digits in a row, unless they are a moment or a
// book.
func number(s string, i int) int {
	end := skip(s, i, digit)
	if run := s[i:end]; len(run) < shortestNumber || moment(run) || isbn(run) {
		return 0
	}
	return end
}

// moment reports whether digits are a date with a time of day: 202611221430,
// with or without seconds or thousandths of them.
func moment(run string) bool {
	if n := len(run); n != 12 && n != 14 && n != 17 {
		return false
	}
	return year(run[:4]) && between2(run[4:6], "01", "12") && between2(run[6:8], "01", "31") && between2(run[8:10], "00", "23") &&
		between2(run[10:12], "00", "59") && (len(run) == 12 || between2(run[12:14], "00", "60"))
}

func year(s string) bool { return len(s) == 4 && s >= "1900" && s <= "2099" }

func between2(s, least, most string) bool { return s >= least && s <= most }

// isbn reports whether digits are a book's number, which names a page and
// nobody: 978 or 979, and the check digit is right.
func isbn(run string) bool {
	if len(run) != 13 || run[:3] != "978" && run[:3] != "979" {
		return false
	}
	sum := 0
	for i := range len(run) {
		sum += int(run[i]-'0') * (1 + 2*(i%2))
	}
	return sum%10 == 0
}

// phone finds a telephone number that is written in groups, or with a
// country's code: +49 170 1234567, 0170-1234567, (555) 123-4567.
func phone(s string, i int) int {
	if i >= 2 && sorts[s[i-1]]&gap != 0 && s[i-1] != '(' && s[i-1] != '+' && sorts[s[i-2]]&digit != 0 {
		return 0 // in the middle of numbers that were looked at
	}
	var g groups
	end := g.read(s, i)
	if end == 0 || end < len(s) && sorts[s[end]]&alnum != 0 {
		return 0
	}
	switch {
	case g.digits > 17 || g.dated():
		return 0
	case g.abroad:
		if g.digits < 8 || g.digits < shortestNumber && !g.plus {
			return 0
		}
	case g.first == '0' && g.count > 1:
		if g.digits < shortestNumber || g.digits > 13 {
			return 0
		}
	default: // North America's: 555-123-4567, also after a 1
		at := g.count - 3
		if at != 0 && (at != 1 || g.lengths[0] != 1 || g.first != '1') || g.lengths[at] != 3 || g.lengths[at+1] != 3 || g.lengths[at+2] != 4 {
			return 0
		}
	}
	return end
}

// groups are numbers with no more than a sign or two between them.
type groups struct {
	lengths [8]int
	years   int
	count   int
	digits  int
	first   byte // digit
	plus    bool // begins with +
	abroad  bool // begins with + or 00
}

// read returns where the last group ends, or 0 if there are none or too many.
func (g *groups) read(s string, i int) (end int) {
	between := 0
	for i < len(s) {
		c := s[i]
		switch {
		case sorts[c]&digit != 0:
			to := skip(s, i, digit)
			if g.count == len(g.lengths) {
				return 0
			}
			if g.count == 0 {
				g.first = c
				g.abroad = g.abroad || strings.HasPrefix(s[i:to], "00")
			}
			g.lengths[g.count], between = to-i, 0
			g.count, g.digits = g.count+1, g.digits+to-i
			if year(s[i:to]) {
				g.years++
			}
			i, end = to, to
			continue
		case c == '+' && g.count == 0, strings.HasPrefix(s[i:], "%2B") && g.count == 0, strings.HasPrefix(s[i:], "%2b") && g.count == 0:
			g.plus, g.abroad = true, true
			if c == '%' {
				i += 2
			}
		case strings.HasPrefix(s[i:], "%20"):
			i += 2
		case sorts[c]&gap == 0 || c == '%':
			return end
		}
		if between++; between > 3 {
			return end
		}
		i++
	}
	return end
}

// dated reports whether the groups are a date: a year, and else no more than
// two digits together.
func (g *groups) dated() bool {
	if g.years != 1 || g.abroad {
		return false
	}
	fours := 0
	for _, n := range g.lengths[:g.count] {
		if n == 4 {
			fours++
		} else if n > 2 {
			return false
		}
	}
	return fours == 1
}
