package e2e_test

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/halfmask/halfmask/e2e"
)

// TestAVisitGoesOnOverRestarts: however Halfmask ends between two pageviews,
// they are one visit of one visitor, and no bounce.
func TestAVisitGoesOnOverRestarts(t *testing.T) {
	kill := func(t *testing.T, s *e2e.Server, _ *clickHouse) { s.Kill(t); s.Restart(t) }
	for _, c := range []struct {
		name    string
		restart func(*testing.T, *e2e.Server, *clickHouse)
	}{
		{"killed", kill},
		{"stopped", func(t *testing.T, s *e2e.Server, _ *clickHouse) { s.Stop(t); s.Restart(t) }},
		{"killed, ClickHouse away", func(t *testing.T, s *e2e.Server, c *clickHouse) { c.cut(); kill(t, s, c) }},
		{"stopped, ClickHouse away", func(t *testing.T, s *e2e.Server, c *clickHouse) {
			s.Stop(t)
			c.cut()
			s.Restart(t)
		}},
		{"killed while it starts", func(t *testing.T, s *e2e.Server, c *clickHouse) {
			s.Kill(t)
			s.Launch(t)
			s.Says(t, "msg=starting")
			s.Signal(t, syscall.SIGKILL)
			_ = s.Wait(t)
			s.Restart(t)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			theirs := startClickHouse(t)
			server := e2e.Start(t, e2e.Options{
				Args: []string{"--clickhouse", theirs.dsn(""), "--batch-interval", "10ms"}, Env: []string{"HALFMASK_ENGINE=/nowhere/libchdb.so"},
			})
			server.AddSite(t, "example.com")
			token := server.AddToken(t, "example.com")
			send(t, server, "/one")
			// Stored and gone from the spool: only the table knows of the visit now.
			e2e.Eventually(t, "the first view is settled", func() bool {
				return server.Metrics(t).Value("halfmask_ledger_stored_events_total") == 1
			})
			c.restart(t, server, theirs)
			send(t, server, "/two")
			theirs.mend()
			e2e.Eventually(t, "the second view is stored", func() bool {
				return server.Metrics(t).Value("halfmask_ledger_stored_events_total") == 2
			})
			got := server.Totals(t, token, "example.com", "visitors", "visits", "pageviews", "bounce_rate")
			if fmt.Sprint(got) != "[1 1 2 0]" {
				t.Errorf("visitors, visits, pageviews and bounce rate are %v, want one visit of two pages", got)
			}
			balances(t, server)
		})
	}
}
