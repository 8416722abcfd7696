package beacon

import (
	"strings"
	"unicode"

	"github.com/halfmask/halfmask/event"
)

// page takes a page's URL apart: hostname, path, campaign, source and the kind
// of click identifier. Nothing else of it is kept. With hash, the fragment is
// part of the path.
func (b *Beacon) page(sent *said, hash bool) fault {
	scheme, rest, found := strings.Cut(strings.TrimSpace(sent.text), ":")
	if !found || !validScheme(scheme) {
		return badURL
	}
	web, allowed := schemes(b.lower(scheme))
	if !allowed || !strings.HasPrefix(rest, "//") {
		if web {
			return badURL
		}
		return badScheme
	}
	rest = rest[2:]
	authority := rest[:skipTo(rest, 0, endsHost)]
	rest = rest[len(authority):]
	path := rest[:skipTo(rest, 0, endsPath)]
	rest = rest[len(path):]
	query := rest[:skipTo(rest, 0, endsQuery)]
	fragment := rest[len(query):]
	host, ok := hostname(authority)
	if !ok || host == "" && web {
		return badURL
	}
	b.Hostname = NoHostname
	if host != "" {
		b.Hostname = withoutWWW(b.lower(host))
	}
	if !hash {
		fragment = ""
	}
	b.Path = b.path(path, fragment, sent.plain)
	b.query(strings.TrimPrefix(query, "?"), sent.plain)
	return fine
}

// What ends a part of a URL, and what a host is made of. One look at a table
// per byte is half the time of one search per delimiter.
const (
	endsHost  = 1 << iota // / ? #
	endsPath              // ? #
	endsQuery             // #
	endsPair              // &
	endsKey               // & =
	notHost               // all but letters, digits, - . _
	upper                 // A to Z
	escapes               // %
	spaces                // +
)

var classes = func() (t [256]uint16) {
	t['/'] |= endsHost
	t['?'] |= endsHost | endsPath
	t['#'] |= endsHost | endsPath | endsQuery
	t['&'] |= endsPair | endsKey
	t['='] |= endsKey
	t['%'] |= escapes
	t['+'] |= spaces
	for c := 'A'; c <= 'Z'; c++ {
		t[c] |= upper
	}
	for c := range t {
		if !strings.Contains("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._", string(rune(c))) {
			t[c] |= notHost
		}
	}
	return t
}()

// skipTo returns the position of the first byte of class from at on, or the
// end.
func skipTo(s string, at int, class uint16) int {
	for at < len(s) && classes[s[at]]&class == 0 {
		at++
	}
	return at
}

// schemes says of a scheme in lower case whether it is the web's, and whether
// a page can have it at all. Apps have schemes of their own; of those that
// browsers know, only http and https name a page that somebody owns.
func schemes(scheme string) (web, allowed bool) {
	switch scheme {
	case "http", "https":
		return true, true
	case "about", "blob", "data", "file", "filesystem", "javascript", "vbscript", "view-source", "ws", "wss":
		return false, false
	}
	return false, true
}

// validScheme is RFC 3986's rule without the dot, so that example.com:8080/x
// is recognised as a URL that lacks its scheme.
func validScheme(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '+' || c == '-')) {
			return false
		}
	}
	return len(s) > 0
}

// hostname cuts user, password, port and a final dot off an authority. What is
// before a backslash is the host to a browser and the user to everybody else,
// and so is refused.
func hostname(authority string) (host string, ok bool) {
	if skipTo(authority, 0, notHost) == len(authority) {
		return trimHost(authority)
	}
	if strings.IndexByte(authority, '\\') >= 0 {
		return "", false
	}
	host = authority[strings.LastIndexByte(authority, '@')+1:]
	if strings.HasPrefix(host, "[") {
		end := strings.IndexByte(host, ']')
		if end < 0 || !validPort(host[end+1:]) {
			return "", false
		}
		for i := 1; i < end; i++ {
			if hexValue(host[i]) > 15 && host[i] != ':' && host[i] != '.' {
				return "", false
			}
		}
		return host[:end+1], end > 2
	}
	if i := strings.IndexByte(host, ':'); i >= 0 {
		if !validPort(host[i:]) {
			return "", false
		}
		host = host[:i]
	}
	if !wordy(host) {
		return "", false
	}
	return trimHost(host)
}

// trimHost cuts a final dot off a host name.
func trimHost(host string) (trimmed string, ok bool) {
	host = strings.TrimSuffix(host, ".")
	return host, len(host) <= MaxHostname && !strings.HasPrefix(host, ".") && !strings.Contains(host, "..")
}

// wordy reports whether s is made of letters, digits, - . and _ of whatever
// script.
func wordy(s string) bool {
	for _, r := range s {
		if r != '-' && r != '.' && r != '_' && !unicode.In(r, unicode.L, unicode.M, unicode.Nd) {
			return false
		}
	}
	return true
}

// validPort accepts "", ":" and ":8080".
func validPort(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != ':' || len(s) > 6 {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i]-'0' > 9 {
			return false
		}
	}
	return true
}

// withoutWWW cuts "www." off a name in lower case, unless nothing would remain.
func withoutWWW(host string) string {
	if rest, found := strings.CutPrefix(host, "www."); found && rest != "" {
		return rest
	}
	return host
}

// path decodes a URL's path, and the fragment that belongs to it if there is
// one. It is never empty.
func (b *Beacon) path(path, fragment string, plain bool) string {
	path = b.keepPath(b.decode(path, false, plain))
	if path == "" {
		path = "/"
	}
	if len(fragment) < 2 {
		return path
	}
	fragment = b.keepPath(b.decode(fragment, false, plain))
	from := len(b.scratch)
	b.scratch = append(b.scratch, path...)
	b.scratch = append(b.scratch, fragment...) // with its #
	return b.since(from)
}

// query picks the parameters that tell where a visit came from. All others,
// and the click identifiers' values, are dropped here. Of a parameter that
// comes twice the last counts.
func (b *Beacon) query(query string, plain bool) {
	var source, ref string
	for at := 0; at < len(query); at++ {
		end := skipTo(query, at, endsKey)
		key := query[at:end]
		at = skipTo(query, end, endsPair)
		if at <= end+1 {
			continue
		}
		value := query[end+1 : at]
		switch key {
		case "utm_source":
			b.Campaign.Source = b.parameter(value, plain)
		case "utm_medium":
			b.Campaign.Medium = b.parameter(value, plain)
		case "utm_campaign":
			b.Campaign.Campaign = b.parameter(value, plain)
		case "utm_content":
			b.Campaign.Content = b.parameter(value, plain)
		case "utm_term":
			b.Campaign.Term = b.parameter(value, plain)
		case "source":
			source = b.parameter(value, plain)
		case "ref":
			ref = b.parameter(value, plain)
		case "gclid", "gbraid", "wbraid":
			b.ClickID = event.GoogleClick
		case "msclkid":
			b.ClickID = event.MicrosoftClick
		case "fbclid":
			b.ClickID = event.MetaClick
		case "twclid":
			b.ClickID = event.XClick
		}
	}
	b.Ref = ref
	if source != "" {
		b.Ref = source
	}
}

func (b *Beacon) parameter(value string, plain bool) string {
	return cut(b.keep(b.decode(value, true, plain)), MaxCampaign)
}
