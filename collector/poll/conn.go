package poll

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is a connection of a Listener. One goroutine may read while another
// writes and a third closes.
type Conn struct {
	fd            int
	slot          int32
	poller        *poller
	local, remote net.Addr

	users atomic.Int32 // of fd; closed is added at the end
	phase atomic.Int64 // what it does and since when: see enter
	why   atomic.Uint32

	// The reader's.
	state   atomic.Int32
	wake    chan struct{}
	chunk   *[chunkSize]byte // what the poller has read for it; nil: nothing
	at, end int
	drained bool        // the socket held nothing more when last looked
	ended   atomic.Bool // the peer sends no more: its end may lie behind what was read, and is not told again

	// The writer's.
	mu      sync.Mutex
	room    sync.Cond // out got shorter, or nothing more can be sent
	out     []byte
	sent    int         // of out
	queued  bool        // the poller knows that there is something to send
	stuck   atomic.Bool // the socket takes no more at the moment; set under mu
	closing bool        // the descriptor is closed when out is sent
	err     error       // why nothing more can be sent
}

func newConn(fd int, inner net.Conn) *Conn {
	c := &Conn{fd: fd, local: inner.LocalAddr(), remote: inner.RemoteAddr(), wake: make(chan struct{}, 1)}
	c.room.L = &c.mu
	return c
}

// chunkSize is what the poller reads for a connection at once, in bytes: a
// beacon with its header, nearly always.
const chunkSize = 4096

// behind is how much of what it was sent a peer may leave lying before the
// writer waits for it, in bytes.
const behind = 64 << 10

// The reader's states.
const (
	quiet    = iota // nothing has happened
	pending         // there may be something to read
	waiting         // the reader sleeps
	fetching        // the poller reads for it
)

// What a connection does, for the timeouts.
const (
	idle = iota
	reading
	working // between a request's last byte, as far as one knows, and its answer
	sending
)

// Why a connection is over.
const (
	notOver = iota
	closedHere
	timedOut
)

const closed = -1 << 30

// chunks are shared: a connection has one only while there is something in it.
var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// enter notes what the connection does since when.
func (c *Conn) enter(phase, now int64) { c.phase.Store(now<<2 | phase) }

// late tells whether the connection has done what it does for too long.
func (c *Conn) late(now int64, t *Timeouts) bool {
	v := c.phase.Load()
	limit := time.Duration(0)
	switch v & 3 {
	case idle:
		limit = t.Idle
	case reading:
		limit = t.Read
	case sending:
		limit = t.Write
	}
	return limit > 0 && now-v>>2 > int64(limit)
}

