package consent_test

import (
	"bufio"
	"bytes"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/halfmask/halfmask/collector/consent"
)

// header parses lines as they come off the wire, so that the names are
// normalised as in a running server.
func header(t testing.TB, lines ...string) *fasthttp.RequestHeader {
	t.Helper()
	raw := "POST /api/event HTTP/1.1\r\nHost: h\r\n" + strings.Join(lines, "\r\n")
	if len(lines) > 0 {
		raw += "\r\n"
	}
	var h fasthttp.RequestHeader
	if err := h.Read(bufio.NewReader(strings.NewReader(raw + "\r\n"))); err != nil {
		t.Fatal(err)
	}
	return &h
}

func TestDecide(t *testing.T) {
	for name, c := range map[string]struct {
		lines []string
		want  consent.Signal
	}{
		"nothing":              {nil, consent.None},
		"cookie":               {[]string{"Cookie: halfmask_optout=1"}, consent.OptOutCookie},
		"cookie in the middle": {[]string{"Cookie: a=b; halfmask_optout=1; c=d"}, consent.OptOutCookie},
		"cookie last, no space": {[]string{"cookie: a=b;halfmask_optout=1"},
			consent.OptOutCookie},
		"second of two cookie headers": {[]string{"Cookie: a=b", "Cookie: halfmask_optout=1"}, consent.OptOutCookie},
		"two of the same name":         {[]string{"Cookie: halfmask_optout=0; halfmask_optout=1"}, consent.OptOutCookie},
		"other value":                  {[]string{"Cookie: halfmask_optout=0"}, consent.None},
		"longer value":                 {[]string{"Cookie: halfmask_optout=10"}, consent.None},
		"no value":                     {[]string{"Cookie: halfmask_optout"}, consent.None},
		"empty value":                  {[]string{"Cookie: halfmask_optout="}, consent.None},
		"name with a prefix":           {[]string{"Cookie: xhalfmask_optout=1"}, consent.None},
		"name with a suffix":           {[]string{"Cookie: halfmask_optout2=1"}, consent.None},
		"name in upper case":           {[]string{"Cookie: HALFMASK_OPTOUT=1"}, consent.None},
		"inside another's value":       {[]string{"Cookie: a=halfmask_optout=1"}, consent.None},
		"inside another's value, encoded": {[]string{"Cookie: a=%3Bhalfmask_optout=1"},
			consent.None},
		"another header":    {[]string{"X-Cookie: halfmask_optout=1"}, consent.None},
		"gpc":               {[]string{"Sec-GPC: 1"}, consent.GPC},
		"gpc in lower case": {[]string{"sec-gpc: 1"}, consent.GPC},
		"gpc 0":             {[]string{"Sec-GPC: 0"}, consent.None},
		"gpc empty":         {[]string{"Sec-GPC:"}, consent.None},
		"gpc 11":            {[]string{"Sec-GPC: 11"}, consent.None},
		"gpc twice":         {[]string{"Sec-GPC: 0", "Sec-GPC: 1"}, consent.GPC},
		"gpc empty, then 1": {[]string{"Sec-GPC:", "Sec-GPC: 1"}, consent.GPC},
		"dnt":               {[]string{"DNT: 1"}, consent.DNT},
		"dnt 0":             {[]string{"DNT: 0"}, consent.None},
		"dnt null":          {[]string{"DNT: null"}, consent.None},
		"cookie before gpc": {[]string{"DNT: 1", "Sec-GPC: 1", "Cookie: halfmask_optout=1"}, consent.OptOutCookie},
		"gpc before dnt":    {[]string{"DNT: 1", "Sec-GPC: 1"}, consent.GPC},
	} {
		t.Run(name, func(t *testing.T) {
			if got := consent.Decide(header(t, c.lines...)); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// The answer must not depend on whether somebody looked at the cookies before.
func TestDecideAfterCookiesWereParsed(t *testing.T) {
	h := header(t, "Cookie: a=b; halfmask_optout=1")
	h.Cookie("a")
	if got := consent.Decide(h); got != consent.OptOutCookie {
		t.Errorf("got %v", got)
	}
}

func TestSignalNames(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range consent.Signals() {
		if s == consent.None || s.String() == "" || s.String() == "unknown" || seen[s.String()] {
			t.Errorf("bad or repeated name %q", s)
		}
		seen[s.String()] = true
	}
	if consent.Signal(200).String() != "unknown" {
		t.Error("a signal that does not exist has a name")
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	h := header(t, "Cookie: a=b; c=d", "User-Agent: x", "DNT: 0", "Sec-GPC: 0")
	if n := testing.AllocsPerRun(100, func() { consent.Decide(h) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzCookie holds the parser against the obvious reading of a Cookie header.
func FuzzCookie(f *testing.F) {
	for _, s := range []string{"", ";", "=", "a=b; halfmask_optout=1", "halfmask_optout=1;", " halfmask_optout = 1 ", ";;==1;halfmask_optout==1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n\x00") {
			t.Skip()
		}
		var h fasthttp.RequestHeader
		raw := "GET / HTTP/1.1\r\nHost: h\r\nCookie: " + line + "\r\n\r\n"
		if err := h.Read(bufio.NewReader(strings.NewReader(raw))); err != nil {
			t.Skip()
		}
		want := false
		for pair := range strings.SplitSeq(string(bytes.Clone(h.Peek("Cookie"))), ";") {
			name, value, ok := strings.Cut(pair, "=")
			want = want || ok && strings.TrimSpace(name) == consent.Cookie && strings.TrimSpace(value) == "1"
		}
		if got := consent.Decide(&h) == consent.OptOutCookie; got != want {
			t.Errorf("%q: got %v, want %v", line, got, want)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	h := header(b, "User-Agent: Mozilla/5.0", "Accept: */*", "Accept-Language: de", "Accept-Encoding: gzip", "Origin: https://example.com",
		"Referer: https://example.com/", "Sec-Fetch-Site: cross-site", "Cookie: a=b; c=d")
	b.ReportAllocs()
	for b.Loop() {
		consent.Decide(h)
	}
}
