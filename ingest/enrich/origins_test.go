package enrich

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/halfmask/halfmask/event"
)

var home = &event.Site{Domain: "example.com"}

func TestOrigin(t *testing.T) {
	e := New(Options{Agents: 8})
	type want struct{ source, channel, referrer string }
	for _, c := range []struct {
		name string
		hit  event.Hit
		want want
	}{
		{"nothing", event.Hit{}, want{"", direct, ""}},
		{"search", event.Hit{Referrer: "https://www.google.com/"}, want{"Google", organicSearch, "google.com"}},
		{"search abroad", event.Hit{Referrer: "https://www.google.co.uk/search?q=secret"}, want{"Google", organicSearch, "google.co.uk/search"}},
		{"search in Brazil", event.Hit{Referrer: "https://google.com.br"}, want{"Google", organicSearch, "google.com.br"}},
		{"pictures", event.Hit{Referrer: "https://images.google.de/imgres?x"}, want{"Google", organicSearch, "images.google.de/imgres"}},
		{"not a search", event.Hit{Referrer: "https://docs.google.com/document/d/1"}, want{"Google Docs", referral, "docs.google.com/document/d/1"}},
		{"duck", event.Hit{Referrer: "https://html.duckduckgo.com/html/"}, want{"DuckDuckGo", organicSearch, "html.duckduckgo.com/html"}},
		{"yahoo", event.Hit{Referrer: "https://de.search.yahoo.com/search;_ylt=x"}, want{"Yahoo", organicSearch, "de.search.yahoo.com/search;_ylt=x"}},
		{"news", event.Hit{Referrer: "https://news.ycombinator.com/item?id=1"}, want{"Hacker News", organicSocial, "news.ycombinator.com/item"}},
		{"mobile", event.Hit{Referrer: "https://m.facebook.com/"}, want{"Facebook", organicSocial, "m.facebook.com"}},
		{"short link", event.Hit{Referrer: "https://t.co/AbC"}, want{"X", organicSocial, "t.co/AbC"}},
		{"video", event.Hit{Referrer: "https://www.youtube.com/watch?v=1"}, want{"YouTube", organicVideo, "youtube.com/watch"}},
		{"assistant", event.Hit{Referrer: "https://chatgpt.com/"}, want{"ChatGPT", assistants, "chatgpt.com"}},
		{"assistant by name", event.Hit{Campaign: event.Campaign{Source: "chatgpt.com"}}, want{"ChatGPT", assistants, ""}},
		{"shop", event.Hit{Referrer: "https://www.amazon.co.jp/dp/1"}, want{"Amazon", organicShopping, "amazon.co.jp/dp/1"}},
		{"webmail", event.Hit{Referrer: "https://mail.google.com/mail/u/0/"}, want{"Gmail", email, "mail.google.com/mail/u/0"}},
		{"app", event.Hit{Referrer: "android-app://com.google.android.gm/"}, want{"Gmail", email, "com.google.android.gm"}},
		{"unknown app", event.Hit{Referrer: "android-app://org.example.app"}, want{"org.example.app", referral, "org.example.app"}},
		{"some site", event.Hit{Referrer: "https://www.Example.ORG:8443/Path/?q=1#x"}, want{"example.org", referral, "example.org/Path"}},
		{"credentials", event.Hit{Referrer: "https://user:secret@example.org/a"}, want{"example.org", referral, "example.org/a"}},
		{"looks like", event.Hit{Referrer: "https://notgoogle.com/"}, want{"notgoogle.com", referral, "notgoogle.com"}},
		{"pretends", event.Hit{Referrer: "https://google.com.evil.example/"}, want{"google.com.evil.example", referral, "google.com.evil.example"}},
		{"own", event.Hit{Referrer: "https://www.example.com/a", Hostname: "example.com"}, want{"", direct, ""}},
		{"own subdomain", event.Hit{Referrer: "https://shop.example.com/a", Hostname: "example.com"}, want{"", direct, ""}},
		{"own host elsewhere", event.Hit{Referrer: "https://example.net/a", Hostname: "example.net"}, want{"", direct, ""}},
		{"not own", event.Hit{Referrer: "https://notexample.com/a", Hostname: "example.com"}, want{"notexample.com", referral, "notexample.com/a"}},
		{"localhost", event.Hit{Referrer: "http://localhost:3000/"}, want{"", direct, ""}},
		{"an address", event.Hit{Referrer: "http://203.0.113.77/a"}, want{"", direct, ""}},
		{"an address with a port", event.Hit{Referrer: "http://203.0.113.77:80/a"}, want{"", direct, ""}},
		{"an address as a number", event.Hit{Referrer: "http://3405803853/a"}, want{"", direct, ""}},
		{"an address in hex", event.Hit{Referrer: "http://0xcb00714d/a"}, want{"", direct, ""}},
		{"an IPv6 address", event.Hit{Referrer: "http://[2001:db8::1]:80/a"}, want{"", direct, ""}},
		{"other scheme", event.Hit{Referrer: "about:blank"}, want{"", direct, ""}},
		{"a file", event.Hit{Referrer: "file:///home/me/x.html"}, want{"", direct, ""}},
		{"not a URL", event.Hit{Referrer: "example.org"}, want{"", direct, ""}},
		{"nonsense", event.Hit{Referrer: "https://<script>/"}, want{"", direct, ""}},
		{"control characters", event.Hit{Referrer: "https://example.org/a\nb"}, want{"", direct, ""}},

		{"campaign", event.Hit{Campaign: event.Campaign{Source: "spring-mailing", Medium: "Email"}, Referrer: "https://example.org/x"}, want{"spring-mailing", email, "example.org/x"}},
		{"newsletter", event.Hit{Campaign: event.Campaign{Source: "Newsletter"}}, want{"Newsletter", email, ""}},
		{"alias", event.Hit{Campaign: event.Campaign{Source: "FB"}}, want{"Facebook", organicSocial, ""}},
		{"ref", event.Hit{Ref: "producthunt"}, want{"Product Hunt", organicSocial, ""}},
		{"ref is a URL", event.Hit{Ref: "https://www.producthunt.com/posts/x"}, want{"Product Hunt", organicSocial, ""}},
		{"ref is an unknown URL", event.Hit{Ref: "https://www.example.org/posts/x"}, want{"example.org", referral, ""}},
		{"ref is an unknown host", event.Hit{Ref: "example.org"}, want{"example.org", referral, ""}},
		{"ref is a word", event.Hit{Ref: "footer"}, want{"footer", referral, ""}},
		{"paid search", event.Hit{Campaign: event.Campaign{Source: "google", Medium: "cpc"}}, want{"Google", paidSearch, ""}},
		{"paid search by click", event.Hit{Referrer: "https://www.google.com/", ClickID: event.GoogleClick}, want{"Google", paidSearch, "google.com"}},
		{"a click alone", event.Hit{ClickID: event.MicrosoftClick}, want{"Bing", paidSearch, ""}},
		{"somebody else's click", event.Hit{Referrer: "https://example.org/", ClickID: event.GoogleClick}, want{"example.org", referral, "example.org"}},
		{"Meta marks all", event.Hit{Referrer: "https://l.facebook.com/", ClickID: event.MetaClick}, want{"Facebook", organicSocial, "l.facebook.com"}},
		{"paid social", event.Hit{Campaign: event.Campaign{Source: "ig", Medium: "paid_social"}}, want{"Instagram", paidSocial, ""}},
		{"paid by view", event.Hit{Campaign: event.Campaign{Source: "ig", Medium: "cpm"}}, want{"Instagram", paidSocial, ""}},
		{"paid social by click", event.Hit{ClickID: event.XClick}, want{"X", paidSocial, ""}},
		{"paid video", event.Hit{Campaign: event.Campaign{Source: "youtube", Medium: "cpv"}}, want{"YouTube", paidVideo, ""}},
		{"paid video in words", event.Hit{Campaign: event.Campaign{Source: "youtube", Medium: "paid"}}, want{"YouTube", paidVideo, ""}},
		{"display", event.Hit{Campaign: event.Campaign{Source: "somewhere", Medium: "banner"}}, want{"somewhere", display, ""}},
		{"display by view", event.Hit{Campaign: event.Campaign{Source: "somewhere", Medium: "CPM"}}, want{"somewhere", display, ""}},
		{"paid other", event.Hit{Campaign: event.Campaign{Source: "somewhere", Medium: "ppc"}}, want{"somewhere", paidOther, ""}},
		{"cross-network", event.Hit{Campaign: event.Campaign{Source: "google", Medium: "cpc", Campaign: "x cross-network y"}}, want{"Google", crossNetwork, ""}},
		{"paid shopping", event.Hit{Campaign: event.Campaign{Source: "google", Medium: "cpc", Campaign: "Shopping DE"}}, want{"Google", paidShopping, ""}},
		{"no shop", event.Hit{Campaign: event.Campaign{Source: "google", Medium: "cpc", Campaign: "workshop"}}, want{"Google", paidSearch, ""}},
		{"organic shopping", event.Hit{Campaign: event.Campaign{Source: "x", Campaign: "eshop"}}, want{"X", organicShopping, ""}},
		{"social by medium", event.Hit{Campaign: event.Campaign{Source: "buffer", Medium: "social"}}, want{"buffer", organicSocial, ""}},
		{"affiliate", event.Hit{Campaign: event.Campaign{Source: "partner", Medium: "affiliate"}}, want{"partner", affiliates, ""}},
		{"audio", event.Hit{Campaign: event.Campaign{Source: "podcast", Medium: "audio"}}, want{"podcast", audio, ""}},
		{"sms", event.Hit{Campaign: event.Campaign{Source: "sms"}}, want{"sms", sms, ""}},
		{"push", event.Hit{Campaign: event.Campaign{Source: "app", Medium: "web-push"}}, want{"app", push, ""}},
		{"notification", event.Hit{Campaign: event.Campaign{Source: "firebase"}}, want{"firebase", push, ""}},
		{"says direct", event.Hit{Campaign: event.Campaign{Source: "(direct)", Medium: "(none)"}}, want{"(direct)", direct, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.hit.Site = home
			o := event.Origin{EntryPath: "left over"}
			e.Origin(&c.hit, &o)
			if got := (want{o.Source, o.Channel, o.Referrer}); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if o.Campaign != c.hit.Campaign || o.EntryPath != "" {
				t.Errorf("the rest: %+v", o)
			}
		})
	}
}

