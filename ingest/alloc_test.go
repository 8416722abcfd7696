//go:build !race

package ingest_test

import (
	"testing"

	"github.com/halfmask/halfmask/ingest"
)

// The race detector makes a sync.Pool forget what it is given now and then, so
// this holds only without it.
func TestRecordDoesNotAllocate(t *testing.T) {
	r := ingest.New(ingest.Options{Enricher: enricher(), Sessions: visits(t), Spool: nowhere{}})
	hit := view("/a")
	if n := testing.AllocsPerRun(100, func() { r.Record(hit) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
