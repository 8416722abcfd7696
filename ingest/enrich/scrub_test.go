package enrich

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/halfmask/halfmask/event"
)

func TestScrubPath(t *testing.T) {
	for path, want := range map[string]string{
		"/":                                         "/",
		"/users/jane@example.com/edit":              "/users/:email/edit",
		"/users/jane%40example.com":                 "/users/:email",
		"/users/jane%2540example.com/x":             "/users/:email/x",
		"/mail=Jane.Doe+news@mail.example":          "/mail=:email",
		"/to:jörg@müller.example.":                  "/to::email.",
		"/@ada":                                     "/@ada",
		"/@ada@mastodon.example/1":                  "/@:email/1",
		"/npm/lodash@4.17.21/lodash.js":             "/npm/lodash@4.17.21/lodash.js",
		"/maps/@52.5200,13.4050,15z":                "/maps/@52.5200,13.4050,15z",
		"/o/1a2b3c4d-1111-4222-8333-123456789abc/x": "/o/:id/x",
		"/o/a-1A2B3C4D-1111-4222-8333-123456789ABC": "/o/a-:id",
		"/md5/d41d8cd98f00b204e9800998ecf8427e.png": "/md5/:id.png",
		"/t/507f1f77bcf86cd799439011":               "/t/:id",
		"/commit/d41d8cd98f":                        "/commit/d41d8cd98f",
		"/reset/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P": "/reset/:token",
		"/reset_eyJhbGciOiJIUzI1NiJ9":        "/:token",
		"/reset/kX9wQ2vL8mZ4nB7rT1yP":        "/reset/:token",
		"/reset/kX9wQ2-vL8mZ4n_B7rT1yP":      "/reset/:token",
		"/u/amFuZUBleGFtcGxlLmNvbQ==":        "/u/:email==",
		"/call/+49-170-1234567":              "/call/:number",
		"/call/+4712345678":                  "/call/:number",
		"/call/%2B49%20170%201234567":        "/call/:number",
		"/call/0170-1234567":                 "/call/:number",
		"/call/06.12.34.56.78":               "/call/:number",
		"/call/(555) 123-4567 now":           "/call/:number now",
		"/call/1-555-123-4567":               "/call/:number",
		"/call/01701234567":                  "/call/:number",
		"/order/123456789":                   "/order/:number",
		"/order/12345678":                    "/order/12345678",
		"/article255555555.html":             "/article:number.html",
		"/book/9783161484100":                "/book/9783161484100",
		"/book/9783161484101":                "/book/:number",
		"/web/20261122143000/page":           "/web/20261122143000/page",
		"/2026/11/22/top-10-2026-11-22":      "/2026/11/22/top-10-2026-11-22",
		"/01-12-2026-09-30":                  "/01-12-2026-09-30",
		"/whois/203.0.113.77":                "/whois/:ip",
		"/whois/8.8.8.8/x":                   "/whois/:ip/x",
		"/docs/10.0.19041.1":                 "/docs/10.0.19041.1",
		"/docs/1.2.3":                        "/docs/1.2.3",
		"/docs/1.2.3.4.5":                    "/docs/1.2.3.4.5",
		"/whois/2001:db8::1":                 "/whois/:ip",
		"/mac/00:1a:2b:3c:4d:5e":             "/mac/:ip",
		"/at/10:20:30":                       "/at/10:20:30",
		"/std::string::size":                 "/std::string::size",
		"/GettingStartedWithWindows11":       "/GettingStartedWithWindows11",
		"/how-we-measure-half-of-everything": "/how-we-measure-half-of-everything",
		"/#/users/jane@example.com":          "/#/users/:email",
		"/straße/日本語/2026":                   "/straße/日本語/2026",
	} {
		var s Scrubber
		if got := s.Path(path); got != want {
			t.Errorf("%q became %q, want %q", path, got, want)
		}
	}
}

