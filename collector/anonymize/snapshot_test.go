package anonymize

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/halfmask/halfmask/event"
)

func TestSnapshotSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "salts")
		tokyo := location(t, "Asia/Tokyo")
		k := openKeeper(t, path)
		k.Ensure(tokyo)
		stop := run(t, k)
		before := look(t, k, time.Now(), tokyo)
		stop() // and no Close: the process was killed

		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("others may read the salts: %v", info.Mode())
		}
		time.Sleep(time.Hour)
		k = openKeeper(t, path)
		if after := look(t, k, time.Now(), tokyo); after.Visitor != before.Visitor {
			t.Error("a restart made a new visitor")
		}
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}

		// Long after, its salts are useless and go at the start.
		time.Sleep(72 * time.Hour)
		old := read(t, path)
		k = openKeeper(t, path)
		look(t, k, time.Now(), tokyo)
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(read(t, path), old[len(magic)+15:len(magic)+31]) {
			t.Error("a start three days later kept the old salt")
		}
	})
}

func TestSnapshotAfterACrash(t *testing.T) {
	salts := []Salt{{Zone: "UTC", Day: event.DayOf(time.Now(), time.UTC), Key: [16]byte{1, 2, 3}, Created: time.Unix(1, 0)}}
	older := []Salt{{Zone: "UTC", Day: event.DayOf(time.Now(), time.UTC), Key: [16]byte{9, 9, 9}, Created: time.Unix(1, 0)}}
	whole, before := encode(salts), encode(older)
	for _, c := range []struct {
		name  string
		files map[string][]byte
		want  []Salt
		err   error
	}{
		{"nothing there", nil, nil, nil},
		{"torn new file", map[string][]byte{"": whole, ".new": before[:20]}, salts, nil},
		{"killed between the renames", map[string][]byte{".new": whole, ".old": before}, salts, nil},
		{"killed before the old was destroyed", map[string][]byte{"": whole, ".old": before}, salts, nil},
		{"new file torn and the old one moved", map[string][]byte{".new": whole[:9], ".old": before}, older, nil},
		{"damaged", map[string][]byte{"": append([]byte{0}, whole...)}, nil, errDamaged},
		{"empty", map[string][]byte{"": {}}, nil, errDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "salts")
			for suffix, data := range c.files {
				if err := os.WriteFile(path+suffix, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			f := &snapshot{path: path}
			got, err := f.read()
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("read %+v, want %+v", got, c.want)
			}
			names := folder(t, path)
			if c.want != nil && !slices.Equal(names, []string{"salts"}) || c.want == nil && len(names) != 0 {
				t.Errorf("left behind: %v", names)
			}
		})
	}
}

func TestADamagedSnapshotDoesNotKeepTheDoorShut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "salts")
	if err := os.WriteFile(path, []byte("HMSALTS\x01nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if hit := look(t, openKeeper(t, path), time.Now(), time.UTC); hit.Visitor == 0 {
		t.Error("no visitor")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode([]Salt{{Zone: "Europe/Berlin", Day: 20000, Key: [16]byte{1}, Created: time.Unix(5, 0)}, {Zone: "UTC", Day: -1}}))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		salts, err := decode(data)
		if err == nil && !bytes.Equal(sorted(encode(salts)), sorted(data)) {
			t.Error("a snapshot was read that encodes to something else")
		}
	})
}

func sorted(b []byte) []byte { b = slices.Clone(b[:max(0, len(b)-4)]); slices.Sort(b); return b }

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func folder(t *testing.T, path string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
