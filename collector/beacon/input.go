package beacon

import (
	"strings"
	"unicode/utf8"

	"github.com/halfmask/halfmask/event"
)

// said is a field as it was sent: decoded, not yet checked.
type said struct {
	text  string
	given bool
	other bool // given, but as something that is no text
	plain bool // printable ASCII alone: there is nothing to clean
}

// input is what every wire format is reduced to before it is judged.
type input struct {
	name, url, domain, referrer said

	hash    bool
	passive bool // not interactive
	scroll  uint8
	engaged uint32
	timed   bool // engaged was given and valid
}

// take checks in and fills the Beacon from it, but for the properties.
func (b *Beacon) take(in *input) (f Faults) {
	f[fieldName] = b.takeName(&in.name)
	switch {
	case in.url.other:
		f[fieldURL] = badURL
	case strings.TrimSpace(in.url.text) == "":
		f[fieldURL] = required
	case len(in.url.text) > MaxURL:
		f[fieldURL] = longURL
	default:
		f[fieldURL] = b.page(&in.url, in.hash)
	}
	f[fieldDomain] = b.takeDomains(&in.domain, f[fieldURL] == fine)
	b.Referrer = cut(b.keep(in.referrer.text, in.referrer.plain), MaxReferrer)
	b.Interactive = !in.passive && b.Kind != event.Engagement
	if b.Kind == event.Engagement {
		b.Scroll, b.Engaged = in.scroll, in.engaged
		if in.scroll == event.NoScroll && !in.timed && f.OK() {
			f[fieldRequest] = needsDepthOrTime
		}
	}
	return f
}

// takeName sets Kind and Name. "pageleave" is what Plausible's scripts of
// early 2025 called an engagement.
func (b *Beacon) takeName(sent *said) fault {
	name := b.keep(sent.text, sent.plain)
	if name == "" {
		return blank
	}
	if len(name) > MaxName && utf8.RuneCountInString(name) > MaxName {
		return longName
	}
	b.Name = name
	switch name {
	case "pageview":
		b.Kind = event.Pageview
	case "engagement":
		b.Kind = event.Engagement
	case "pageleave":
		b.Kind, b.Name = event.Engagement, "engagement"
	default:
		b.Kind = event.Custom
	}
	return fine
}

// takeDomains sets Domains: the list that was given, or else the page's own
// host. A site that is named twice gets the event once.
func (b *Beacon) takeDomains(sent *said, haveHost bool) fault {
	b.Domains = b.domains[:0]
	if !sent.given {
		if haveHost {
			b.Domains = append(b.Domains, b.Hostname)
		}
		return fine
	}
	if sent.other {
		return badDomain
	}
next:
	for list := sent.text; list != ""; {
		var d string
		d, list, _ = strings.Cut(list, ",")
		d = withoutWWW(b.lower(b.keep(d, sent.plain)))
		if d == "" {
			continue
		}
		for _, had := range b.Domains {
			if had == d {
				continue next
			}
		}
		if len(b.Domains) == MaxDomains {
			return manyDomains
		}
		b.Domains = append(b.Domains, d)
	}
	if len(b.Domains) == 0 {
		return blank
	}
	return fine
}

// wholeNumber reads decimal digits; ok is false for anything else. Numbers
// too large for the caller stay too large.
func wholeNumber(s string) (n uint64, ok bool) {
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		if n < 1<<50 {
			n = n*10 + uint64(d)
		}
	}
	return n, len(s) > 0
}

// scrollDepth reads percent; more than all is all.
func (in *input) scrollDepth(s string) {
	if n, ok := wholeNumber(s); ok {
		in.scroll = uint8(min(n, 100))
	}
}

// maxEngaged is Plausible's bound of 30 days, in milliseconds.
const maxEngaged = 30 * 24 * 60 * 60 * 1000

// engagedTime reads milliseconds; 30 days and more are not believed.
func (in *input) engagedTime(s string) {
	if n, ok := wholeNumber(s); ok && n < maxEngaged {
		in.engaged, in.timed = uint32(n), true
	}
}
