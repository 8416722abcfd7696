package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	site    = "chaos.example"
	agent   = "Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0"
	workers = 8
	// An answer that takes longer is not waited for: the event may be stored or not.
	answerPatience = 10 * time.Second
)

// An event's number is written in three places, of which none takes more than a
// thousand values: what bounds the variety of a site's paths or properties must
// not touch it. idSQL reads it back.
const idSQL = "toUInt64OrZero(substring(path, 4)) + 1000 * toUInt64OrZero(props['a']) + 1000000 * toUInt64OrZero(props['b'])"

// numbers is a set of event numbers.
type numbers struct{ bits []uint64 }

func (s *numbers) add(id uint64) {
	for uint64(len(s.bits)) <= id/64 {
		s.bits = append(s.bits, make([]uint64, 1024)...)
	}
	s.bits[id/64] |= 1 << (id % 64)
}

func (s *numbers) has(id uint64) bool {
	return id/64 < uint64(len(s.bits)) && s.bits[id/64]&(1<<(id%64)) != 0
}

// load sends numbered events and keeps book of the answers.
type load struct {
	address string
	next    atomic.Uint64
	pace    atomic.Int64 // nanoseconds between two events of one worker
	fat     atomic.Bool  // events of 4 kB instead of 200 bytes

	stopping chan struct{}
	once     sync.Once
	wg       sync.WaitGroup

	mu       sync.Mutex
	accepted numbers
	counts   tally
}

// tally counts answers.
type tally struct {
	sent, accepted, refused, cut, dropped int
	odd                                   map[int]int // other statuses
}

func startLoad(address string, rate int) *load {
	l := &load{address: address, stopping: make(chan struct{})}
	l.counts.odd = map[int]int{}
	l.at(rate)
	for range workers {
		l.wg.Go(l.work)
	}
	return l
}

// at sets the rate in events a second; 0 is as fast as it goes.
func (l *load) at(rate int) {
	if rate == 0 {
		l.pace.Store(0)
		return
	}
	l.pace.Store(int64(time.Second) * workers / int64(rate))
}

// stop may be called again.
func (l *load) stop() {
	l.once.Do(func() { close(l.stopping) })
	l.wg.Wait()
}

func (l *load) tally() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

func (l *load) work() {
	var c conversation
	defer c.close()
	due := time.Now()
	for {
		select {
		case <-l.stopping:
			return
		case <-time.After(time.Until(due)):
		}
		due = due.Add(time.Duration(l.pace.Load()))
		if now := time.Now(); due.Before(now) { // what was missed while it was down is not made up for
			due = now
		}
		if status, _ := l.send(&c); status != 202 && status != 503 {
			time.Sleep(2 * time.Millisecond) // nobody there
		} else if status == 503 {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// send sends one event and books the answer; status 0 is none.
func (l *load) send(c *conversation) (status int, err error) {
	id := l.next.Add(1)
	request := l.request(id)
	if err := c.open(l.address); err != nil {
		return 0, err // it was never sent
	}
	l.mu.Lock()
	l.counts.sent++
	l.mu.Unlock()
	status, dropped, err := c.ask(request)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.counts.cut++
		return 0, err
	case status == 202 && dropped:
		l.counts.dropped++
	case status == 202:
		l.counts.accepted++
		l.accepted.add(id)
	case status == 503:
		l.counts.refused++
	default:
		l.counts.odd[status]++
	}
	return status, nil
}

var padding = strings.Repeat("x", 1900)

func (l *load) request(id uint64) []byte {
	more := ""
	if l.fat.Load() {
		more = `,"c":"` + padding + `","d":"` + padding + `"`
	}
	body := fmt.Sprintf(`{"n":"pageview","u":"https://%s/p/%d","d":%q,"p":{"a":"%d","b":"%d"%s}}`, site, id%1000, site, id/1000%1000, id/1000000, more)
	return fmt.Appendf(nil, "POST /api/event HTTP/1.1\r\nHost: c\r\nUser-Agent: %s\r\nContent-Type: text/plain\r\nX-Forwarded-For: %d.%d.%d.%d\r\nContent-Length: %d\r\n\r\n%s",
		agent, 11+id%80, id/80%256, id/7%256, 1+id%250, len(body), body)
}

// conversation is a connection that is kept for the next request. It asks once:
// what fails is not repeated behind anybody's back.
type conversation struct {
	conn   net.Conn
	reader *bufio.Reader
}

func (c *conversation) open(address string) (err error) {
	if c.conn != nil {
		return nil
	}
	if c.conn, err = net.DialTimeout("tcp4", address, answerPatience); err != nil {
		c.conn = nil
		return err
	}
	c.reader = bufio.NewReaderSize(c.conn, 2048)
	return nil
}

func (c *conversation) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

func (c *conversation) ask(request []byte) (status int, dropped bool, err error) {
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if err := c.conn.SetDeadline(time.Now().Add(answerPatience)); err != nil {
		return 0, false, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return 0, false, err
	}
	length, last := 0, false
	for first := true; ; first = false {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return 0, false, err
		}
		line = bytes.TrimSpace(line)
		name, value, _ := strings.Cut(string(line), ":")
		value = strings.TrimSpace(value)
		switch {
		case first && len(line) >= 12:
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, false, err
			}
		case strings.EqualFold(name, "Content-Length"):
			length, _ = strconv.Atoi(value)
		case strings.EqualFold(name, "X-Halfmask-Dropped"):
			dropped = true
		case strings.EqualFold(name, "Connection"):
			last = strings.EqualFold(value, "close")
		}
		if len(line) == 0 {
			break
		}
	}
	if _, err := io.CopyN(io.Discard, c.reader, int64(length)); err != nil {
		return 0, false, err
	}
	if last {
		c.close()
	}
	return status, dropped, nil
}
