package collector

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/halfmask/halfmask/event"
)

func (d *door) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

// ask makes a request on an open connection and returns the status line.
func ask(conn net.Conn, request string) string {
	_, _ = io.WriteString(conn, request)
	buf := make([]byte, 4096)
	n, _ := conn.Read(buf)
	line, _, _ := strings.Cut(string(buf[:n]), "\r\n")
	return line
}

// waitForConnections waits until n connections are open.
func (d *door) waitForConnections(t *testing.T, n float64) {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for deadline := time.After(10 * time.Second); d.count(t, "connections") != n; {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("%v connections, want %v", d.count(t, "connections"), n)
		}
	}
}

const accepted = "HTTP/1.1 202 Accepted"

func TestConnectionsPerPeer(t *testing.T) {
	d := open(t, func(o *Options) { o.Limits.ConnectionsPerPeer = 2 })
	first, second := d.dial(t), d.dial(t)
	if ask(first, post(pageview)) != accepted || ask(second, post(pageview)) != accepted {
		t.Fatal("two connections are allowed")
	}
	if got := ask(d.dial(t), post(pageview)); got != "" {
		t.Errorf("the third got %q", got)
	}
	if d.count(t, "connection_errors_total", "too_many_of_one_peer") != 1 || d.count(t, "connections") != 2 {
		t.Error("not counted")
	}
	if log := d.log.String(); !strings.Contains(log, "--trusted-proxies") || strings.Contains(log, "127.0.0.1") {
		t.Errorf("log %q", log)
	}
	// Room is made by leaving.
	first.Close()
	d.waitForConnections(t, 1)
	if got := ask(d.dial(t), post(pageview)); got != accepted {
		t.Errorf("after one left: %q", got)
	}
}

func TestTrustedProxiesAreNoSinglePeer(t *testing.T) {
	d := open(t, func(o *Options) {
		o.Limits.ConnectionsPerPeer = 1
		o.TrustedProxies = prefixes("127.0.0.1/32")
	})
	for range 5 {
		if got := ask(d.dial(t), post(pageview)); got != accepted {
			t.Errorf("got %q", got)
		}
	}
}

func TestConnections(t *testing.T) {
	d := open(t, func(o *Options) { o.Limits.Connections = 1 })
	if got := ask(d.dial(t), post(pageview)); got != accepted {
		t.Errorf("got %q", got)
	}
	if got := ask(d.dial(t), post(pageview)); got != "" {
		t.Errorf("the second got %q", got)
	}
	if d.count(t, "connection_errors_total", "too_many") != 1 {
		t.Error("not counted")
	}
}

func TestHouseholds(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8::1", "2001:db8::2", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
	} {
		a, _ := household(peer{addr: netip.MustParseAddr(c.a)})
		b, _ := household(peer{addr: netip.MustParseAddr(c.b)})
		if (a == b) != c.same {
			t.Errorf("%s and %s: %v and %v", c.a, c.b, a, b)
		}
	}
	if _, counted := household(peer{}); counted {
		t.Error("a peer without an address is counted")
	}
}

// flaky is a listener that fails a few times before each connection.
type flaky struct {
	net.Listener
	err   error
	fails atomic.Int32
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.fails.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: f.Addr(), Err: f.err}
	}
	return f.Listener.Accept()
}

// Running out of file descriptors must not close the door for good.
func TestAcceptFailsForAWhile(t *testing.T) {
	d := open(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &flaky{Listener: ln, err: os.NewSyscallError("accept4", syscall.EMFILE)}
	f.fails.Store(3)
	served := make(chan error, 1)
	go func() { served <- d.Serve(f) }()
	d.addr = ln.Addr().String()
	if got := ask(d.dial(t), post(pageview)); got != accepted {
		t.Errorf("got %q", got)
	}
	if got := d.count(t, "connection_errors_total", "accept"); got != 3 {
		t.Errorf("%v failures counted", got)
	}
	if log := d.log.String(); strings.Count(log, "too many open files") != 1 || strings.Contains(log, "127.0.0.1") {
		t.Errorf("log %q", log)
	}

	f2 := &flaky{Listener: ln, err: errors.New("broken for good")}
	f2.fails.Store(1)
	if err := d.Serve(f2); err == nil || !strings.Contains(err.Error(), "broken for good") {
		t.Errorf("Serve says %v", err)
	}
}

func TestUnixSocket(t *testing.T) {
	d := open(t, nil)
	path := filepath.Join(t.TempDir(), "door")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = d.Serve(ln) }()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := ask(conn, post(pageview, "X-Forwarded-For: 203.0.113.5")); got != accepted {
		t.Errorf("got %q", got)
	}
	if got := d.masker.addrs[0].String(); got != "203.0.113.5" {
		t.Errorf("masked %s", got)
	}
}

