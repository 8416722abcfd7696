package beacon

import (
	"strings"
	"unicode/utf8"

	"github.com/halfmask/halfmask/event"
)

// slot is a known key of Plausible's event shape. Unknown keys, and those that
// Halfmask has no use for (v, w, $, revenue), are checked and skipped.
type slot uint8

const (
	unknown slot = iota
	nShort
	nLong
	uShort
	uLong
	dShort
	dLong
	rShort
	rLong
	hShort
	hLong
	iShort
	iLong
	scrollKey
	engagedKey
	metaShort
	metaLong
	propsShort
	propsLong
	slots
)

func slotOf(key string) slot {
	switch key {
	case "n":
		return nShort
	case "name":
		return nLong
	case "u":
		return uShort
	case "url":
		return uLong
	case "d":
		return dShort
	case "domain":
		return dLong
	case "r":
		return rShort
	case "referrer":
		return rLong
	case "h":
		return hShort
	case "hashMode":
		return hLong
	case "i":
		return iShort
	case "interactive":
		return iLong
	case "sd":
		return scrollKey
	case "e":
		return engagedKey
	case "m":
		return metaShort
	case "meta":
		return metaLong
	case "p":
		return propsShort
	case "props":
		return propsLong
	}
	return unknown
}

// ParseEvent reads the body of POST /api/event. The content type does not
// matter, because scripts send JSON as text/plain to stay clear of preflights:
// a body that starts with { is JSON, any other is read as a form of the same
// names. The Beacon borrows body.
//
// Of a key that comes twice the last counts, as in browsers and encoding/json;
// a short name wins over a long one; null is as if it were not there.
func (b *Beacon) ParseEvent(body []byte) Faults {
	b.Reset()
	s := scanner{s: borrow(body)}
	s.space()
	switch c := s.peek(); {
	case c == '{':
	case c == '[' || c == '"' || strings.IndexByte(s.s, '=') < 0:
		if !utf8.ValidString(s.s) {
			return Faults{fieldRequest: badUTF8}
		}
		return Faults{fieldRequest: s.wrong()}
	default:
		return b.parseForm(s.s[s.at:], form{})
	}

	var have [slots]value
	if f := b.members(&s, &have); f != fine {
		return Faults{fieldRequest: f}
	}
	in := input{scroll: event.NoScroll}
	b.read(&in, s.s, &have)
	f := b.take(&in)
	if v := first(&have, metaShort, metaLong, propsShort, propsLong); f.OK() {
		f[fieldProps] = b.takeProps(s.s, v)
	}
	return f
}

// members reads the whole body and remembers where the known keys' values are.
func (b *Beacon) members(s *scanner, have *[slots]value) fault {
	if f := s.open(); f != fine {
		return f
	}
	var key value
	for opened := true; ; opened = false {
		done, f := s.member(opened, &key)
		if f != fine {
			return f
		}
		if done {
			return s.end()
		}
		name := s.s[key.lo:key.hi]
		if key.escaped {
			name = b.unescape(name)
		}
		if f := s.value(&have[slotOf(name)], 1); f != fine {
			return f
		}
	}
}

// first returns the first of the values that is there.
func first(have *[slots]value, order ...slot) *value {
	for _, k := range order {
		if have[k].kind > null {
			return &have[k]
		}
	}
	return &nothing
}

// nothing is the value of a key that is not there. It is never written.
var nothing value

// read sets in to the simple fields of body.
func (b *Beacon) read(in *input, body string, have *[slots]value) {
	b.say(&in.name, body, first(have, nShort, nLong))
	b.say(&in.url, body, first(have, uShort, uLong))
	b.say(&in.domain, body, first(have, dShort, dLong))
	b.say(&in.referrer, body, first(have, rShort, rLong))
	if v := first(have, nShort, nLong); v.kind == number {
		if literal := body[v.lo:v.hi]; !strings.ContainsAny(literal, ".eE") {
			in.name = said{text: literal, given: true, plain: true}
		}
	}
	in.hash = yes(body, first(have, hShort, hLong))
	v := first(have, iShort, iLong)
	if v.kind != absent {
		in.passive = no(body, v)
	}
	if v = &have[scrollKey]; v.kind == text || v.kind == number {
		in.scrollDepth(body[v.lo:v.hi])
	}
	if v = &have[engagedKey]; v.kind == text || v.kind == number {
		in.engagedTime(body[v.lo:v.hi])
	}
}

// say sets a field to a value that should be text.
func (b *Beacon) say(field *said, body string, v *value) {
	field.given = v.kind != absent
	field.other = field.given && v.kind != text
	if v.kind == text {
		field.text, field.plain = b.string(body, v), v.plain
	}
}

// string returns a text's contents.
func (b *Beacon) string(body string, v *value) string {
	if v.escaped {
		return b.unescape(body[v.lo:v.hi])
	}
	return body[v.lo:v.hi]
}

// yes reads a switch that is off by default: 1, "1", true and "true" turn it
// on.
func yes(body string, v *value) bool {
	return v.kind == truth || (v.kind == number || v.kind == text) && isYes(body[v.lo:v.hi])
}

// no reads a switch that is on by default: 0, "0", false and "false" turn it
// off.
func no(body string, v *value) bool {
	return v.kind == falsity || (v.kind == number || v.kind == text) && isNo(body[v.lo:v.hi])
}

func isYes(s string) bool { return s == "1" || s == "true" }
func isNo(s string) bool  { return s == "0" || s == "false" }
