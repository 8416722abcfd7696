package poll

import (
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// poller reads and writes for some connections.
type poller struct {
	epoll    int
	file     *os.File // the epoll descriptor, itself watched by the runtime
	ready    syscall.RawConn
	timeouts Timeouts
	tick     time.Duration
	began    time.Time
	now      atomic.Int64 // coarse: nanoseconds since began

	mu      sync.Mutex
	slots   []*Conn // by the number that epoll knows them by
	free    []int32
	open    int
	retired bool // no more come
	sweeper *time.Timer

	outMu sync.Mutex
	out   []*Conn // that have something to send
	spare []*Conn
}

// together is how many answers are sent at once at most: more of them would
// push each other out of the processor's caches, and the first would wait
// longer for the last.
const together = 32

const (
	shortestTick = 10 * time.Millisecond
	longestTick  = time.Second
)

func newPoller(t Timeouts) (*poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(epoll, true); err != nil {
		_ = unix.Close(epoll)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &poller{epoll: epoll, file: os.NewFile(uintptr(epoll), "epoll"), timeouts: t, tick: longestTick, began: time.Now()}
	if p.ready, err = p.file.SyscallConn(); err != nil {
		_ = p.file.Close()
		return nil, err
	}
	bounded := false
	for _, d := range []time.Duration{t.Read, t.Write, t.Idle} {
		if d > 0 {
			bounded = true
			p.tick = min(p.tick, max(d/10, shortestTick))
		}
	}
	if bounded {
		p.sweeper = time.AfterFunc(time.Hour, p.sweep)
		p.sweeper.Stop()
	}
	go p.run()
	return p, nil
}

// add takes a connection in.
func (p *poller) add(c *Conn) error {
	c.poller = p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.retired {
		return net.ErrClosed
	}
	if len(p.free) == 0 {
		p.free = append(p.free, int32(len(p.slots)))
		p.slots = append(p.slots, nil)
	}
	slot := p.free[len(p.free)-1]
	c.slot = slot
	c.enter(reading, p.clock())
	// Edge-triggered: what the connection is busy with is not told again and
	// again.
	err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff, Fd: slot,
	})
	if err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	p.free = p.free[:len(p.free)-1]
	p.slots[slot] = c
	if p.open++; p.open == 1 && p.sweeper != nil {
		p.sweeper.Reset(p.tick)
	}
	return nil
}

// remove lets a connection go whose descriptor is about to be closed.
func (p *poller) remove(c *Conn) {
	p.mu.Lock()
	p.slots[c.slot] = nil
	p.free = append(p.free, c.slot)
	p.open--
	p.end()
	p.mu.Unlock()
}

// retire says that no connection will be added any more.
func (p *poller) retire() {
	p.mu.Lock()
	p.retired = true
	p.end()
	p.mu.Unlock()
}

// end stops the poller when nobody needs it. p.mu is held.
func (p *poller) end() {
	if p.open > 0 {
		return
	}
	if p.sweeper != nil {
		p.sweeper.Stop()
	}
	if p.retired {
		_ = p.file.Close() // run returns
	}
}

// run reads for the connections until the poller's end.
func (p *poller) run() {
	events := make([]unix.EpollEvent, 128)
	conns := make([]*Conn, 0, len(events))
	for {
		n := 0
		err := p.ready.Read(func(epoll uintptr) bool {
			n = wait(int(epoll), events)
			return n > 0
		})
		if err != nil {
			return
		}
		for n > 0 {
			conns = p.find(conns[:0], events[:n])
			p.clock()
			for i, c := range conns {
				if c != nil {
					c.notice(events[i].Events)
					conns[i] = nil
				}
			}
			// Those that were woken run before this goes on.
			runtime.Gosched()
			p.flush()
			n = 0
			err := p.ready.Control(func(epoll uintptr) { n = wait(int(epoll), events) })
			if err != nil {
				return
			}
		}
	}
}

// wait asks what happened, without waiting.
func wait(epoll int, events []unix.EpollEvent) int {
	n, err := unix.EpollWait(epoll, events, 0)
	if err != nil { // interrupted: whoever asks again will learn it
		return 0
	}
	return n
}

func (p *poller) find(conns []*Conn, events []unix.EpollEvent) []*Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range events {
		conns = append(conns, p.slots[events[i].Fd])
	}
	return conns
}

// clock looks at the time and returns it as nanoseconds since the beginning.
func (p *poller) clock() int64 {
	now := int64(time.Since(p.began))
	p.now.Store(now)
	return now
}

// send sees to it that what c wrote is sent: by whoever comes first after all
// that could run at the moment, or when enough has come together.
func (p *poller) send(c *Conn) {
	p.outMu.Lock()
	p.out = append(p.out, c)
	n := len(p.out)
	p.outMu.Unlock()
	if n == 1 {
		runtime.Gosched()
	}
	if n == 1 || n >= together {
		p.flush()
	}
}

// flush sends what is to be sent.
func (p *poller) flush() {
	p.outMu.Lock()
	list := p.out
	p.out, p.spare = p.spare[:0], nil
	p.outMu.Unlock()
	for i, c := range list {
		c.flush()
		list[i] = nil
	}
	p.outMu.Lock()
	if cap(list) > cap(p.spare) {
		p.spare = list[:0]
	}
	p.outMu.Unlock()
}

// sweep ends the connections whose time is up.
func (p *poller) sweep() {
	now := p.clock()
	p.mu.Lock()
	var late []*Conn
	for _, c := range p.slots {
		if c != nil && c.late(now, &p.timeouts) {
			late = append(late, c)
		}
	}
	if p.open > 0 {
		p.sweeper.Reset(p.tick)
	}
	p.mu.Unlock()
	for _, c := range late {
		c.expire()
	}
}
