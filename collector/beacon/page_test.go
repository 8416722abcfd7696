package beacon

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/halfmask/halfmask/event"
)

func TestPage(t *testing.T) {
	for url, want := range map[string]struct{ host, path string }{
		"https://example.com":                          {"example.com", "/"},
		"http://example.com/":                          {"example.com", "/"},
		"HTTPS://WWW.Example.COM/A":                    {"example.com", "/A"},
		"  https://example.com/a  ":                    {"example.com", "/a"},
		"https://example.com:8080/a":                   {"example.com", "/a"},
		"https://example.com:/a":                       {"example.com", "/a"},
		"https://example.com./a":                       {"example.com", "/a"},
		"https://user:secret@example.com/a":            {"example.com", "/a"},
		"https://a@b@example.com/a":                    {"example.com", "/a"},
		"https://xn--mnchen-3ya.de/":                   {"xn--mnchen-3ya.de", "/"},
		"https://münchen.de/":                          {"münchen.de", "/"},
		"https://a_b.example.com/":                     {"a_b.example.com", "/"},
		"https://localhost:3000/x":                     {"localhost", "/x"},
		"https://[2001:DB8::1]:8080/x":                 {"[2001:db8::1]", "/x"},
		"https://www./x":                               {"www", "/x"},
		"https://www.www.example.com/x":                {"www.example.com", "/x"},
		"https://example.com?a=b":                      {"example.com", "/"},
		"https://example.com#a":                        {"example.com", "/"},
		"https://example.com/a?b/c#d/e":                {"example.com", "/a"},
		"https://example.com/a#b?c":                    {"example.com", "/a"},
		"https://example.com/a/?":                      {"example.com", "/a/"},
		"https://example.com//a/../b/./c":              {"example.com", "//a/../b/./c"},
		"https://example.com/a%20b%2Fc%3Fd":            {"example.com", "/a b/c?d"},
		"https://example.com/m%C3%BCnchen":             {"example.com", "/münchen"},
		"https://example.com/%F0%9F%98%80":             {"example.com", "/😀"},
		"https://example.com/ü%C3%BC":                  {"example.com", "/üü"},
		"https://example.com/caf%E9":                   {"example.com", "/caf%E9"},
		"https://example.com/%C3%28":                   {"example.com", "/%C3("},
		"https://example.com/%ED%A0%80":                {"example.com", "/%ED%A0%80"},
		"https://example.com/%00%0a%7f%c2%85":          {"example.com", "/%00%0a%7f%c2%85"},
		"https://example.com/%E2%80%AEgpj":             {"example.com", "/%E2%80%AEgpj"},
		"https://example.com/%EF%BF%BD":                {"example.com", "/\ufffd"},
		"https://example.com/100%":                     {"example.com", "/100%"},
		"https://example.com/%zz%1":                    {"example.com", "/%zz%1"},
		"https://example.com/%2520":                    {"example.com", "/%20"},
		"https://example.com/a+b":                      {"example.com", "/a+b"},
		"https://example.com/a%20%20":                  {"example.com", "/a"},
		"https://example.com/ a":                       {"example.com", "/ a"},
		"https://example.com/a\tb\x00c":                {"example.com", "/a b c"},
		"https://example.com/<script>\"'`":             {"example.com", "/<script>\"'`"},
		"https://example.com/a\\b":                     {"example.com", "/a\\b"},
		"app://-/index.html":                           {"-", "/index.html"},
		"android-app://com.example/x":                  {"com.example", "/x"},
		"app:///x":                                     {NoHostname, "/x"},
		"https://example.com/http://other.example/a?b": {"example.com", "/http://other.example/a"},
	} {
		var b Beacon
		if f := b.page(&said{text: url, given: true}, false); f != fine {
			t.Errorf("%q: %s", url, faultTexts[f])
		} else if b.Hostname != want.host || b.Path != want.path {
			t.Errorf("%q: got %q %q, want %q %q", url, b.Hostname, b.Path, want.host, want.path)
		}
	}
}

