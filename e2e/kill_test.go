package e2e_test

import (
	"math/rand/v2"
	"testing"

	"github.com/halfmask/halfmask/e2e"
)

// kills is how often each of these tests kills something.
func kills(t *testing.T) int {
	if testing.Short() {
		return 3
	}
	return 20
}

// TestKilledServerLosesNothing kills halfmask under load, again and again:
// every event that was answered 202 is stored exactly once.
func TestKilledServerLosesNothing(t *testing.T) {
	server := e2e.Start(t, e2e.Options{})
	server.AddSite(t, "example.com")
	token := server.AddToken(t, "example.com")
	load := e2e.StartLoad(t, server, "example.com", 4)
	for range kills(t) {
		// At another moment of a batch's life each time.
		load.Accepted(t, 1+rand.Int64N(400))
		server.Kill(t)
		server.Restart(t)
	}
	load.Accepted(t, 100)
	load.Stop(t)
	load.StoredOnce(t, token)
}

// TestKilledEngineLosesNothing kills ClickHouse under a halfmask that keeps
// running: no event is refused, and each is stored exactly once.
func TestKilledEngineLosesNothing(t *testing.T) {
	server := e2e.Start(t, e2e.Options{})
	server.AddSite(t, "example.com")
	token := server.AddToken(t, "example.com")
	load := e2e.StartLoad(t, server, "example.com", 4)
	for range kills(t) {
		load.Accepted(t, 1+rand.Int64N(400))
		server.KillEngine(t)
	}
	load.Accepted(t, 100)
	load.Stop(t)
	load.StoredOnce(t, token)
}
