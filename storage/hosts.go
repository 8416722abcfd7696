package storage

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	// hostPatience is how long a replica is given after it was turned to, before
	// a failure makes another one's turn.
	hostPatience = time.Second
	// keeperLag is more than a Keeper can be behind its others and still answer:
	// for so long after turning to a replica its word that something is not there
	// is not taken.
	keeperLag = 30 * time.Second
)

// hosts are the replicas of a cluster. All statements go to one of them until it
// fails, so that whoever wrote reads what he wrote, and KILL QUERY finds its
// query; then all go to the next, and connections to the one before are closed.
type hosts struct {
	addresses []string
	tls       *tls.Config
	turned    func(to string) // may be nil

	mu     sync.Mutex
	active int
	since  time.Time
	conns  map[*hostConn]bool // of the active one
}

type hostConn struct {
	net.Conn
	hosts *hosts
}

func (c *hostConn) Close() error {
	c.hosts.mu.Lock()
	delete(c.hosts.conns, c)
	c.hosts.mu.Unlock()
	return c.Conn.Close()
}

// dial connects to the active replica, or makes the next one that answers the
// active one.
func (h *hosts) dial(ctx context.Context) (net.Conn, error) {
	var failed error
	h.mu.Lock()
	first := h.active
	h.mu.Unlock()
	for i := range h.addresses {
		at := (first + i) % len(h.addresses)
		conn, err := h.dialOne(ctx, h.addresses[at])
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		return h.take(at, conn), nil
	}
	return nil, failed
}

func (h *hosts) dialOne(ctx context.Context, address string) (net.Conn, error) {
	// Each gets its share, so that the last is asked before the caller's time is over.
	ctx, cancel := context.WithTimeout(ctx, dialTimeout/time.Duration(len(h.addresses)))
	defer cancel()
	dialer := net.Dialer{}
	if h.tls != nil {
		return (&tls.Dialer{NetDialer: &dialer, Config: h.tls}).DialContext(ctx, "tcp", address)
	}
	return dialer.DialContext(ctx, "tcp", address)
}

func (h *hosts) take(at int, conn net.Conn) net.Conn {
	c := &hostConn{conn, h}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.turn(at)
	h.conns[c] = true
	return c
}

// failed says that the active replica does not do what it should.
func (h *hosts) failed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.since) > hostPatience {
		h.turn((h.active + 1) % len(h.addresses))
	}
}

// turn makes a replica the active one. h.mu is held.
func (h *hosts) turn(to int) {
	if to == h.active && !h.since.IsZero() {
		return
	}
	for c := range h.conns {
		_ = c.Conn.Close()
	}
	h.active, h.since, h.conns = to, time.Now(), map[*hostConn]bool{}
	if h.turned != nil {
		h.turned(h.addresses[to])
	}
}

// settled reports whether the active replica has been it for long enough to be
// believed about what it does not see.
func (h *hosts) settled() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.since) > keeperLag
}