func TestSources(t *testing.T) {
	seen := map[string]string{}
	for _, s := range sources {
		for _, key := range strings.Fields(s.keys) {
			if key != strings.ToLower(key) {
				t.Errorf("%s: %s is not in lower case", s.name, key)
			}
			if other, twice := seen[key]; twice {
				t.Errorf("%s belongs to %s and %s", key, other, s.name)
			}
			seen[key] = s.name
		}
	}
}

// What is kept of a referrer has no query, fragment, user or control
// character, whatever was sent.
func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"https://www.google.com/?q=1", "http://u:p@h.example:1/a?b#c", "android-app://a.b/c", "https://", "https://@", "https://a@b@c.d", "x://y", "https://xn--bcher-kva.example/ü", "http://[::1]", "https://a..b./", "https://WWW.A.B//"} {
		f.Add(s, "")
		f.Add("", s)
	}
	e := New(Options{Agents: 8})
	f.Fuzz(func(t *testing.T, referrer, ref string) {
		hit := event.Hit{Site: home, Referrer: referrer, Ref: ref}
		var o event.Origin
		e.Origin(&hit, &o)
		host, _, _ := strings.Cut(o.Referrer, "/")
		if strings.ContainsAny(o.Referrer, "?#\n\x00 ") || strings.Contains(host, "@") || strings.HasPrefix(o.Referrer, "www.") && !strings.Contains(referrer, "www.www.") && !strings.HasPrefix(referrer, "android-app") && !strings.Contains(strings.ToLower(referrer), "www.www.") {
			t.Errorf("kept %q of %q", o.Referrer, referrer)
		}
		if len(o.Referrer) > longestReferrer || utf8.ValidString(referrer) && !utf8.ValidString(o.Referrer) {
			t.Errorf("kept %q of %q", o.Referrer, referrer)
		}
		if o.Channel == "" {
			t.Error("no channel")
		}
	})
}