func TestScrubText(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "",
		"120208734563450123":                   "120208734563450123", // a campaign's number is nobody's
		"d41d8cd98f00b204e9800998ecf8427e":     "d41d8cd98f00b204e9800998ecf8427e",
		"write to jane@example.com, please":    "write to :email, please",
		"(jane@example.com)":                   "(:email)",
		"jane%40example.com":                   ":email",
		"@ada":                                 "@ada",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0": ":token",
		"heyJude":                              "heyJude",
		"100 % @ home":                         "100 % @ home",
	} {
		var s Scrubber
		if got := s.Text(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestScrubEvent(t *testing.T) {
	const mail = "jane@example.com"
	e := event.Event{
		Path: "/" + mail, Name: mail, Hostname: "example.com", Props: []event.Prop{{Key: mail, Value: "for " + mail}, {Key: "a", Value: "b"}},
		Origin: event.Origin{Source: mail, Referrer: "other.example/a/" + mail, Campaign: event.Campaign{Source: mail, Medium: mail, Campaign: mail, Content: mail, Term: mail}},
	}
	var s Scrubber
	s.Event(&e)
	s.Origin(&e.Origin)
	if got := fmt.Sprintf("%+v", e); strings.Contains(got, "jane") || strings.Count(got, ":email") != 11 || e.Origin.Referrer != "other.example/a/:email" {
		t.Errorf("scrubbed: %s", got)
	}
	// What was scrubbed before keeps its text when the buffer grows.
	first := s.Path("/1/" + mail)
	for range 1000 {
		s.Path("/2/" + mail)
	}
	if first != "/1/:email" {
		t.Errorf("it became %q", first)
	}
	s.Reset()
	if len(s.buffer) != 0 || cap(s.buffer) > largestBuffer {
		t.Errorf("%d of %d bytes are held on to", len(s.buffer), cap(s.buffer))
	}
}

// corpus makes the paths of URLs: those that hold something of a person, by
// kind, with a part that must be gone; and those that do not, which must stay.
func corpus() (persons map[string][][2]string, pages map[string][]string) {
	r := rand.New(rand.NewPCG(30, 500))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	draw := func(n int, from string) string {
		var b strings.Builder
		for range n {
			b.WriteByte(from[r.IntN(len(from))])
		}
		return b.String()
	}
	const digits, hexDigits, base62 = "0123456789", "0123456789abcdef", "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	number := func(n int) string { return draw(1, digits[1:]) + draw(n-1, digits) }
	names := []string{"jane", "j.doe", "Maria_Garcia", "max.mustermann", "o'brien", "李雷", "jörg", "info", "a", "x1990", "sales+eu", "first.last+tag"}
	hosts := []string{"example.com", "mail.example.co.uk", "gmail.com", "163.com", "web.de", "sub.domain.example.org", "t-online.de", "müller.example"}
	address := func() string { return pick(names...) + pick("", fmt.Sprint(r.IntN(99))) + "@" + pick(hosts...) }
	uuid := func() string {
		return draw(8, hexDigits) + "-" + draw(4, hexDigits) + "-" + pick("4", "7") + draw(3, hexDigits) + "-" + pick("8", "9", "a", "b") + draw(3, hexDigits) + "-" + draw(12, hexDigits)
	}
	words := strings.Fields("how to count half of everything privacy winter jacket blue running shoes guide review best travel berlin news politics recipe " +
		"chocolate cake release notes getting started install docker kubernetes database index query performance women men kids sale about team careers contact pricing blog")
	slug := func(n int) string {
		var parts []string
		for range n {
			parts = append(parts, pick(words...))
		}
		return strings.Join(parts, "-")
	}
	frame := func(secret string) string {
		switch r.IntN(6) {
		case 0:
			return "/" + pick(words...) + "/" + secret
		case 1:
			return "/" + pick(words...) + "/" + secret + "/" + pick(words...)
		case 2:
			return "/" + slug(3) + "/" + secret + ".html"
		case 3:
			return "/#/" + pick(words...) + "/" + secret
		case 4:
			return "/" + pick("en", "de") + "/" + pick("user", "reset", "track") + "=" + secret
		default:
			return "/" + pick("u", "confirm", "invite") + "/" + secret + "/"
		}
	}
	persons, pages = map[string][][2]string{}, map[string][]string{}
	person := func(kind, secret, gone string) { persons[kind] = append(persons[kind], [2]string{frame(secret), gone}) }
	page := func(kind, path string) { pages[kind] = append(pages[kind], path) }
	title := func(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
	for range 60 {
		a := address()
		person("e-mail address", a, a)
		a = address()
		person("escaped e-mail address", url.PathEscape(strings.Replace(a, "@", "%40", 1)), a[strings.IndexByte(a, '@')+1:])
		escaped := url.QueryEscape(address())
		person("e-mail address in a query's escapes", escaped, escaped)
		plain := "j" + draw(1+r.IntN(8), "aeiourst") + "@" + pick(hosts[:6]...)
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
			s := e.EncodeToString([]byte(plain))
			person("e-mail address in base64", s, strings.TrimRight(s, "="))
		}
		u := uuid()
		person("UUID", u, u)
		u = strings.ToUpper(uuid())
		person("UUID after a word", pick(words...)+"-"+u, u)
		h := draw(pick2(r, 32, 40, 64, 24), hexDigits)
		person("hexadecimal", h, h)
		jwt := "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ" + draw(40, base62) + "." + draw(43, base62+"-_")
		person("JSON Web Token", jwt, jwt[20:])
		tok := draw(20+r.IntN(30), base62)
		person("token", tok, tok)
		tok = draw(22+r.IntN(20), base62+"-_")
		person("token with - and _", tok, tok)
		n := number(9 + r.IntN(11))
		if !moment(n) && !isbn(n) {
			person("long number", n, n)
		}
		for _, phone := range []string{
			"+49-" + number(3) + "-" + number(7), "+1" + number(10), "0" + number(3) + "-" + number(7), "0" + number(10), "00" + number(2) + " " + number(3) + " " + number(6),
			"%2B44%20" + number(4) + "%20" + number(6), "(" + number(3) + ")" + number(3) + "-" + number(4), number(3) + "." + number(3) + "." + number(4),
			"+33.6." + draw(2, digits) + "." + draw(2, digits) + "." + draw(2, digits) + "." + draw(2, digits), "+" + number(2) + " " + number(8),
		} {
			person("telephone number", phone, strings.TrimLeft(phone, "+(")[5:])
		}
		ip := fmt.Sprintf("%d.%d.%d.%d", 1+r.IntN(223), r.IntN(256), r.IntN(256), r.IntN(256))
		person("IPv4 address", ip, ip)
		ip = fmt.Sprintf("2001:db8:%x:%x::%x", r.IntN(1<<16), r.IntN(1<<16), r.IntN(1<<16))
		person("IPv6 address", ip, ip)

		page("slug", "/"+pick(words...)+"/"+slug(2+r.IntN(7)))
		page("dated slug", fmt.Sprintf("/%d/%02d/%02d/%s", 2000+r.IntN(30), 1+r.IntN(12), 1+r.IntN(28), slug(4)))
		page("date", fmt.Sprintf("/%s/%d-%02d-%02d-%s", pick(words...), 2000+r.IntN(30), 1+r.IntN(12), 1+r.IntN(28), slug(2)))
		page("date written together", fmt.Sprintf("/%d%02d%02d/%s-%d", 2000+r.IntN(30), 1+r.IntN(12), 1+r.IntN(28), slug(2), r.IntN(100)))
		page("moment", fmt.Sprintf("/web/%d%02d%02d%02d%02d%02d/%s", 2000+r.IntN(30), 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), slug(2)))
		page("article", "/"+slug(3)+"-"+number(4+r.IntN(5)))
		page("product", "/p/"+number(3+r.IntN(6))+"/"+slug(3)+".html")
		page("SKU", "/sku/"+strings.ToUpper(draw(3, "abcdefghkmnp"))+"-"+number(4)+"-"+pick("XL", "M", "42", "BLK")+"-"+number(2))
		page("Amazon-like article", "/dp/B0"+draw(8, "0123456789ABCDEFGHJKLMNPQRSTVWXYZ"))
		page("range of years", fmt.Sprintf("/%s-%d-%d-%s", pick(words...), 1990+r.IntN(20), 2010+r.IntN(20), slug(2)))
		page("version", fmt.Sprintf("/docs/v%d.%d.%d/%s", r.IntN(30), r.IntN(30), r.IntN(30), slug(2)))
		page("package", fmt.Sprintf("/npm/%s@%d.%d.%d/dist/index.min.js", slug(2), r.IntN(30), r.IntN(30), r.IntN(30)))
		page("camel case", "/docs/"+title(pick(words...))+title(pick(words...))+title(pick(words...))+title(pick(words...))+fmt.Sprint(r.IntN(100))+".html")
		page("title case", "/wiki/"+title(pick(words...))+"_"+title(pick(words...))+"_("+title(pick(words...))+")")
		page("handle", "/@"+pick(words...)+fmt.Sprint(r.IntN(1000))+"/"+number(6))
		page("map", fmt.Sprintf("/maps/@%d.%04d,%d.%04d,15z", r.IntN(80), r.IntN(10000), r.IntN(80), r.IntN(10000)))
		page("video", "/watch/"+draw(11, base62))
		page("commit", "/commit/"+draw(pick2(r, 7, 8, 10, 12), hexDigits))
		page("list", fmt.Sprintf("/top-%d-%s-of-%d/page/%d", 5+r.IntN(95), slug(1), 2000+r.IntN(30), r.IntN(100)))
		page("shop", fmt.Sprintf("/%s/%s-c%d/%s-p%d?", slug(1), slug(2), r.IntN(10000), slug(3), r.IntN(10_000_000)))
		page("script", "/"+pick("日本語", "über-uns", "новости", "مقالات", "caf%E9")+"/"+slug(2))
		page("picture", fmt.Sprintf("/wp-content/uploads/%d/%02d/IMG_%d-%dx%d.jpg", 2000+r.IntN(30), 1+r.IntN(12), r.IntN(10000), 100+r.IntN(2000), 100+r.IntN(2000)))
	}
	return persons, pages
}

func pick2(r *rand.Rand, from ...int) int { return from[r.IntN(len(from))] }

// What of a person stands in a path is found in 99 of 100, and of 100 other
// paths at most one is changed.
func TestScrubCorpus(t *testing.T) {
	persons, pages := corpus()
	total, missed := 0, 0
	for kind, paths := range persons {
		of := 0
		for _, p := range paths {
			var s Scrubber
			if got := s.Path(p[0]); strings.Contains(got, p[1]) {
				of++
				t.Logf("%s: kept in %q, as %q", kind, p[0], got)
			}
		}
		total, missed = total+len(paths), missed+of
		if of*20 > len(paths) {
			t.Errorf("%s: %d of %d are kept", kind, of, len(paths))
		}
	}
	t.Logf("%d of %d paths with something of a person keep it", missed, total)
	if total < 500 || missed*100 > total {
		t.Errorf("%d of %d paths with something of a person keep it", missed, total)
	}
	total, wrong := 0, 0
	for kind, paths := range pages {
		of := 0
		for _, p := range paths {
			var s Scrubber
			if got := s.Path(p); got != p {
				of++
				t.Logf("%s: %q became %q", kind, p, got)
			}
		}
		total, wrong = total+len(paths), wrong+of
		if of*20 > len(paths) {
			t.Errorf("%s: %d of %d are changed", kind, of, len(paths))
		}
	}
	t.Logf("%d of %d other paths are changed", wrong, total)
	if total < 500 || wrong*100 > total {
		t.Errorf("%d of %d other paths are changed", wrong, total)
	}
}

// Whatever comes, scrubbing twice is scrubbing once, no address with an @ and a
// domain is left, and what looked harmless at first sight is.
func FuzzScrub(f *testing.F) {
	persons, pages := corpus()
	for _, paths := range persons {
		f.Add(paths[0][0])
	}
	for _, paths := range pages {
		f.Add(paths[0])
	}
	f.Fuzz(func(t *testing.T, path string) {
		var s Scrubber
		once := strings.Clone(s.Path(path))
		if !suspicious(path) {
			if all := s.scrub(path, matchInPath); all != path {
				t.Errorf("%q looks harmless, but is %q", path, all)
			}
		}
		if twice := s.Path(once); twice != once && !strings.Contains(once, ":") {
			t.Errorf("%q became %q and then %q", path, once, twice)
		}
		for i := range len(once) {
			if uuid(once, i) > 0 && (i == 0 || sorts[once[i-1]]&alnum == 0) {
				t.Errorf("%q keeps a UUID", once)
			}
		}
		if got := s.Text(s.Text(path)); strings.Contains(got, "a@b.cd") {
			t.Errorf("%q keeps an address", got)
		}
	})
}

var ordinary = []string{"/", "/pricing", "/articles/17/how-we-measure-half-of-everything", "/blog/2026/11/22/release-notes", "/p/1234567/blue-running-shoes.html"}

func TestScrubDoesNotAllocate(t *testing.T) {
	var s Scrubber
	e := event.Event{Name: "pageview", Props: []event.Prop{{Key: "plan", Value: "free"}}, Origin: event.Origin{Referrer: "news.example/item/1"}}
	for _, path := range append(ordinary, "/users/jane@example.com") {
		s.Path(path)
		if n := testing.AllocsPerRun(100, func() {
			e.Path = path
			s.Event(&e)
			s.Origin(&e.Origin)
			s.Reset()
		}); n != 0 {
			t.Errorf("%v allocations for %q", n, path)
		}
	}
}

func BenchmarkScrub(b *testing.B) {
	for _, path := range append(ordinary, "/users/jane@example.com/edit", "/o/1a2b3c4d-1111-4222-8333-123456789abc/x") {
		b.Run(strings.ReplaceAll(path, "/", "|"), func(b *testing.B) {
			var s Scrubber
			b.ReportAllocs()
			for b.Loop() {
				s.Path(path)
				s.Reset()
			}
		})
	}
	b.Run("event", func(b *testing.B) {
		var s Scrubber
		e := event.Event{Path: ordinary[2], Name: "pageview", Props: []event.Prop{{Key: "plan", Value: "free"}, {Key: "theme", Value: "dark"}},
			Origin: event.Origin{Source: "newsletter", Referrer: "news.example/item/1", Campaign: event.Campaign{Source: "newsletter", Medium: "email", Campaign: "week-42"}}}
		b.ReportAllocs()
		for b.Loop() {
			s.Event(&e)
			s.Origin(&e.Origin)
		}
	})
}
