// Package poll is a faster way for many connections to be read and written by
// a server that gives each a goroutine, on Linux.
//
// A request to a server of small answers costs little but the system calls
// around it, and these cost less one after the other than each between two
// pieces of the server's own work: the processor keeps the kernel's path in its
// caches. So what the connections sent is read for all that have something by
// one goroutine per poller, the goroutines that waited for it work, and what
// they wrote is sent together. No call is made to learn that there is nothing
// to read yet, and no timer is set or moved for a request.
//
// Promises: bytes arrive in order and once; an answer waits for others only as
// long as there is a goroutine that could run; a peer that takes its answer
// slowly blocks nobody else, and its own goroutine only when it is 64 KiB
// behind; a descriptor is never used after it was closed; idle means idle, no
// timer runs without a connection.
//
// It never knows what the bytes mean. It does not know what a request is either:
// it takes what is read after an answer for the beginning of one.
package poll

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Timeouts bound how long a connection may take. Zero means for ever. They are
// looked at a few times within the shortest of them, so that they end late by
// at most a tenth of it or 10 ms, whatever is more.
type Timeouts struct {
	Read  time.Duration // from a request's first byte, or the connection's beginning, to its last
	Write time.Duration // for the peer to take some of an answer
	Idle  time.Duration // between an answer and the next request
}

// Listener accepts connections that are read and written together. It is a
// net.Listener.
type Listener struct {
	net.Listener
	pollers []*poller
	next    atomic.Uint32
}

// Listen wraps a listener of TCP or Unix sockets. Closing the Listener closes
// inner; connections that were accepted live on until they are closed.
//
// What the connections of another kind of listener write and read goes past the
// poller, without timeouts.
func Listen(inner net.Listener, t Timeouts) (*Listener, error) {
	l := &Listener{Listener: inner}
	// A poller for two processors: the other one works on what it read.
	for range max(1, runtime.GOMAXPROCS(0)/2) {
		p, err := newPoller(t)
		if err != nil {
			l.release()
			return nil, fmt.Errorf("cannot poll connections: %w", err)
		}
		l.pollers = append(l.pollers, p)
	}
	return l, nil
}

// Accept waits for the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	sc, ok := inner.(syscall.Conn)
	if !ok {
		return inner, nil
	}
	fd, err := duplicate(sc)
	if err != nil {
		err = &net.OpError{Op: "accept", Net: inner.LocalAddr().Network(), Err: err}
		return nil, errors.Join(err, inner.Close())
	}
	c := newConn(fd, inner)
	_ = inner.Close() // the socket stays: fd refers to it
	p := l.pollers[int(l.next.Add(1))%len(l.pollers)]
	if err := p.add(c); err != nil {
		_ = unix.Close(fd)
		return nil, &net.OpError{Op: "accept", Net: c.local.Network(), Err: err}
	}
	return c, nil
}

// Close stops accepting.
func (l *Listener) Close() error {
	err := l.Listener.Close()
	l.release()
	return err
}

func (l *Listener) release() {
	for _, p := range l.pollers {
		p.retire()
	}
}

// duplicate returns a descriptor of one's own for a connection's socket, which
// the runtime's poller knows nothing of.
func duplicate(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	var failed error
	err = raw.Control(func(old uintptr) {
		fd, failed = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err == nil && failed != nil {
		err = os.NewSyscallError("fcntl", failed)
	}
	return fd, err
}
