package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

type result struct {
	requests int
	accepted int     // answered 202 and not marked as dropped
	rate     float64 // requests per second
	p50, p99 float64 // microseconds
	cpu      float64 // microseconds of the server's CPU per request
}

// drive sends requests over some connections, each waiting for its answer
// before it sends the next, until the time is up.
func drive(ctx context.Context, addr string, requests [][]byte, connections int, d time.Duration) (result, error) {
	var stop atomic.Bool
	workers := make([]worker, connections)
	for i := range workers {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return result{}, err
		}
		defer conn.Close()
		workers[i] = worker{conn: conn, next: i * len(requests) / connections}
	}
	began := time.Now()
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() { workers[i].run(requests, &stop) })
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	stop.Store(true)
	wg.Wait()
	took := time.Since(began).Seconds()
	var r result
	var latencies []time.Duration
	for i := range workers {
		if err := workers[i].err; err != nil {
			return result{}, err
		}
		r.requests += workers[i].requests
		r.accepted += workers[i].accepted
		latencies = append(latencies, workers[i].latencies...)
	}
	if r.requests == 0 {
		return r, errors.Join(errors.New("no request was answered"), ctx.Err())
	}
	slices.Sort(latencies)
	r.rate = float64(r.requests) / took
	r.p50 = float64(latencies[len(latencies)/2].Nanoseconds()) / 1e3
	r.p99 = float64(latencies[len(latencies)*99/100].Nanoseconds()) / 1e3
	return r, ctx.Err()
}

type worker struct {
	conn      net.Conn
	next      int
	requests  int
	accepted  int
	latencies []time.Duration
	err       error
}

var (
	endOfHead = []byte("\r\n\r\n")
	length    = []byte("\r\nContent-Length: ")
	dropped   = []byte("\r\nX-Halfmask-Dropped: ")
)

func (w *worker) run(requests [][]byte, stop *atomic.Bool) {
	buf := make([]byte, 4096)
	for !stop.Load() {
		began := time.Now()
		if _, w.err = w.conn.Write(requests[w.next]); w.err != nil {
			return
		}
		var head []byte
		if head, w.err = readAnswer(w.conn, buf); w.err != nil {
			return
		}
		w.next = (w.next + 1) % len(requests)
		w.requests++
		if w.requests%8 == 0 { // a sample is enough, and sorting all of them is not free
			w.latencies = append(w.latencies, time.Since(began))
		}
		switch status := string(head[9:12]); {
		case status == "202" && !bytes.Contains(head, dropped):
			w.accepted++
		case status != "202" && status != "204":
			w.err = fmt.Errorf("answered %s", status)
			return
		}
	}
}

// readAnswer reads one answer and returns its head.
func readAnswer(r io.Reader, buf []byte) ([]byte, error) {
	n := 0
	for {
		m, err := r.Read(buf[n:])
		if err != nil {
			return nil, err
		}
		n += m
		end := bytes.Index(buf[:n], endOfHead)
		if end < 0 {
			if n == len(buf) {
				return nil, errors.New("the answer's head is too long")
			}
			continue
		}
		head := buf[:end+2]
		body := 0
		if at := bytes.Index(head, length); at >= 0 {
			for _, c := range head[at+len(length):] {
				if c < '0' || c > '9' {
					break
				}
				body = body*10 + int(c-'0')
			}
		}
		if n >= end+4+body {
			return head, nil
		}
	}
}
