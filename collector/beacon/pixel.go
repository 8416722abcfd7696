package beacon

import (
	"strings"
	"unicode/utf8"

	"github.com/halfmask/halfmask/event"
)

// form says how a form's missing fields are made up for.
type form struct {
	name string // the event's name if the form has none
	url  string // the page if the form has none
}

// ParsePixel reads the query of GET /pixel.gif, whose parameters are named as
// in an event's JSON; p holds JSON. Without a name it is a pageview, without a
// URL the page is the one that referer, the request's header, names: so an
// <img> in a <noscript> needs nothing but d. The Beacon borrows both.
func (b *Beacon) ParsePixel(query, referer []byte) Faults {
	b.Reset()
	return b.parseForm(borrow(query), form{name: "pageview", url: borrow(referer)})
}

// parseForm reads urlencoded fields. Of a field that comes twice the last
// counts; a short name wins over a long one.
func (b *Beacon) parseForm(s string, defaults form) Faults {
	var have [slots]string
	var present [slots]bool
	for s != "" {
		var pair string
		pair, s, _ = strings.Cut(s, "&")
		key, v, _ := strings.Cut(pair, "=")
		if k := slotOf(b.unquote(key)); k != unknown {
			have[k], present[k] = b.unquote(v), true
			if !utf8.ValidString(have[k]) {
				return Faults{fieldRequest: badUTF8}
			}
		}
	}
	pick := func(order ...slot) (string, bool) {
		for _, k := range order {
			if present[k] {
				return have[k], true
			}
		}
		return "", false
	}
	if present == [slots]bool{} && defaults == (form{}) {
		return Faults{fieldRequest: malformed}
	}

	in := input{scroll: event.NoScroll}
	say := func(order ...slot) (field said) {
		field.text, field.given = pick(order...)
		return field
	}
	if in.name = say(nShort, nLong); !in.name.given {
		in.name.text = defaults.name
	}
	if in.url = say(uShort, uLong); !in.url.given && utf8.ValidString(defaults.url) {
		in.url.text = defaults.url
	}
	in.domain = say(dShort, dLong)
	in.referrer = say(rShort, rLong)
	hash, _ := pick(hShort, hLong)
	in.hash = isYes(hash)
	interactive, _ := pick(iShort, iLong)
	in.passive = isNo(interactive)
	in.scrollDepth(have[scrollKey])
	in.engagedTime(have[engagedKey])

	f := b.take(&in)
	if props, given := pick(metaShort, metaLong, propsShort, propsLong); given && f.OK() {
		f[fieldProps] = b.propsText(props)
	}
	return f
}
