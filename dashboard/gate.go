package dashboard

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/halfmask/halfmask/account"
)

const (
	// maxAsking bounds the queries of one principal that run or wait: a page
	// asks about a dozen at once. maxAskingAll bounds everybody's.
	maxAsking    = 24
	maxAskingAll = 96
	// requestsPerHour is what Plausible allows an API key.
	requestsPerHour = 600
)

// errBusy means that too many queries run or wait already.
var errBusy = errors.New("too many queries at once")

// gate lets few queries into storage at a time, so that asking cannot slow
// down recording. Some may wait; the rest is turned away.
type gate struct {
	running chan struct{}

	mu     sync.Mutex
	asking map[string]int // by principal; holds only those that ask
	all    int
}

func newGate(running int) *gate {
	return &gate{running: make(chan struct{}, running), asking: make(map[string]int)}
}

// enter waits for the principal's turn. On success leave must be called.
func (g *gate) enter(ctx context.Context, who string) (leave func(), err error) {
	g.mu.Lock()
	if g.asking[who] >= maxAsking || g.all >= maxAskingAll {
		g.mu.Unlock()
		return nil, errBusy
	}
	g.asking[who]++
	g.all++
	g.mu.Unlock()
	select {
	case g.running <- struct{}{}:
		return func() { <-g.running; g.left(who) }, nil
	case <-ctx.Done():
		g.left(who)
		return nil, ctx.Err()
	}
}

func (g *gate) left(who string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.asking[who]--; g.asking[who] == 0 {
		delete(g.asking, who)
	}
}

// quota counts the requests of each token.
type quota struct {
	mu     sync.Mutex
	tokens map[account.TokenID]*rate.Limiter
}

func newQuota() *quota { return &quota{tokens: make(map[account.TokenID]*rate.Limiter)} }

// take counts a request. It returns 0 if the token may send it, else how long
// until it may.
func (q *quota) take(id account.TokenID) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	limiter, ok := q.tokens[id]
	if !ok {
		q.forgetIdle(now)
		limiter = rate.NewLimiter(rate.Every(time.Hour/requestsPerHour), requestsPerHour)
		q.tokens[id] = limiter
	}
	if limiter.AllowN(now, 1) {
		return 0
	}
	return time.Duration((1 - limiter.TokensAt(now)) * float64(time.Hour/requestsPerHour))
}

// forgetIdle drops tokens whose quota is full again: there are only as many
// left as were used within the hour.
func (q *quota) forgetIdle(now time.Time) {
	for id, limiter := range q.tokens {
		if limiter.TokensAt(now) >= requestsPerHour {
			delete(q.tokens, id)
		}
	}
}
