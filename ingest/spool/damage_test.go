package spool

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// written makes a folder with one segment of these payloads and returns the
// segment's path. An open one looks as after a kill.
func written(t *testing.T, sealed bool, payloads []string) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	s := mustOpen(t, small(dir))
	mustAppend(t, s, payloads...)
	path = s.path(s.active.seq)
	if sealed {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return dir, path
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

// frameOffsets returns where in the file each payload's frame starts, and where
// the last ends.
func frameOffsets(payloads []string) []int {
	at := headerSize
	offsets := []int{at}
	for _, p := range payloads {
		at += frameSize(len(p))
		offsets = append(offsets, at)
	}
	return offsets
}

func TestDamageCostsOnlyWhatItTouches(t *testing.T) {
	payloads := numbered(100)
	off := frameOffsets(payloads)
	end := off[100]
	fill := func(b []byte, from, to int, v byte) []byte {
		for i := from; i < min(to, len(b)); i++ {
			b[i] = v
		}
		return b
	}
	flip := func(at int, bit byte) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= bit; return b }
	}
	random := rand.NewChaCha8([32]byte{1})
	noise := func(from, to int) func([]byte) []byte {
		return func(b []byte) []byte { _, _ = random.Read(b[from:min(to, len(b))]); return b }
	}
	// touching lists the records with a byte in [from, to).
	touching := func(from, to int) (lost []int) {
		for i := range payloads {
			if off[i] < to && from < off[i]+frameHeader+len(payloads[i]) {
				lost = append(lost, i)
			}
		}
		return lost
	}
	sector := headerSize + 5*512
	cases := []struct {
		name    string
		damage  func([]byte) []byte
		lost    []int
		unknown int // of them not countable when the segment was open: the end is unknown
	}{
		{"none", func(b []byte) []byte { return b }, nil, 0},
		{"bit in the first payload", flip(off[0]+frameHeader, 1), []int{0}, 0},
		{"bit in a payload", flip(off[50]+frameHeader+3, 0x80), []int{50}, 0},
		{"bit in a magic", flip(off[50], 4), nil, 0},
		{"bit in a checksum", flip(off[50]+5, 4), []int{50}, 0},
		{"bit in a length", flip(off[50]+8, 8), []int{50}, 0},
		{"high bit in a length", flip(off[50]+11, 0x80), []int{50}, 0},
		{"length 0", func(b []byte) []byte { return fill(b, off[50]+8, off[50]+12, 0) }, []int{50}, 0},
		{"bit in a number", flip(off[50]+12, 1), []int{50}, 0},
		{"bit in the padding", flip(off[51]-1, 1), nil, 0},
		{"bit in the last payload", flip(off[99]+frameHeader, 1), []int{99}, 0},
		{"bit in the last magic", flip(off[99], 1), nil, 0},
		{"zeroed sector", func(b []byte) []byte { return fill(b, sector, sector+512, 0) }, touching(sector, sector+512), 0},
		{"noise in a sector", noise(sector, sector+512), touching(sector, sector+512), 0},
		{"noise in the first page of records", noise(headerSize, 2*headerSize), touching(headerSize, 2*headerSize), 0},
		{"header page zeroed", func(b []byte) []byte { return fill(b, 0, headerSize, 0) }, nil, 0},
		{"noise in the header page", noise(0, headerSize), nil, 0},
		{"bit in the header", flip(20, 1), nil, 0},
		{"bit in the mark", flip(markOffset+5, 1), nil, 0},
		{"cut in the last record", func(b []byte) []byte { return b[:end-20] }, []int{99}, 0},
		{"cut in the middle", func(b []byte) []byte { return b[:off[50]] }, touching(off[50], end), 50},
		{"end zeroed", func(b []byte) []byte { return fill(b, off[90], len(b), 0) }, touching(off[90], end), 10},
		{"a record moved over another", func(b []byte) []byte {
			copy(b[off[50]:off[51]], b[off[49]:off[50]])
			return b
		}, []int{50}, 0},
	}
	for _, c := range cases {
		for _, sealed := range []bool{true, false} {
			name := c.name + ", found open"
			if sealed {
				name = c.name + ", sealed"
			}
			t.Run(name, func(t *testing.T) {
				dir, path := written(t, sealed, payloads)
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, c.damage(b), 0o600); err != nil {
					t.Fatal(err)
				}
				metrics := prometheus.NewRegistry()
				o := small(dir)
				o.Registerer = metrics
				s := mustOpen(t, o)
				mustAppend(t, s, "appended after")
				s.Seal()
				got, _ := all(t, s)
				var want []string
				for i, p := range payloads {
					if !slices.Contains(c.lost, i) {
						want = append(want, p)
					}
				}
				if want = append(want, "appended after"); !slices.Equal(got, want) {
					t.Errorf("got %d payloads, want %d", len(got), len(want))
				}
				counted := len(c.lost)
				if !sealed {
					counted -= c.unknown
				}
				if n := metric(t, metrics, "halfmask_spool_damaged_records_total"); int(n) != counted {
					t.Errorf("%v records counted as damaged, want %d", n, counted)
				}
			})
		}
	}
}