// use keeps the descriptor open for reading until leave. It reports false if it
// is closed, or about to be.
func (c *Conn) use() bool {
	for {
		n := c.users.Load()
		if n < 0 {
			return false
		}
		if c.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (c *Conn) leave() {
	if c.users.Add(-1) == closed {
		c.mu.Lock()
		c.release()
		c.mu.Unlock()
	}
}

// shut closes the descriptor, now or when its last user leaves. c.mu is held.
func (c *Conn) shut() {
	if c.users.Load() < 0 {
		return // it was called before
	}
	if c.users.Add(closed) == closed {
		c.release()
	}
}

// release is called once. c.mu is held.
func (c *Conn) release() {
	// Nobody must find the connection by a number that may soon name another
	// one. The kernel forgets it with the descriptor.
	c.poller.remove(c)
	_ = unix.Close(c.fd)
}

// over returns why nothing can be read any more.
func (c *Conn) over() error {
	switch c.why.Load() {
	case closedHere:
		return net.ErrClosed
	case timedOut:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// expire ends what the connection has done for too long.
func (c *Conn) expire() {
	if c.phase.Load()&3 == sending {
		c.mu.Lock()
		c.fail(os.ErrDeadlineExceeded)
		c.mu.Unlock()
	}
	// Not looked at again until something happens: who read too slowly is
	// still told so.
	c.enter(working, c.poller.now.Load())
	c.why.CompareAndSwap(notOver, timedOut)
	c.rouse()
}

// rouse makes the reader look.
func (c *Conn) rouse() {
	for {
		switch s := c.state.Load(); s {
		case quiet:
			if c.state.CompareAndSwap(quiet, pending) {
				return
			}
		case waiting:
			if c.state.CompareAndSwap(waiting, pending) {
				c.wake <- struct{}{}
				return
			}
		default: // it will look by itself, or the poller will wake it
			return
		}
	}
}

// notice is what the poller was told about the connection.
func (c *Conn) notice(events uint32) {
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.ended.Store(true)
	}
	if events&^unix.EPOLLOUT != 0 {
		c.fetch()
	}
	if events&unix.EPOLLOUT != 0 && c.stuck.Load() {
		c.mu.Lock()
		c.stuck.Store(false)
		c.transmit()
		c.mu.Unlock()
	}
}

// fetch reads for a reader that waits, so that many are read for one after the
// other; or tells one that does not that there is something.
func (c *Conn) fetch() {
	if !c.state.CompareAndSwap(waiting, fetching) {
		c.rouse()
		return
	}
	if !c.use() {
		c.hand(pending)
		return
	}
	chunk := chunks.Get().(*[chunkSize]byte)
	n, errno := recv(c.fd, chunk[:])
	c.leave()
	switch {
	case errno == 0 && n > 0:
		c.chunk, c.at, c.end = chunk, 0, n
		c.drained = n < len(chunk) && !c.ended.Load()
		c.begun()
		c.hand(quiet)
		return
	case errno == unix.EAGAIN || errno == unix.EINTR:
		chunks.Put(chunk)
		c.state.Store(waiting)
		if errno == unix.EINTR || c.why.Load() != notOver { // came while it could not be woken
			c.rouse()
		}
		return
	}
	chunks.Put(chunk)
	c.drained = false // the reader learns by itself what is wrong
	c.hand(quiet)
}

// hand gives a reader that waits its state back and wakes it.
func (c *Conn) hand(state int32) {
	c.state.Store(state)
	c.wake <- struct{}{}
}

// begun notes that a request has begun, unless one had.
func (c *Conn) begun() {
	if c.phase.Load()&3 != reading {
		c.enter(reading, c.poller.now.Load())
	}
}

// Read implements net.Conn. An error that is a timeout means that the time was
// up.
func (c *Conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		if c.chunk != nil {
			return c.take(b), nil
		}
		if err := c.over(); err != nil {
			return 0, err
		}
		if c.drained {
			if c.state.CompareAndSwap(quiet, waiting) {
				<-c.wake
				if c.state.Load() == quiet {
					continue
				}
			}
			c.state.Store(quiet)
			c.drained = false
			continue
		}
		if !c.use() {
			return 0, net.ErrClosed
		}
		n, errno := recv(c.fd, b)
		c.leave()
		switch errno {
		case 0:
			if n == 0 {
				return 0, io.EOF
			}
			c.drained = n < len(b) && !c.ended.Load()
			c.begun()
			return n, nil
		case unix.EAGAIN:
			c.drained = true
		case unix.EINTR:
		default:
			return 0, &net.OpError{Op: "read", Net: c.local.Network(), Err: os.NewSyscallError("recvfrom", errno)}
		}
	}
}

// take copies from what the poller has read.
func (c *Conn) take(b []byte) int {
	n := copy(b, c.chunk[c.at:c.end])
	if c.at += n; c.at == c.end {
		clear(c.chunk[:c.end]) // it may go to another connection, or lie about for long
		chunks.Put(c.chunk)
		c.chunk = nil
	}
	return n
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn. There are none: see Timeouts.
func (c *Conn) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline implements net.Conn. There are none: see Timeouts.
func (c *Conn) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline implements net.Conn. There are none: see Timeouts.
func (c *Conn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
