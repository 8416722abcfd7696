package enrich

import (
	"math/rand/v2"
	"os"
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"

	"github.com/halfmask/halfmask/event"
)

func TestRobots(t *testing.T) {
	e := New(Options{})
	samples := lines(t, "testdata/bots.txt")
	if len(samples) < 2000 {
		t.Fatalf("the list has %d samples", len(samples))
	}
	for _, agent := range append(samples,
		"", " ", "-", "curl/8.5.0", "python-requests/2.32.3", "Go-http-client/2.0", "okhttp/4.12.0", "axios/1.7.2", "node", "undici", "Java/21.0.1", "Wget/1.24.5",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/146.0.0.0 Safari/537.36",
		"Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/534.34 (KHTML, like Gecko) PhantomJS/1.9.2 Safari/534.34",
		"Mozilla/5.0 (compatible; SomeNewBot/1.0; +https://example.org/bot)",
		"Mozilla/5.0 (Linux; Android 10; CUBOT NOTE 20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/96.0.4664.45 Mobile Safari/537.36 (compatible; NewBot/1.0)",
		"NewThing spider",
	) {
		if client, bot := e.Client(event.UserAgent(agent)); !bot {
			t.Errorf("not recognised, but taken for %+v: %q", client, agent)
		}
	}
}

// The automaton agrees with the expressions that it was made from, tried one
// by one, on samples, browsers and random mixtures of them.
func TestMatcherAgreesWithTheExpressions(t *testing.T) {
	b := newBots(botPatterns())
	var all []*regexp.Regexp
	for _, p := range botPatterns() {
		if _, err := syntax.Parse(p, syntax.Perl); err != nil {
			t.Fatalf("cannot parse %q: %v", p, err)
		}
		all = append(all, regexp.MustCompile(p))
	}
	slow := func(agent string) bool {
		for _, re := range all {
			if re.MatchString(agent) {
				return true
			}
		}
		return false
	}
	r := rand.New(rand.NewPCG(1, 1))
	samples := lines(t, "testdata/bots.txt")
	agents, _ := realBrowsers(t)
	for range 60 {
		one, two := samples[r.IntN(len(samples))], agents[r.IntN(len(agents))]
		agents = append(agents, one[r.IntN(len(one)):]+two, two[:r.IntN(len(two))]+one[:r.IntN(len(one))], one)
	}
	differ, matched := 0, 0
	for _, agent := range agents {
		if strings.Contains(strings.ToLower(agent), "cubot") || strings.TrimSpace(agent) == "" {
			continue
		}
		want := slow(agent)
		if want {
			matched++
		}
		if b.match(agent) != want {
			differ++
			t.Errorf("matched: %v, want %v: %q", !want, want, agent)
		}
	}
	if matched < 100 || matched == len(agents) {
		t.Errorf("%d of %d mixtures are robots': that tries nothing", matched, len(agents))
	}
	if n := len(b.regexps); n > 8 {
		t.Errorf("%d expressions could not be compiled into the automaton", n)
	}
}

func TestTheListIsWhole(t *testing.T) {
	if n := strings.Count(botList, "\n"); n < 1400 {
		t.Errorf("the list has %d patterns", n)
	}
	notice, err := os.ReadFile("../../NOTICE")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(notice), "crawler-user-agents") {
		t.Error("NOTICE does not name the list's authors")
	}
}

func BenchmarkBots(b *testing.B) {
	matcher := newBots(botPatterns())
	agents, _ := realBrowsers(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		matcher.match(agents[i%len(agents)])
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		New(Options{})
	}
}
