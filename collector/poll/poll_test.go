package poll

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// listen serves each connection with handle, and tells when all have ended.
func listen(t *testing.T, inner net.Listener, limits Timeouts, handle func(net.Conn)) net.Addr {
	t.Helper()
	l, err := Listen(inner, limits)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { handle(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return inner.Addr()
}

func tcp(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dial(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

func echo(c net.Conn) {
	_, _ = io.Copy(c, onlyReader{c})
	_ = c.Close()
}

// onlyReader keeps io.Copy from finding a better way.
type onlyReader struct{ io.Reader }

func TestEcho(t *testing.T) {
	unixSocket, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	for name, inner := range map[string]net.Listener{"tcp": tcp(t), "unix": unixSocket} {
		t.Run(name, func(t *testing.T) {
			addr := listen(t, inner, Timeouts{}, echo)
			var clients sync.WaitGroup
			for i := range 40 {
				c := dial(t, addr)
				clients.Go(func() {
					if err := exchange(c, rand.New(rand.NewPCG(7, uint64(i)))); err != nil {
						t.Errorf("connection %d: %v", i, err)
					}
				})
			}
			clients.Wait()
		})
	}
}

// exchange sends pieces of all sizes with and without pauses between them, ends
// its side, and compares what comes back.
func exchange(c net.Conn, random *rand.Rand) error {
	defer c.Close()
	want, got := sha256.New(), sha256.New()
	sent := make(chan error, 1)
	go func() {
		for range 60 {
			piece := make([]byte, 1+random.IntN(1<<random.IntN(15)))
			for i := range piece {
				piece[i] = byte(random.Uint32())
			}
			want.Write(piece)
			if _, err := c.Write(piece); err != nil {
				sent <- err
				return
			}
			if random.IntN(4) == 0 {
				runtime.Gosched()
			}
		}
		sent <- c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	_, err := io.Copy(got, c)
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	if !bytes.Equal(want.Sum(nil), got.Sum(nil)) {
		return errors.New("what came back is not what was sent")
	}
	return nil
}

// A request, an answer, and again: the way it is mostly used.
func TestTurns(t *testing.T) {
	addr := listen(t, tcp(t), Timeouts{}, echo)
	var clients sync.WaitGroup
	for i := range 64 {
		c := dial(t, addr)
		clients.Go(func() {
			for turn := range 200 {
				text := fmt.Sprintf("turn %d of connection %d", turn, i)
				answer := make([]byte, len(text))
				if _, err := io.WriteString(c, text); err != nil {
					t.Error(err)
					return
				}
				if _, err := io.ReadFull(c, answer); err != nil || string(answer) != text {
					t.Errorf("asked %q, answered %q: %v", text, answer, err)
					return
				}
			}
		})
	}
	clients.Wait()
}

// Other kinds of connections go past the poller.
func TestConnectionWithoutDescriptor(t *testing.T) {
	ours, theirs := net.Pipe()
	l, err := Listen(&single{conn: ours}, Timeouts{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go echo(c)
	_, _ = io.WriteString(theirs, "x")
	if _, err := io.ReadFull(theirs, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	_ = theirs.Close()
}

type single struct{ conn net.Conn }

func (s *single) Accept() (net.Conn, error) { return s.conn, nil }
func (s *single) Close() error              { return nil }
func (s *single) Addr() net.Addr            { return s.conn.LocalAddr() }
