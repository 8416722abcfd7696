package engine_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfmask/halfmask/storage/engine"
)

func TestFind(t *testing.T) {
	put := func(t *testing.T, path string) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, place := range map[string]string{
		"beside the program":      "bin/libchdb.so",
		"installed with it":       "lib/halfmask/libchdb.so",
		"fetched by make engine":  engine.Cached(),
		"given, whatever is near": "elsewhere/clickhouse",
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			want := put(t, filepath.Join(top, place))
			explicit := ""
			if strings.HasPrefix(place, "elsewhere") {
				explicit = want
				put(t, filepath.Join(top, "bin/libchdb.so"))
			}
			got, err := engine.Find(explicit, filepath.Join(top, "bin"))
			if err != nil || got != want {
				t.Errorf("found %q, %v; want %q", got, err, want)
			}
		})
	}
	for name, explicit := range map[string]string{"nowhere": "", "given, but not there": "/nowhere/libchdb.so", "a folder": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat("/usr/lib/halfmask/libchdb.so"); err == nil && explicit == "" {
				t.Skip("Halfmask is installed on this machine")
			}
			_, err := engine.Find(explicit, t.TempDir())
			if err == nil || !strings.Contains(err.Error(), "run `make engine`") || !strings.Contains(err.Error(), "--engine PATH") {
				t.Errorf("error %v does not say what to do", err)
			}
		})
	}
}