func TestPageRefuses(t *testing.T) {
	for url, want := range map[string]fault{
		"example.com":                     badURL,
		"example.com/a":                   badURL,
		"example.com:8080/a":              badURL,
		"//example.com/a":                 badURL,
		"/a":                              badURL,
		"?":                               badURL,
		"https:":                          badURL,
		"https:/example.com":              badURL,
		"https:example.com":               badURL,
		"https://":                        badURL,
		"https:///a":                      badURL,
		"https://?a":                      badURL,
		"https://:80/":                    badURL,
		"https://user@/":                  badURL,
		"https://exa mple.com/":           badURL,
		"https://exa\u00a0mple.com/":      badURL,
		"https://exa\u202emple.com/":      badURL,
		"https://exa%6dple.com/":          badURL,
		"https://<b>/":                    badURL,
		"https://example.com\\@evil.org/": badURL,
		"https://example.com:port/":       badURL,
		"https://example.com:123456/":     badURL,
		"https://.example.com/":           badURL,
		"https://example..com/":           badURL,
		"https://[::1/":                   badURL,
		"https://[]/":                     badURL,
		"https://[::1]x/":                 badURL,
		"https://[fe80::1%25eth0]/":       badURL,
		"https://" + strings.Repeat("a", MaxHostname+1) + "/": badURL,
		"9p://x/":                badURL,
		"data:text/html,<b>":     badScheme,
		"data://x/y":             badScheme,
		"DATA:x":                 badScheme,
		"javascript:alert(1)":    badScheme,
		"javascript://x/%0aa":    badScheme,
		"blob:https://e.com/x":   badScheme,
		"about:blank":            badScheme,
		"file:///etc/passwd":     badScheme,
		"mailto:ada@example.com": badScheme,
		"view-source:https://e":  badScheme,
		"ws://example.com/":      badScheme,
	} {
		var b Beacon
		if f := b.page(&said{text: url, given: true}, false); f != want {
			t.Errorf("%q: got %q, want %q (%q %q)", url, faultTexts[f], faultTexts[want], b.Hostname, b.Path)
		}
	}
}

func TestQuery(t *testing.T) {
	for query, want := range map[string]struct {
		campaign event.Campaign
		ref      string
		click    event.ClickID
	}{
		"utm_source=a&utm_medium=b&utm_campaign=c&utm_content=d&utm_term=e": {event.Campaign{Source: "a", Medium: "b", Campaign: "c", Content: "d", Term: "e"}, "", 0},
		"utm_source=a+b%20c%2B":                         {event.Campaign{Source: "a b c+"}, "", 0},
		"utm_source=M%C3%BCnchen&utm_term=%E9":          {event.Campaign{Source: "München", Term: "%E9"}, "", 0},
		"utm_source=a&utm_source=b":                     {event.Campaign{Source: "b"}, "", 0},
		"utm_source=a&utm_source=":                      {event.Campaign{Source: "a"}, "", 0},
		"utm_source=a=b":                                {event.Campaign{Source: "a=b"}, "", 0},
		"utm_source=%20a%20":                            {event.Campaign{Source: "a"}, "", 0},
		"UTM_SOURCE=a&xutm_source=a&utm_sourc=a&utm_=a": {event.Campaign{}, "", 0},
		"ref=r":                 {event.Campaign{}, "r", 0},
		"source=s&ref=r":        {event.Campaign{}, "s", 0},
		"gclid=secret":          {event.Campaign{}, "", event.GoogleClick},
		"gbraid=x":              {event.Campaign{}, "", event.GoogleClick},
		"wbraid=x":              {event.Campaign{}, "", event.GoogleClick},
		"msclkid=x":             {event.Campaign{}, "", event.MicrosoftClick},
		"fbclid=x":              {event.Campaign{}, "", event.MetaClick},
		"twclid=x":              {event.Campaign{}, "", event.XClick},
		"gclid=":                {event.Campaign{}, "", event.NoClickID},
		"gclid":                 {event.Campaign{}, "", event.NoClickID},
		"&&a&=b&&utm_source=a&": {event.Campaign{Source: "a"}, "", 0},
		"email=ada@example.com&q=secret&utm_id=7&token=": {event.Campaign{}, "", 0},
		"utm_source=" + strings.Repeat("ä", 200):         {event.Campaign{Source: strings.Repeat("ä", 150)}, "", 0},
	} {
		var b Beacon
		if f := b.page(&said{text: "https://example.com/?" + query, given: true}, false); f != fine {
			t.Fatalf("%q: %s", query, faultTexts[f])
		}
		if b.Campaign != want.campaign || b.Ref != want.ref || b.ClickID != want.click {
			t.Errorf("%q: got %+v %q %d", query, b.Campaign, b.Ref, b.ClickID)
		}
	}
}

// Whatever else a URL carries must be gone, wherever it stands.
func TestPageForgetsSecrets(t *testing.T) {
	var b Beacon
	url := "https://SECRET:SECRET@example.com:4711/a?SECRET=1&x=SECRET&gclid=SECRET&utm_source=ok#SECRET"
	if f := b.ParseEvent([]byte(`{"n":"pageview","u":"` + url + `","d":"example.com","SECRET":"SECRET"}`)); !f.OK() {
		t.Fatal(string(f.AppendText(nil)))
	}
	if got := show(&b); strings.Contains(strings.ToLower(got), "secret") || strings.Contains(got, "4711") {
		t.Error(got)
	}
}

