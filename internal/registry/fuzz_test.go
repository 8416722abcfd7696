package registry

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzSnapshot: whatever lies in the file, it is refused or means the same when
// it was written again.
func FuzzSnapshot(f *testing.F) {
	for _, s := range []string{"", "[]", "null", `[{"id":"7","domain":"example.com","zone":"Europe/Berlin"}]`, `[{"id":"-1"}]`, `[{"zone":"../../etc/passwd"}]`, `[{"id":"7","domain":"\ud800","zone":"UTC"}]`} {
		f.Add([]byte(s))
	}
	file := filepath.Join(f.TempDir(), "sites.json")
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		sites, err := readSnapshot(file)
		if err != nil {
			return
		}
		if err := writeSnapshot(file, sites); err != nil {
			t.Fatal(err)
		}
		again, err := readSnapshot(file)
		if err != nil || len(again) != len(sites) {
			t.Fatalf("%d sites became %d: %v", len(sites), len(again), err)
		}
		for i, s := range sites {
			if a := again[i]; a.ID != s.ID || a.Domain != s.Domain || a.Zone.String() != s.Zone.String() {
				t.Errorf("%+v became %+v", s, a)
			}
		}
	})
}
