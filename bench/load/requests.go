package main

import (
	"fmt"
	"math/rand/v2"
)

const site = "bench.example"

// makeRequests prepares realistic beacons: bodies of about 250 bytes, paths
// and visitors as skewed as on a real site, addresses given by a trusted
// proxy.
func makeRequests(o *options) [][]byte {
	random := rand.New(rand.NewPCG(1, 2)) // the same load every time
	agents := userAgents(o.agents)
	paths := rand.NewZipf(random, 1.2, 8, uint64(o.paths-1))
	referrers := []string{"", "", "", "https://www.google.com/", "https://news.ycombinator.com/item?id=1", "https://duckduckgo.com/", "https://www.linkedin.com/feed/"}
	requests := make([][]byte, o.addresses)
	for i := range requests {
		path := fmt.Sprintf("/articles/%d/how-we-measure-half-of-everything", paths.Uint64())
		if random.IntN(5) == 0 {
			path += "?utm_source=newsletter&utm_medium=email&utm_campaign=week-42"
		}
		body := fmt.Sprintf(`{"n":"pageview","v":1,"u":"https://%s%s","d":%q,"r":%q,"p":{"plan":"free","theme":"dark"}}`,
			site, path, site, referrers[random.IntN(len(referrers))])
		requests[i] = fmt.Appendf(nil, "POST /api/event HTTP/1.1\r\nHost: stats.example\r\nUser-Agent: %s\r\nContent-Type: text/plain\r\n"+
			"Origin: https://%s\r\nAccept: */*\r\nAccept-Language: en-GB,en;q=0.9\r\nSec-Fetch-Site: cross-site\r\n"+
			"X-Forwarded-For: %d.%d.%d.%d\r\nContent-Length: %d\r\n\r\n%s",
			agents[random.IntN(len(agents))], site, 11+i%80, random.IntN(256), i>>8&255, i&255, len(body), body)
	}
	return requests
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
