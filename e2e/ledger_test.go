package e2e_test

import (
	"testing"

	"github.com/halfmask/halfmask/e2e"
)

// balances expects that the books account for every event, whatever is under
// way.
func balances(t *testing.T, server *e2e.Server) {
	t.Helper()
	m := server.Metrics(t)
	if m["halfmask_ledger_residue_events"] == nil || m.Value("halfmask_ledger_residue_events") != 0 {
		t.Errorf("the books do not balance:\n%s", server.Run(t, "ledger"))
	}
}

// balancesAtRest expects that every event received since the first start has a
// fate, and that those which were stored are in storage.
func balancesAtRest(t *testing.T, server *e2e.Server, inStorage float64) {
	t.Helper()
	sum := func(m e2e.Metrics, names ...string) (n float64) {
		for _, name := range names {
			n += m.Value("halfmask_" + name)
		}
		return n
	}
	e2e.Eventually(t, "nothing waits in the spool", func() bool { return server.Metrics(t).Value("halfmask_ledger_spooled_events") == 0 })
	m := server.Metrics(t)
	received := m.Value("halfmask_collector_received_events_total")
	fates := sum(m, "ledger_stored_events_total", "collector_dropped_events_total", "collector_suppressed_events_total",
		"collector_rejected_requests_total", "collector_refused_events_total", "ledger_quarantined_events_total", "ledger_interrupted_events_total")
	if received != fates || m.Value("halfmask_ledger_residue_events") != 0 || m.Value("halfmask_ledger_in_flight_events") != 0 {
		t.Errorf("%v events were received, %v have a fate:\n%s", received, fates, server.Run(t, "ledger"))
	}
	if stored := m.Value("halfmask_ledger_stored_events_total"); stored != inStorage {
		t.Errorf("%v events are booked as stored, storage holds %v", stored, inStorage)
	}
	t.Logf("the books:\n%s", server.Run(t, "ledger", "--verify"))
}
