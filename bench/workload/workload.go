// Package workload makes the beacons that benchmarks and the load program send,
// the same ones every time: bodies of about 250 bytes, paths as skewed as on a
// real site, user agents in the shapes of real browsers. It knows nothing of
// Halfmask but the form of its beacons.
package workload

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
)

// Site is the domain that all beacons belong to.
const Site = "bench.example"

// Mix says how varied the beacons are.
type Mix struct {
	Paths     int // distinct ones
	Agents    int // distinct user agents
	Addresses int // distinct client addresses; one beacon for each
}

// Realistic is the mix that results are given for.
var Realistic = Mix{Paths: 1000, Agents: 200, Addresses: 50_000}

// Beacon is one request.
type Beacon struct {
	Body    []byte
	Agent   string
	Address netip.Addr
}

// HTTP returns the beacon as the bytes of a request that a trusted proxy
// passed on.
func (b *Beacon) HTTP() []byte {
	return fmt.Appendf(nil, "POST /api/event HTTP/1.1\r\nHost: stats.example\r\nUser-Agent: %s\r\nContent-Type: text/plain;charset=UTF-8\r\n"+
		"Origin: https://%s\r\nReferer: https://%s/\r\nAccept: */*\r\nAccept-Language: en-GB,en;q=0.9\r\nAccept-Encoding: gzip, deflate, br\r\n"+
		"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\nX-Forwarded-For: %s\r\nContent-Length: %d\r\n\r\n%s",
		b.Agent, Site, Site, b.Address, len(b.Body), b.Body)
}

// Beacons makes one beacon for each address of the mix.
func (m Mix) Beacons() []Beacon {
	random := rand.New(rand.NewPCG(1, 2)) // the same load every time
	agents := userAgents(m.Agents)
	paths := rand.NewZipf(random, 1.2, 8, uint64(m.Paths-1))
	referrers := []string{"", "", "", "https://www.google.com/", "https://news.ycombinator.com/item?id=1", "https://duckduckgo.com/", "https://www.linkedin.com/feed/"}
	beacons := make([]Beacon, m.Addresses)
	for i := range beacons {
		path := fmt.Sprintf("/articles/%d/how-we-measure-half-of-everything", paths.Uint64())
		if random.IntN(5) == 0 {
			path += "?utm_source=newsletter&utm_medium=email&utm_campaign=week-42"
		}
		beacons[i] = Beacon{
			Body: fmt.Appendf(nil, `{"n":"pageview","v":1,"u":"https://%s%s","d":%q,"r":%q,"p":{"plan":"free","theme":"dark"}}`,
				Site, path, Site, referrers[random.IntN(len(referrers))]),
			Agent:   agents[random.IntN(len(agents))],
			Address: netip.AddrFrom4([4]byte{byte(11 + i%80), byte(random.IntN(256)), byte(i >> 8), byte(i)}),
		}
	}
	return beacons
}

// userAgents makes n different ones in the shapes that browsers really send.
func userAgents(n int) []string {
	shapes := []string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36",
		"Mozilla/5.0 (X11; Linux x86_64; rv:%[1]d.0) Gecko/20100101 Firefox/%[1]d.0",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:%[1]d.0) Gecko/20100101 Firefox/%[1]d.0",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_%d like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.%d Safari/605.1.15",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Mobile Safari/537.36",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%[1]d.0.0.0 Safari/537.36 Edg/%[1]d.0.0.0",
		"Mozilla/5.0 (iPad; CPU OS 17_%d like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/%d.0 Chrome/130.0.0.0 Mobile Safari/537.36",
	}
	agents := make([]string, n)
	for i := range agents {
		agents[i] = fmt.Sprintf(shapes[i%len(shapes)], 120+i/len(shapes))
	}
	return agents
}
