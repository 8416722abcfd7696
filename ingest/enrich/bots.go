package enrich

import (
	_ "embed"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"
)

//go:generate npm --prefix ../../scripts/bots run generate

// botList is the list of crawler-user-agents, one regular expression a line;
// see NOTICE. scripts/bots fetches it.
//
//go:embed bots.txt
var botList string

// more are robots that the list lacks: browsers without a screen, libraries
// that programs fetch pages with, and the words that robots call themselves
// by. A user agent with a link or an e-mail address in it wants to be looked
// up.
var more = []string{
	"HeadlessChrome", "HeadlessShell", "PhantomJS", "SlimerJS", "Nightmare/", "Puppeteer", "Playwright", "Selenium", "jsdom/", "Lighthouse",
	"^Java/", "^okhttp/", "^Go-http-client", "^Go http package", "python-requests", "python-urllib", "Python-urllib", "^Python/", "aiohttp/", "^python-httpx/", "^axios/", "^node-fetch", "^undici", "^node$", "^Bun/", "^Deno/", "^got[ (/]",
	"libwww-perl", "^LWP::", "^libcurl", "^curl/", "^Wget", "^Ruby", "^Faraday ", "^HTTP_Request2", "^PHP/", "GuzzleHttp", "^Apache-HttpClient/", "^Jakarta", "^Dart/", "^reqwest/", "^ureq/", "^PostmanRuntime/", "^insomnia/", "^Symfony ", "^WordPress/", "WinHttp", "^libfetch", "^Microsoft-CryptoAPI",
	"[Cc]rawler", "[Cc]rawling", "[Ss]pider", "[Ss]craper", "[Vv]alidator", "[Mm]onitoring", "[Uu]ptime", "[Ff]eed[Ff]etcher", "[Bb]ot/", "[Bb]ot;", "[Bb]ot ", "[Bb]ot$", "Bot-", "[Bb]ot\\)",
	"http://", "https://", "@",
}

// innocent are words that look like a robot's and are not: a maker of phones.
var innocent = []string{"CUBOT", "Cubot", "cubot"}

func botPatterns() []string {
	return append(strings.Split(strings.TrimSpace(botList), "\n"), more...)
}

// bots recognises the user agents of robots. The patterns that stand for a few
// fixed words, nearly all of them, are compiled into one automaton that looks
// at each byte of a user agent once; the others are tried only if a word that
// they begin with was there.
type bots struct {
	words   *automaton
	regexps []*regexp.Regexp
}

func newBots(patterns []string) *bots {
	b := &bots{}
	var words []word
	for _, p := range patterns {
		tree, err := syntax.Parse(p, syntax.Perl)
		if err != nil {
			continue // a test sees to it that there is none
		}
		if all, complete := expand(tree.Simplify()); complete {
			for _, w := range all {
				words = append(words, word{w, certain})
			}
			continue
		}
		re := regexp.MustCompile(p)
		b.regexps = append(b.regexps, re)
		hint, _ := re.LiteralPrefix()
		words = append(words, word{hint, perhaps})
	}
	b.words = newAutomaton(words)
	return b
}

// match tells whether a user agent is a robot's. An empty one is: browsers
// send theirs, programs forget to.
func (b *bots) match(agent string) bool {
	if strings.TrimSpace(agent) == "" || agent == "-" {
		return true
	}
	for _, word := range innocent {
		if strings.Contains(agent, word) {
			agent = strings.ReplaceAll(agent, word, "")
		}
	}
	switch b.words.find(agent) {
	case certain:
		return true
	case perhaps:
		for _, re := range b.regexps {
			if re.MatchString(agent) {
				return true
			}
		}
	}
	return false
}

// The start and the end of a user agent are bytes of their own to the
// automaton, so that ^ and $ are letters like others. HTTP forbids both bytes
// in a header.
const (
	begin = "\x02"
	end   = "\x03"
)

// most is how many words a pattern may stand for.
const most = 64

// expand lists the words that an expression matches, if they are few.
func expand(re *syntax.Regexp) (words []string, complete bool) {
	switch re.Op {
	case syntax.OpLiteral:
		return spellings(re)
	case syntax.OpEmptyMatch:
		return []string{""}, true
	case syntax.OpBeginText, syntax.OpBeginLine:
		return []string{begin}, true
	case syntax.OpEndText, syntax.OpEndLine:
		return []string{end}, true
	case syntax.OpCapture:
		return expand(re.Sub[0])
	case syntax.OpQuest:
		words, complete = expand(re.Sub[0])
		return append(words, ""), complete
	case syntax.OpCharClass:
		for i := 0; i < len(re.Rune); i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				if words = append(words, string(r)); len(words) > most {
					return nil, false
				}
			}
		}
		return words, true
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			more, ok := expand(sub)
			if words = append(words, more...); !ok || len(words) > most {
				return nil, false
			}
		}
		return words, true
	case syntax.OpConcat:
		words = []string{""}
		for _, sub := range re.Sub {
			tails, ok := expand(sub)
			if !ok || len(words)*len(tails) > most {
				return nil, false
			}
			var longer []string
			for _, w := range words {
				for _, tail := range tails {
					longer = append(longer, w+tail)
				}
			}
			words = longer
		}
		return words, true
	}
	return nil, false
}

// spellings lists the words of a literal, which are several if it ignores
// case: [bB] is parsed as such.
func spellings(re *syntax.Regexp) (words []string, complete bool) {
	words = []string{""}
	for _, r := range re.Rune {
		spelt := []rune{r}
		if re.Flags&syntax.FoldCase != 0 {
			for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
				spelt = append(spelt, other)
			}
		}
		var longer []string
		for _, w := range words {
			for _, r := range spelt {
				longer = append(longer, w+string(r))
			}
		}
		if words = longer; len(words) > most {
			return nil, false
		}
	}
	return words, true
}
