package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

type result struct {
	requests int
	accepted int     // answered 202 and not marked as dropped
	rate     float64 // requests per second
	p50, p99 float64 // microseconds
	cpu      float64 // microseconds of the server's CPU per request
}

// drive sends requests over some connections, until the time is up and the last
// answer is in: on each the next one when the last was answered, or, with a
// rate (per second, all together), when its time has come. One thread does it
// all with epoll, because what the load costs the server does not get: a
// goroutine for each connection costs twice as much.
//
// With a rate a latency counts from when the request should have been sent, so
// that a server that makes its clients wait cannot hide it.
func drive(ctx context.Context, addr string, requests [][]byte, o *options) (result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l := loader{requests: requests, buffer: make([]byte, 8192)}
	if o.rate > 0 {
		l.every = time.Duration(float64(time.Second) / o.rate)
	}
	defer l.close()
	if err := l.open(addr, o.connections); err != nil {
		return result{}, err
	}
	began := time.Now()
	if err := l.run(ctx, began.Add(o.duration)); err != nil {
		return result{}, err
	}
	took := time.Since(began).Seconds()
	if l.result.requests == 0 {
		return result{}, errors.Join(errors.New("no request was answered"), ctx.Err())
	}
	slices.Sort(l.latencies)
	l.result.rate = float64(l.result.requests) / took
	l.result.p50 = float64(l.latencies[len(l.latencies)/2].Nanoseconds()) / 1e3
	l.result.p99 = float64(l.latencies[len(l.latencies)*99/100].Nanoseconds()) / 1e3
	return l.result, ctx.Err()
}

type loader struct {
	requests  [][]byte
	epoll     int
	sockets   []socket
	byFD      map[int32]*socket
	buffer    []byte
	latencies []time.Duration
	result    result

	every time.Duration // between two requests; 0: as fast as they are answered
	due   time.Time     // of the next request
	free  []*socket     // without a request under way, with a rate
}

// socket is one connection; its answers fit into one read, or are put together.
type socket struct {
	fd      int
	next    int // index of the request after the one under way
	sent    time.Time
	partial []byte
}

func (l *loader) open(addr string, connections int) error {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	l.sockets = make([]socket, connections)
	l.byFD = make(map[int32]*socket, connections)
	for i := range l.sockets {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		s := &l.sockets[i]
		*s = socket{fd: fd, next: i * len(l.requests) / connections}
		l.byFD[int32(fd)] = s
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
			return fmt.Errorf("cannot connect: %w", err)
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return err
		}
		if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) close() {
	for i := range l.sockets {
		if l.sockets[i].fd > 0 {
			_ = unix.Close(l.sockets[i].fd)
		}
	}
	_ = unix.Close(l.epoll)
}

// run keeps the connections busy until the end, and then waits for the last
// answers.
func (l *loader) run(ctx context.Context, end time.Time) error {
	l.due = time.Now()
	for i := range l.sockets {
		l.free = append(l.free, &l.sockets[i])
	}
	events := make([]unix.EpollEvent, len(l.sockets))
	silent := time.Now()
	for over := false; ; {
		now := time.Now()
		over = over || now.After(end) || ctx.Err() != nil
		if over && len(l.free) == len(l.sockets) {
			return nil
		}
		if !over {
			if err := l.sendDue(now); err != nil {
				return err
			}
		}
		patience := 5000
		if l.every > 0 && len(l.free) > 0 && !over {
			patience = 0 // the next request is due in microseconds
		}
		n, err := unix.EpollWait(l.epoll, events, patience)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		now = time.Now()
		if n > 0 || len(l.free) == len(l.sockets) {
			silent = now
		}
		if now.Sub(silent) > 5*time.Second {
			return errors.New("the server has not answered for 5 s")
		}
		for _, e := range events[:n] {
			s := l.byFD[e.Fd]
			done, err := l.receive(s, now)
			if err != nil {
				return err
			}
			if done {
				l.free = append(l.free, s)
			}
		}
	}
}

// sendDue sends what is due on the connections that are free.
func (l *loader) sendDue(now time.Time) error {
	for len(l.free) > 0 && (l.every == 0 || !now.Before(l.due)) {
		s := l.free[0]
		l.free = l.free[1:]
		planned := now
		if l.every > 0 {
			planned = l.due
			l.due = l.due.Add(l.every)
		}
		if err := l.send(s, planned); err != nil {
			return err
		}
	}
	if len(l.free) == 0 {
		l.free = nil // the slice does not creep through memory for ever
	}
	return nil
}

func (l *loader) send(s *socket, now time.Time) error {
	s.sent = now
	request := l.requests[s.next]
	s.next = (s.next + 1) % len(l.requests)
	for len(request) > 0 {
		n, err := unix.Write(s.fd, request)
		if err != nil {
			return fmt.Errorf("cannot send: %w", err)
		}
		request = request[n:]
	}
	return nil
}

// receive reads what there is and reports whether the answer is complete.
func (l *loader) receive(s *socket, now time.Time) (done bool, err error) {
	n, err := unix.Read(s.fd, l.buffer)
	if err != nil || n == 0 {
		return false, errors.Join(errors.New("the server closed a connection"), err)
	}
	answer := l.buffer[:n]
	if len(s.partial) > 0 {
		answer = append(s.partial, answer...)
	}
	status, dropped, complete := readAnswer(answer)
	if !complete {
		s.partial = append(s.partial[:0], answer...)
		return false, nil
	}
	s.partial = s.partial[:0]
	l.result.requests++
	switch {
	case status == 202 && !dropped:
		l.result.accepted++
	case status != 202 && status != 204:
		return false, fmt.Errorf("the server answered %d", status)
	}
	if l.result.requests%8 == 0 { // a sample is enough, and sorting all of them is not free
		l.latencies = append(l.latencies, now.Sub(s.sent))
	}
	return true, nil
}

var (
	endOfHead     = []byte("\r\n\r\n")
	contentLength = []byte("\r\nContent-Length: ")
	droppedHeader = []byte("\r\nX-Halfmask-Dropped: ")
)

// readAnswer reads a status line, a head and a body of the length it gives.
func readAnswer(text []byte) (status int, dropped, complete bool) {
	end := bytes.Index(text, endOfHead)
	if end < 12 {
		return 0, false, false
	}
	head := text[:end+2]
	body := 0
	if at := bytes.Index(head, contentLength); at >= 0 {
		body = digits(head[at+len(contentLength):])
	}
	return digits(head[9:12]), bytes.Contains(head, droppedHeader), len(text) >= end+len(endOfHead)+body
}

func digits(text []byte) (n int) {
	for _, c := range text {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}
