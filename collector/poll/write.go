package poll

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Write implements net.Conn. It returns when the bytes are in line to be sent.
func (c *Conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	for len(c.out)-c.sent > behind && c.err == nil && !c.closing {
		if c.transmit(); c.stuck.Load() {
			c.room.Wait()
		}
	}
	if c.closing || c.err != nil {
		err := c.err
		c.mu.Unlock()
		if err == nil {
			err = net.ErrClosed
		}
		return 0, err
	}
	c.out = append(c.out, b...)
	queue := !c.queued && !c.stuck.Load()
	c.queued = c.queued || queue
	c.mu.Unlock()
	if queue {
		c.poller.send(c)
	}
	return len(b), nil
}

// flush sends what was written.
func (c *Conn) flush() {
	c.mu.Lock()
	c.queued = false
	c.transmit()
	c.mu.Unlock()
}

// transmit sends as much as the socket takes. c.mu is held, which also keeps the
// descriptor open.
func (c *Conn) transmit() {
	if c.stuck.Load() || c.err != nil || len(c.out) == 0 {
		return
	}
	for c.sent < len(c.out) {
		n, errno := send(c.fd, c.out[c.sent:])
		switch errno {
		case 0:
			c.sent += n
		case unix.EINTR:
		case unix.EAGAIN:
			c.stuck.Store(true)
			c.enter(sending, c.poller.now.Load())
			c.room.Broadcast()
			return
		default:
			c.fail(&net.OpError{Op: "write", Net: c.local.Network(), Err: os.NewSyscallError("sendto", errno)})
			return
		}
	}
	c.sent, c.out = 0, c.out[:0]
	if cap(c.out) > chunkSize {
		c.out = nil
	}
	c.enter(idle, c.poller.now.Load())
	c.room.Broadcast()
	if c.closing {
		c.shut()
	}
}

// fail says that nothing more can be sent. c.mu is held.
func (c *Conn) fail(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.out, c.sent = nil, 0
	c.stuck.Store(false)
	c.room.Broadcast()
	if c.closing {
		c.shut()
	}
}

// Close implements net.Conn. What was written is still sent, as far as the peer
// takes it in time.
func (c *Conn) Close() error {
	c.why.CompareAndSwap(notOver, closedHere)
	c.rouse()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return net.ErrClosed
	}
	c.transmit()
	c.closing = true
	c.room.Broadcast()
	if len(c.out) == 0 {
		c.shut()
	}
	return nil
}