func TestParsePixel(t *testing.T) {
	for name, c := range map[string]struct{ query, referer, want string }{
		"everything": {"n=Sign+up&u=https%3A%2F%2Fe.com%2Fa%2520b%3Futm_source%3Dx&d=e.com%2Cf.org&r=https%3A%2F%2Fr.org%2F&p=%7B%22a%22%3A%22b%20c%22%7D&i=false", "",
			`domains=["e.com" "f.org"] kind=2 name=Sign up host=e.com path="/a b" campaign={x    } referrer=https://r.org/ props=[{"a" "b c"}]`},
		"nothing but the referer": {"", "https://e.com/a?b", `domains=["e.com"] kind=1 name=pageview interactive=true host=e.com path="/a"`},
		"domain and referer":      {"d=f.org", "https://e.com/", `domains=["f.org"] kind=1 name=pageview interactive=true host=e.com path="/"`},
		"url before referer":      {"u=https://e.com/x", "https://f.org/", `domains=["e.com"] kind=1 name=pageview interactive=true host=e.com path="/x"`},
		"long names":              {"name=x&url=https://e.com/&domain=e.com&referrer=https://r.org/&props={}&interactive=0&hashMode=1", "", `domains=["e.com"] kind=2 name=x host=e.com path="/" referrer=https://r.org/`},
		"short wins, last wins":   {"n=a&n=b&name=c&u=https://e.com/", "", `domains=["e.com"] kind=2 name=b interactive=true host=e.com path="/"`},
		"strangers":               {"&&x=1&=2&y&u=https://e.com/&%ff=%ff", "", `domains=["e.com"] kind=1 name=pageview interactive=true host=e.com path="/"`},
		"engagement":              {"n=engagement&u=https://e.com/&sd=70&e=900", "", `domains=["e.com"] kind=3 name=engagement host=e.com path="/" scroll=70 engaged=900`},
		"props that are none":     {"u=https://e.com/&p=%5B1%5D", "", `domains=["e.com"] kind=1 name=pageview interactive=true host=e.com path="/"`},
	} {
		t.Run(name, func(t *testing.T) {
			var b Beacon
			if f := b.ParsePixel([]byte(c.query), []byte(c.referer)); !f.OK() {
				t.Fatalf("refused: %s", f.AppendText(nil))
			}
			if got := show(&b); got != c.want {
				t.Errorf("\ngot  %s\nwant %s", got, c.want)
			}
		})
	}
	for name, c := range map[string]struct{ query, referer, want string }{
		"nothing":         {"", "", "url: is required"},
		"only a domain":   {"d=e.com", "", "url: is required"},
		"blank url":       {"u=", "https://e.com/", "url: is required"},
		"bad referer":     {"", "\xff", "url: is required"},
		"invalid UTF-8":   {"n=%ff&u=https://e.com/", "", "request: Unable to parse request body: it is not valid UTF-8"},
		"blank domain":    {"u=https://e.com/&d=", "", "domain: can't be blank"},
		"blank name":      {"u=https://e.com/&n=+", "", "event_name: can't be blank"},
		"two faults":      {"u=data:x&n=", "", "url: scheme is not allowed; event_name: can't be blank"},
		"long prop value": {"u=https://e.com/&p=%7B%22a%22%3A%22" + strings.Repeat("x", 2001) + "%22%7D", "", "props: keys should have at most 300 bytes and values 2000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			var b Beacon
			if got := string(b.ParsePixel([]byte(c.query), []byte(c.referer)).AppendText(nil)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// check fails unless everything in b is within its bounds and fit to be shown.
func check(t *testing.T, b *Beacon, f Faults) {
	t.Helper()
	texts := map[string]string{"name": b.Name, "host": b.Hostname, "path": b.Path, "ref": b.Ref, "referrer": b.Referrer, "source": b.Campaign.Source,
		"medium": b.Campaign.Medium, "campaign": b.Campaign.Campaign, "content": b.Campaign.Content, "term": b.Campaign.Term}
	for _, p := range b.Props {
		if p.Key == "" || p.Value == "" || len(p.Key) > MaxPropKey || len(p.Value) > MaxPropValue {
			t.Errorf("property %q", p)
		}
		texts["key "+p.Key], texts["value "+p.Key] = p.Key, p.Value
	}
	for _, d := range b.Domains {
		texts["domain "+d] = d
	}
	for what, s := range texts {
		if !utf8.ValidString(s) {
			t.Errorf("%s is not valid UTF-8: %q", what, s)
		}
		for _, r := range s {
			if unwanted(r) {
				t.Errorf("%s holds an unwanted character: %q", what, s)
			}
		}
	}
	if len(b.Domains) > MaxDomains || len(b.Props) > MaxProps || utf8.RuneCountInString(b.Name) > MaxName || len(b.Referrer) > MaxReferrer ||
		len(b.Path) > MaxURL || b.Scroll > 100 && b.Scroll != event.NoScroll {
		t.Errorf("out of bounds: %s", show(b))
	}
	if f.OK() && (len(b.Domains) == 0 || b.Name == "" || b.Kind == 0 || b.Hostname == "" || !strings.HasPrefix(b.Path, "/")) {
		t.Errorf("incomplete: %s", show(b))
	}
	if f.OK() != (f.Class() == "") || f.OK() != (len(f.AppendText(nil)) == 0) {
		t.Errorf("class %q of %s", f.Class(), f.AppendJSON(nil))
	}
}
