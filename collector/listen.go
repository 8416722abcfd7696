package collector

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// listener lets guests in: it bounds how many there are, all together and per
// peer, and remembers who they are. The HTTP server could count per address
// too, but it would write the address to its log and bound trusted proxies.
type listener struct {
	net.Listener
	c    *Collector
	once sync.Once
	err  error
}

// Close stops listening. It may be called more than once.
func (l *listener) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}

// Accept returns the next guest there is room for. A failure that will pass,
// such as too many open files, is waited out: the door never closes for it.
func (l *listener) Accept() (net.Conn, error) {
	pause := 5 * time.Millisecond
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || !passes(err) {
				return nil, err
			}
			l.c.metrics.connectionErrors[classAccept].Inc()
			l.c.hint(&l.c.hints.accept, "cannot accept connections at the moment", "error", cause(err))
			select {
			case <-l.c.stopped:
			case <-time.After(pause):
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		guest := &guest{Conn: conn, peer: l.c.trusted.peerOf(conn.RemoteAddr()), of: &l.c.guests}
		switch l.c.guests.add(guest) {
		case welcome:
			return guest, nil
		case houseFull:
			l.c.metrics.connectionErrors[classFull].Inc()
			l.c.hint(&l.c.hints.full, "connection limit reached, closing new connections", "limit", l.c.limits.Connections)
		case tooManyOfOne:
			l.c.metrics.connectionErrors[classPeerFull].Inc()
			l.c.hint(&l.c.hints.peerFull, "one address holds too many connections, closing its new ones; "+
				"if it is your reverse proxy, name it in --trusted-proxies", "limit", l.c.limits.ConnectionsPerPeer)
		}
		_ = conn.Close()
	}
}

// passes reports whether an error of Accept says nothing about the next call.
func passes(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Temporary() || op.Timeout())
}

// cause cuts the addresses off a network error.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return errors.New("not a network error")
}

// guest is a connection that was let in.
type guest struct {
	net.Conn
	peer  peer
	of    *guests
	spoke atomic.Bool // something was read from it
	gone  bool        // under of.mu
}

// Read notes that the guest has spoken.
func (g *guest) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if n > 0 && !g.spoke.Load() {
		g.spoke.Store(true)
	}
	return n, err
}

// Close lets the guest go. It may be called more than once.
func (g *guest) Close() error {
	if !g.of.remove(g) {
		return nil
	}
	return g.Conn.Close()
}

// guests is who is in. It is asked twice in a connection's life, never by a
// request.
type guests struct {
	mu      sync.Mutex
	in      map[*guest]struct{}
	perPeer map[netip.Addr]int
	most    int
	mostOne int
	closing bool // nobody comes in any more
}

type verdict uint8

const (
	welcome verdict = iota
	houseFull
	tooManyOfOne
	closing
)

func (gs *guests) limits(most, mostOne int) {
	gs.in, gs.perPeer = map[*guest]struct{}{}, map[netip.Addr]int{}
	gs.most, gs.mostOne = most, mostOne
}

// household is what counts as one peer: an IPv4 address, or the /64 that one
// IPv6 customer has at least.
func household(p peer) (netip.Addr, bool) {
	if p.trusted || !p.addr.IsValid() {
		return netip.Addr{}, false
	}
	if p.addr.Is4() {
		return p.addr, true
	}
	prefix, err := p.addr.Prefix(64)
	return prefix.Addr(), err == nil
}

func (gs *guests) add(g *guest) verdict {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.closing {
		return closing
	}
	if len(gs.in) >= gs.most {
		return houseFull
	}
	if key, counted := household(g.peer); counted {
		if gs.perPeer[key] >= gs.mostOne {
			return tooManyOfOne
		}
		gs.perPeer[key]++
	}
	gs.in[g] = struct{}{}
	return welcome
}

// remove reports whether g was still in.
func (gs *guests) remove(g *guest) bool {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if g.gone {
		return false
	}
	g.gone = true
	delete(gs.in, g)
	if key, counted := household(g.peer); counted {
		if gs.perPeer[key]--; gs.perPeer[key] <= 0 {
			delete(gs.perPeer, key)
		}
	}
	return true
}

func (gs *guests) count() int {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	return len(gs.in)
}

// closeSilent lets nobody in any more and closes the connections that never
// sent a byte. The server would wait five seconds for each of them.
func (gs *guests) closeSilent() {
	gs.mu.Lock()
	gs.closing = true
	gs.mu.Unlock()
	gs.closeIf(func(g *guest) bool { return !g.spoke.Load() })
}

func (gs *guests) closeAll() { gs.closeIf(func(*guest) bool { return true }) }

func (gs *guests) closeIf(leave func(*guest) bool) {
	gs.mu.Lock()
	var leaving []*guest
	for g := range gs.in {
		if leave(g) {
			leaving = append(leaving, g)
		}
	}
	gs.mu.Unlock()
	for _, g := range leaving {
		_ = g.Close()
	}
}
