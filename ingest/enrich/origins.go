package enrich

import (
	"strings"
	"unicode/utf8"

	"github.com/halfmask/halfmask/event"
)

// longestReferrer bounds what is kept of a referrer, in bytes.
const longestReferrer = 2000

// kind is what sort of site a source is; it decides the channel.
type kind uint8

const (
	site kind = iota
	search
	social
	video
	shopping
	mail
	assistant
)

// source is a place that visits come from.
type source struct {
	kind kind
	name string
}

// origins knows sources by their hosts and by what campaigns call them.
type origins struct {
	hosts     map[string]source // and their subdomains: "reddit.com"; also Android packages
	worldwide map[string]source // hosts under any country's domain: "google" is google.com, google.co.uk, ...
	names     map[string]source // "fb"
}

func newOrigins() *origins {
	o := &origins{hosts: map[string]source{}, worldwide: map[string]source{}, names: map[string]source{}}
	for _, s := range sources {
		known := source{s.kind, s.name}
		o.names[strings.ToLower(s.name)] = known
		for _, key := range strings.Fields(s.keys) {
			if name, everywhere := strings.CutSuffix(key, ".*"); everywhere {
				o.worldwide[name] = known
			} else if strings.Contains(key, ".") {
				o.hosts[key] = known
			} else {
				o.names[key] = known
			}
		}
	}
	return o
}

// Origin tells how a visit that begins with hit came about, but for the entry
// path. What the landing page's URL says (utm_source, then ref or source)
// stands above the referrer, and a click identifier fills in where neither
// says anything. The strings borrow from hit or are shared.
//
// A referrer on the site's own domain, on localhost or on an address instead
// of a name is none; of others, scheme, user, port, query and fragment are
// cut, and so is "www.".
func (e *Enricher) Origin(hit *event.Hit, o *event.Origin) {
	*o = event.Origin{Campaign: hit.Campaign}
	host, app := "", false
	host, o.Referrer, app = cutReferrer(hit.Referrer)
	if host != "" && !app && own(host, hit) {
		host, o.Referrer = "", ""
	}
	from := e.origins.source(hit, host, app)
	o.Source = from.name
	o.Channel = channel(from.name, from.kind, &hit.Campaign, hit.ClickID)
}

func (o *origins) source(hit *event.Hit, host string, app bool) source {
	for _, said := range [2]string{hit.Campaign.Source, hit.Ref} {
		if said != "" {
			return o.named(said)
		}
	}
	switch {
	case app:
		if s, known := o.hosts[host]; known {
			return s
		}
		return source{site, host}
	case host != "":
		return o.at(host)
	}
	switch hit.ClickID {
	case event.GoogleClick:
		return source{search, "Google"}
	case event.MicrosoftClick:
		return source{search, "Bing"}
	case event.MetaClick:
		return source{social, "Facebook"}
	case event.XClick:
		return source{social, "X"}
	}
	return source{}
}

// named finds what a campaign's source means: a name, a host or a URL.
func (o *origins) named(said string) source {
	var buffer folded
	if len(said) <= len(buffer) {
		if s, known := o.names[string(buffer.fold(said))]; known {
			return s
		}
	}
	host := said
	if _, after, found := strings.Cut(host, "://"); found {
		host = after
	}
	host, _, _ = strings.Cut(host, "/")
	if host = strings.TrimPrefix(host, "www."); strings.Contains(host, ".") {
		if s := o.at(host); s.name != host || host != said && validHost(host) {
			return s
		}
	}
	return source{site, said}
}

// at finds the source at a host; one that is not known goes by its host.
func (o *origins) at(host string) source {
	for h := host; ; {
		if s, known := o.hosts[h]; known {
			return s
		}
		_, rest, more := strings.Cut(h, ".")
		if !more {
			break
		}
		h = rest
	}
	for h := withoutCountry(host); h != ""; {
		if s, known := o.worldwide[h]; known {
			return s
		}
		_, h, _ = strings.Cut(h, ".")
	}
	return source{site, host}
}

// withoutCountry cuts "com", "de" or "co.uk" off a host. A last label of more
// than three letters is no country's, and none that the sources have.
func withoutCountry(host string) string {
	i := strings.LastIndexByte(host, '.')
	if i < 0 || len(host)-i > 4 {
		return ""
	}
	host, last := host[:i], host[i+1:]
	if i := strings.LastIndexByte(host, '.'); i >= 0 && len(last) == 2 {
		switch host[i+1:] {
		case "co", "com", "net", "org", "ne", "or":
			return host[:i]
		}
	}
	return host
}

// own tells whether a referrer's host is the site itself.
func own(host string, hit *event.Hit) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || host == hit.Hostname {
		return true
	}
	if hit.Site == nil || hit.Site.Domain == "" {
		return false
	}
	before, found := strings.CutSuffix(host, hit.Site.Domain)
	return found && (before == "" || strings.HasSuffix(before, "."))
}

// cutReferrer returns the host of a referrer, in lower case and without
// "www.", and what is kept of it. Both are "" if it is of no use. An Android
// app's package stands for a host.
func cutReferrer(raw string) (host, kept string, app bool) {
	scheme, rest, found := strings.Cut(raw, "://")
	if !found || !utf8.ValidString(rest) {
		return "", "", false
	}
	switch {
	case strings.EqualFold(scheme, "https"), strings.EqualFold(scheme, "http"):
	case strings.EqualFold(scheme, "android-app"):
		app = true
	default:
		return "", "", false
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	for i := range len(rest) {
		if rest[i] <= ' ' || rest[i] == 0x7f {
			return "", "", false
		}
	}
	rest = rest[:min(len(rest), longestReferrer)]
	end := strings.IndexByte(rest, '/')
	if end < 0 {
		end = len(rest)
	}
	path := strings.TrimRight(rest[end:], "/")
	host = rest[:end]
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	bare := strings.TrimRight(cutPort(host), ".")
	if !app {
		bare = strings.TrimPrefix(strings.ToLower(bare), "www.")
	}
	if !validHost(bare) {
		return "", "", false
	}
	if strings.HasSuffix(rest[:end], bare) {
		return bare, rest[end-len(bare) : end+len(path)], app // the rule: browsers normalise what they send
	}
	return bare, bare + path, app
}

func cutPort(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.Trim(host[i+1:], "0123456789") != "" {
		return host
	}
	return host[:i]
}

// validHost accepts names, not addresses: the last label of a name is never a
// number, and a whole address must not be kept here either.
func validHost(host string) bool {
	if host == "" || len(host) > 253 {
		return false
	}
	for i := range len(host) {
		c := host[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' && c < 0x80 {
			return false
		}
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	return strings.Trim(last, "0123456789") != "" && !strings.HasPrefix(last, "0x")
}