func TestOriginDoesNotAllocate(t *testing.T) {
	e := New(Options{Agents: 8})
	for _, hit := range []event.Hit{
		{Referrer: "https://www.google.com/search?q=1"},
		{Referrer: "https://blog.example.org/post/1"},
		{Referrer: "https://example.org/", Campaign: event.Campaign{Source: "Newsletter", Medium: "Email", Campaign: "May"}},
	} {
		hit.Site, hit.Hostname = home, "example.com"
		var o event.Origin
		if n := testing.AllocsPerRun(100, func() { e.Origin(&hit, &o) }); n != 0 {
			t.Errorf("%v allocations for %q", n, hit.Referrer)
		}
	}
}

func BenchmarkOrigin(b *testing.B) {
	e := New(Options{Agents: 8})
	for name, hit := range map[string]event.Hit{
		"direct":   {},
		"search":   {Referrer: "https://www.google.com/search?q=1"},
		"referral": {Referrer: "https://blog.example.org/post/1"},
		"campaign": {Campaign: event.Campaign{Source: "newsletter", Medium: "email", Campaign: "May"}},
	} {
		b.Run(name, func(b *testing.B) {
			hit.Site, hit.Hostname = home, "example.com"
			var o event.Origin
			b.ReportAllocs()
			for b.Loop() {
				e.Origin(&hit, &o)
			}
		})
	}
}