// shutdown shuts d down within five seconds.
func (d *door) shutdown(t *testing.T) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return d.Shutdown(ctx)
}

// What is in flight is finished; who is idle or silent is not waited for.
func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	inside, proceed := make(chan struct{}), make(chan struct{})
	d := open(t, nil)
	d.recorder.hook = func(h *event.Hit) {
		if h.Path == "/a" {
			close(inside)
			<-proceed
		}
	}
	idle, busy := d.dial(t), d.dial(t)
	silent := d.dial(t)
	if got := ask(idle, post(strings.Replace(pageview, "/a?", "/b?", 1))); got != accepted {
		t.Fatal(got)
	}
	d.waitForConnections(t, 3)
	answer := make(chan string, 1)
	go func() { answer <- ask(busy, post(pageview)) }()
	<-inside
	done := make(chan error, 1)
	start := time.Now()
	go func() { done <- d.shutdown(t) }()
	if err := <-d.served; err != nil {
		t.Errorf("Serve says %v", err)
	}
	if conn, err := net.Dial("tcp", d.addr); err == nil {
		conn.Close()
		t.Error("the door is still open")
	}
	// The server alone would keep it for five seconds.
	_ = silent.SetDeadline(start.Add(3 * time.Second))
	if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the silent connection is still open: %v", err)
	}
	select {
	case err := <-done:
		t.Fatalf("Shutdown did not wait: %v", err)
	default:
	}
	close(proceed)
	if got := <-answer; got != accepted {
		t.Errorf("the request in flight got %q", got)
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown says %v after %v", err, time.Since(start))
	}
	if d.count(t, "connections") != 0 || len(d.recorder.all()) != 2 {
		t.Errorf("%v connections left, %d hits", d.count(t, "connections"), len(d.recorder.all()))
	}
}

func TestShutdownCutsOffAtItsDeadline(t *testing.T) {
	inside, proceed := make(chan struct{}), make(chan struct{})
	d := open(t, nil)
	d.recorder.hook = func(*event.Hit) { close(inside); <-proceed }
	busy := d.dial(t)
	go ask(busy, post(pageview))
	<-inside
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := d.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown says %v", err)
	}
	if d.count(t, "connections") != 0 {
		t.Error("the connection is still open")
	}
	close(proceed)
	if err := d.shutdown(t); err != nil {
		t.Errorf("the second Shutdown says %v", err)
	}
}

func TestServeAfterShutdown(t *testing.T) {
	d := open(t, nil)
	if err := d.shutdown(t); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Serve(ln); !errors.Is(err, ErrStopped) {
		t.Errorf("Serve says %v", err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("the listener is still open")
	}
	if err := d.shutdown(t); err != nil {
		t.Errorf("the second Shutdown says %v", err)
	}
}

func TestShutdownWithoutServe(t *testing.T) {
	if err := New(Options{}).Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// A keep-alive connection serves many beacons, also of the real HTTP client.
func TestRealClient(t *testing.T) {
	d := open(t, nil)
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for range 50 {
		r, err := client.Post("http://"+d.addr+"/api/event", "text/plain", strings.NewReader(pageview))
		if err != nil {
			t.Fatal(err)
		}
		if body := bodyOf(t, r); r.StatusCode != 202 || body != "ok" {
			t.Fatalf("%v %s", r, body)
		}
		r.Body.Close()
	}
	if got := d.count(t, "connections"); got != 1 {
		t.Errorf("%v connections", got)
	}
	if got := len(d.recorder.all()); got != 50 {
		t.Errorf("%d hits", got)
	}
}
