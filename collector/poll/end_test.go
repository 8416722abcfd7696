package poll

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestTimeouts(t *testing.T) {
	const limit = 100 * time.Millisecond
	tests := map[string]struct {
		limits Timeouts
		client func(net.Conn)
	}{
		"nothing is ever sent": {Timeouts{Read: limit}, func(net.Conn) {}},
		"idle after an answer": {Timeouts{Idle: limit}, func(c net.Conn) {
			_, _ = c.Write([]byte("x"))
			_, _ = io.ReadFull(c, make([]byte, 1))
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			addr := listen(t, tcp(t), tt.limits, func(c net.Conn) {
				defer c.Close()
				b := make([]byte, 10)
				for {
					n, err := c.Read(b)
					if err != nil {
						// Who was too slow can be told so.
						if _, w := c.Write([]byte("late")); w != nil {
							err = w
						}
						ended <- err
						return
					}
					_, _ = c.Write(b[:n])
				}
			})
			c := dial(t, addr)
			tt.client(c)
			var timeout net.Error
			if err := <-ended; !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("the connection ended with %v", err)
			}
			if rest, err := io.ReadAll(c); err != nil || string(rest) != "late" {
				t.Errorf("the client read %q, %v", rest, err)
			}
		})
	}
}

// A peer that takes nothing blocks its own writer and nobody else, and not for
// ever.
func TestPeerThatDoesNotRead(t *testing.T) {
	ended := make(chan error, 1)
	addr := listen(t, tcp(t), Timeouts{Write: 200 * time.Millisecond}, func(c net.Conn) {
		defer c.Close()
		first := make([]byte, 1)
		if _, err := io.ReadFull(c, first); err != nil {
			return
		}
		if first[0] == 'e' {
			echo(c)
			return
		}
		for {
			if _, err := c.Write(make([]byte, 32<<10)); err != nil {
				ended <- err
				return
			}
		}
	})
	deaf := dial(t, addr)
	_, _ = deaf.Write([]byte("d"))
	other := dial(t, addr)
	_, _ = other.Write([]byte("e"))
	for open := true; open; {
		if _, err := other.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(other, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("the writer ended with %v", err)
			}
			open = false
		default:
		}
	}
}

// What was written before Close arrives, also when the peer takes it slowly.
func TestCloseSendsTheRest(t *testing.T) {
	const size = 8 << 20 // more than sockets hold
	addr := listen(t, tcp(t), Timeouts{Write: time.Minute}, func(c net.Conn) {
		_, _ = c.Write(make([]byte, size))
		_ = c.Close()
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writing to a closed connection: %v", err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("reading from a closed connection: %v", err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closing a closed connection: %v", err)
		}
	})
	n, err := io.Copy(io.Discard, dial(t, addr))
	if n != size || err != nil {
		t.Errorf("%d of %d bytes arrived: %v", n, size, err)
	}
}

// Closing from elsewhere wakes who reads and who writes.
func TestCloseFromElsewhere(t *testing.T) {
	for name, block := range map[string]func(net.Conn) error{
		"a reader": func(c net.Conn) error { _, err := c.Read(make([]byte, 1)); return err },
		"a writer": func(c net.Conn) error {
			for {
				if _, err := c.Write(make([]byte, 32<<10)); err != nil {
					return err
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			conns, ended := make(chan net.Conn, 1), make(chan error, 1)
			addr := listen(t, tcp(t), Timeouts{}, func(c net.Conn) {
				conns <- c
				ended <- block(c)
			})
			client := dial(t, addr)
			c := <-conns
			time.AfterFunc(10*time.Millisecond, func() { _ = c.Close() })
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Errorf("it ended with %v", err)
			}
			_ = client.Close()
		})
	}
}

// Connections come and go, their descriptors' numbers are given out again, and
// nobody ever reads what was meant for another.
func TestNumbersAreUsedAgain(t *testing.T) {
	before := descriptors(t)
	func() {
		l := tcp(t)
		addr := listen(t, l, Timeouts{Idle: time.Minute}, func(c net.Conn) {
			// Closed from two sides at once.
			time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, func() { _ = c.Close() })
			echo(c)
		})
		var clients sync.WaitGroup
		for i := range 16 {
			clients.Go(func() {
				for turn := range 100 {
					c, err := net.Dial("tcp", addr.String())
					if err != nil {
						t.Error(err)
						return
					}
					text := fmt.Sprintf("%d-%d;", i, turn)
					for range 20 {
						if _, err := io.WriteString(c, text); err != nil {
							break
						}
						answer := make([]byte, len(text))
						n, err := io.ReadFull(c, answer)
						if string(answer[:n]) != text[:n] {
							t.Errorf("sent %q, got %q", text, answer[:n])
						}
						if err != nil {
							break
						}
					}
					_ = c.Close()
				}
			})
		}
		clients.Wait()
		_ = l.Close()
	}()
	// The handlers learn of it a moment later.
	for range 200 {
		if runtime.Gosched(); descriptors(t) <= before+4 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d descriptors are open, before there were %d", descriptors(t), before)
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// A listener that is closed leaves its connections alone, and nothing behind
// when they are gone too.
func TestListenerCloses(t *testing.T) {
	inner := tcp(t)
	l, err := Listen(inner, Timeouts{Idle: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	client := dial(t, inner.Addr())
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepting after Close: %v", err)
	}
	go echo(c)
	_, _ = io.WriteString(client, "still here")
	answer := make([]byte, 10)
	if _, err := io.ReadFull(client, answer); err != nil || string(answer) != "still here" {
		t.Errorf("%q, %v", answer, err)
	}
	_ = client.Close()
	for _, p := range l.pollers {
		for range 500 {
			if err := p.ready.Control(func(uintptr) {}); err != nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err := p.ready.Control(func(uintptr) {}); err == nil {
			t.Error("a poller is still there")
		}
	}
}

// A peer that resets is an error like any other.
func TestReset(t *testing.T) {
	ended := make(chan error, 1)
	addr := listen(t, tcp(t), Timeouts{}, func(c net.Conn) {
		defer c.Close()
		_, err := io.Copy(io.Discard, onlyReader{c})
		ended <- err
	})
	c := dial(t, addr).(*net.TCPConn)
	_, _ = c.Write([]byte("x"))
	_ = c.SetLinger(0)
	_ = c.Close()
	if err := <-ended; err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("it ended with %v", err)
	}
}