// metric returns the sum of a metric's series.
func metric(t *testing.T, g prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		sum := 0.0
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
		return sum
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func TestStrangeFolders(t *testing.T) {
	touch := func(name, content string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	cases := map[string]struct {
		change func(t *testing.T, dir string)
		sameID bool
	}{
		"identity lost": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, identityName)); err != nil {
				t.Fatal(err)
			}
		}, true},
		"identity empty":            {touch(identityName, ""), true},
		"identity garbled":          {touch(identityName, "halfmask spool 1\nid 0000000000000001\nreserved 0\ncrc 00000000\n"), true},
		"half-written identity":     {touch(identityName+".new", "half"), true},
		"an empty segment file":     {touch("0000000000000001.seg", ""), true},
		"a short segment file":      {touch("0000000000000002.seg", "HALFMASK"), true},
		"a zero segment file":       {touch("ffffffffffff0000.seg", strings.Repeat("\x00", 100_000)), true},
		"a file of somebody else's": {touch("notes.txt", "hello"), true},
		"a folder named segment": {func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, "0000000000000003.seg"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpen(t, small(dir))
			id := s.ID()
			mustAppend(t, s, "kept")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			c.change(t, dir)
			s = mustOpen(t, small(dir))
			if (s.ID() == id) != c.sameID {
				t.Errorf("number %x became %x", id, s.ID())
			}
			mustAppend(t, s, "new")
			s.Seal()
			if got, _ := all(t, s); !slices.Equal(got, []string{"kept", "new"}) {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestSegmentsOfAnotherSpoolAreLeftAlone(t *testing.T) {
	_, foreign := written(t, true, []string{"foreign"})
	dir := t.TempDir()
	copied := filepath.Join(dir, filepath.Base(foreign))
	b, err := os.ReadFile(foreign)
	if err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, small(dir))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, small(dir))
	mustAppend(t, s, "own")
	s.Seal()
	if got, _ := all(t, s); !slices.Equal(got, []string{"own"}) {
		t.Errorf("got %q", got)
	}
	if after, err := os.ReadFile(copied); err != nil || !bytes.Equal(after, b) {
		t.Errorf("the other spool's segment was touched: %v", err)
	}
}

func TestASegmentThatVanishedIsCounted(t *testing.T) {
	metrics := prometheus.NewRegistry()
	o := small(t.TempDir())
	o.Registerer = metrics
	s := mustOpen(t, o)
	mustAppend(t, s, "a", "b")
	s.Seal()
	mustAppend(t, s, "c")
	s.Seal()
	if err := os.Remove(s.path(s.entries[0].seq)); err != nil {
		t.Fatal(err)
	}
	if got, _ := all(t, s); !slices.Equal(got, []string{"c"}) {
		t.Errorf("got %q", got)
	}
	if n := metric(t, metrics, "halfmask_spool_damaged_records_total"); n != 2 {
		t.Errorf("%v records counted as lost, want 2", n)
	}
}

// Somebody cuts the file under a mapping, or the disk cannot give a page: the
// kernel answers with SIGBUS.
func TestFaultWhileAppending(t *testing.T) {
	metrics := prometheus.NewRegistry()
	o := small(t.TempDir())
	o.Registerer = metrics
	s := mustOpen(t, o)
	if err := os.Truncate(s.path(s.active.seq), headerSize); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, s, "a")
	mustAppend(t, s, numbered(40)...)
	if err := os.Truncate(s.path(s.active.seq), 2*headerSize); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, s, numbered(100)...)
	s.Seal()
	got, _ := all(t, s)
	if len(got) < 101 {
		t.Errorf("only %d payloads", len(got))
	}
	if n := metric(t, metrics, "halfmask_spool_sync_errors_total"); n != 2 {
		t.Errorf("%v faults counted, want 2", n)
	}
	if testutil.CollectAndCount(s.metrics) == 0 {
		t.Error("no metrics")
	}
}
