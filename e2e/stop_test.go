package e2e_test

import (
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/halfmask/halfmask/e2e"
)

// TestStopIsHeldUpByNobody: whoever is connected, and whatever the engine does,
// SIGTERM ends Halfmask in time, cleanly, with what was accepted safe.
func TestStopIsHeldUpByNobody(t *testing.T) {
	const halfABody = "Host: h\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\n{"
	for _, c := range []struct {
		name    string
		listens func(*e2e.Server) string
		says    string
	}{
		{"half a beacon", func(s *e2e.Server) string { return s.Collector }, "POST /api/event HTTP/1.1\r\n" + halfABody},
		{"half a header", func(s *e2e.Server) string { return s.Collector }, "POST /api/ev"},
		{"half a login", func(s *e2e.Server) string { return s.Dashboard }, "POST /login HTTP/1.1\r\n" + halfABody},
		{"nothing said", func(s *e2e.Server) string { return s.Dashboard }, ""},
		{"a scraper that stays", func(s *e2e.Server) string { return s.Operations }, "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := e2e.Start(t, e2e.Options{Args: []string{"--batch-interval", "1m"}})
			server.AddSite(t, "example.com")
			conn, err := net.Dial("tcp", strings.TrimPrefix(c.listens(server), "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, c.says); err != nil {
				t.Fatal(err)
			}
			send(t, server, "/one") // waits in the spool: the stop has something to store
			server.Stop(t)
			for _, sign := range []string{"spool", "killing"} {
				if strings.Contains(server.Output(), sign) {
					t.Errorf("one client kept the rest from stopping in order (%q):\n%s", sign, server.Output())
				}
			}
		})
	}
	t.Run("an engine that hangs", func(t *testing.T) {
		t.Parallel()
		server := e2e.Start(t, e2e.Options{})
		server.AddSite(t, "example.com")
		token := server.AddToken(t, "example.com")
		server.SignalEngine(t, syscall.SIGSTOP)
		send(t, server, "/one")
		began := time.Now()
		server.Stop(t)
		if took := time.Since(began); took > e2e.StopWithin {
			t.Errorf("it took %v", took)
		}
		server.Restart(t)
		e2e.Eventually(t, "what waited in the spool is stored", func() bool {
			return server.Totals(t, token, "example.com", "events")[0] == 1
		})
	})
	t.Run("a second signal", func(t *testing.T) {
		t.Parallel()
		server := e2e.Start(t, e2e.Options{})
		server.AddSite(t, "example.com")
		server.SignalEngine(t, syscall.SIGSTOP)
		send(t, server, "/one") // the stop cannot store it, and tries
		server.Signal(t, syscall.SIGINT)
		server.Says(t, "msg=stopping")
		server.Signal(t, syscall.SIGINT)
		if err := server.Wait(t); err == nil {
			t.Error("a second signal ends it at once, which is no clean stop, but the status is 0")
		}
	})
}

// TestStopWhileStarting: at no moment of its start does SIGTERM look like a
// failure, or leave an engine behind.
func TestStopWhileStarting(t *testing.T) {
	server := e2e.Start(t, e2e.Options{})
	server.Stop(t)
	for wait := 5 * time.Millisecond; wait < 2*time.Second; wait = wait * 3 / 2 {
		server.Launch(t)
		server.Says(t, "msg=starting") // it handles signals from here on
		time.Sleep(wait)
		server.Stop(t)
	}
}
