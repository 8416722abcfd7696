// Package enrich is the last room with a user agent and a raw referrer. It
// turns the one into a client, or into the finding that no person is there,
// and the other into where a visit came from.
//
// It promises answers from closed sets or of bounded length, the same answer
// to the same question, bounded memory whatever is sent, and no allocation and
// no lock for what it has seen before. It never knows an address.
package enrich

import (
	"hash/maphash"
	"unique"

	"github.com/halfmask/halfmask/event"
)

// longestAgent is how much of a user agent is looked at, in bytes: browsers
// send 70 to 300, in-app browsers up to 450.
const longestAgent = 512

// Options are what an Enricher works with. A zero field takes its default.
type Options struct {
	// Agents bounds the user agents remembered. Default 16,384, which take about
	// 8 MB; a site with a million visitors a day sees fewer.
	Agents int
}

// Enricher answers what a user agent and a referrer mean. It is safe for
// concurrent use.
type Enricher struct {
	agents  *cache
	bots    *bots
	origins *origins
}

// New returns an Enricher. Building the list of robots takes some 10 ms.
func New(o Options) *Enricher {
	if o.Agents == 0 {
		o.Agents = 16384
	}
	return &Enricher{agents: newCache(o.Agents), bots: newBots(botPatterns()), origins: newOrigins()}
}

// Client tells what a user agent says about itself and whether it is a
// robot's; a robot has no client. The strings of the client are shared and
// never borrow from ua.
func (e *Enricher) Client(ua event.UserAgent) (client event.Client, bot bool) {
	agent := string(ua)
	if len(agent) > longestAgent {
		agent = agent[:longestAgent]
	}
	hash := maphash.String(e.agents.seed, agent)
	if known := e.agents.get(hash, agent); known != nil {
		return known.client, known.bot
	}
	fresh := &agentEntry{hash: hash, agent: string([]byte(agent))}
	if fresh.bot = e.bots.match(agent); !fresh.bot {
		fresh.client = shareClient(parseClient(fresh.agent))
	}
	e.agents.put(fresh)
	return fresh.client, fresh.bot
}

// shareClient lets go of the user agent that a client's strings are cut from.
func shareClient(c event.Client) event.Client {
	for _, s := range []*string{&c.Device, &c.Browser, &c.BrowserVersion, &c.OS, &c.OSVersion} {
		*s = unique.Make(*s).Value()
	}
	return c
}
