package spool

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, small(dir))
	id := s.ID()
	want := numbered(1000)
	mustAppend(t, s, want...)
	_, segments := all(t, s)
	last := segments[len(segments)-1].Seq
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = mustOpen(t, small(dir))
	if s.ID() != id || id == 0 {
		t.Errorf("the spool's number is %x, was %x", s.ID(), id)
	}
	var backlog []string
	for g, err := range s.Backlog() {
		if err != nil {
			t.Fatal(err)
		}
		for p := range g.Records() {
			backlog = append(backlog, string(p))
		}
	}
	if !slices.Equal(backlog, want) {
		t.Errorf("the backlog has %d payloads, want %d", len(backlog), len(want))
	}
	mustAppend(t, s, "new")
	s.Seal()
	got, segments := all(t, s)
	if !slices.Equal(got, append(want, "new")) {
		t.Errorf("got %d payloads, want %d, found ones first", len(got), len(want)+1)
	}
	for i, g := range segments {
		if g.Found != (i < len(segments)-1) {
			t.Errorf("segment %d of %d: Found is %v", i, len(segments), g.Found)
		}
		if err := s.Settle(g.Seq); err != nil {
			t.Error(err)
		}
	}
	if got := segments[len(segments)-1].Seq; got <= last {
		t.Errorf("new segment has number %d, there was %d before", got, last)
	}
	last = segments[len(segments)-1].Seq
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if f := files(t, dir); len(f) != 0 {
		t.Errorf("after everything was settled and closed there is still %v", f)
	}

	// Nothing is left that could tell which numbers were used.
	s = mustOpen(t, small(dir))
	mustAppend(t, s, "newer")
	s.Seal()
	_, segments = all(t, s)
	if segments[0].Seq <= last {
		t.Errorf("number %d was used again after %d", segments[0].Seq, last)
	}
}

func TestNumbersAreNotUsedAgainWhenTheClockGoesBack(t *testing.T) {
	dir := t.TempDir()
	future := identity{id: 7, reserved: 1 << 50}
	if err := (host{}).MakeFolder(dir); err != nil {
		t.Fatal(err)
	}
	if err := future.write(host{}, dir); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, small(dir))
	mustAppend(t, s, "x")
	s.Seal()
	_, segments := all(t, s)
	if segments[0].Seq < 1<<50 {
		t.Errorf("number %d may have been used", segments[0].Seq)
	}
}

func TestOptions(t *testing.T) {
	cases := map[string]Options{
		"no folder":         {},
		"tiny segments":     {Dir: "x", SegmentBytes: 100},
		"huge segments":     {Dir: "x", SegmentBytes: 2 << 30, MaxBytes: 16 << 30},
		"cap of 1 segment":  {Dir: "x", MaxBytes: 17 << 20},
		"folder is a file":  {Dir: "spool_test.go"},
		"folder cannot be":  {Dir: "/proc/nothing/here"},
		"negative segments": {Dir: "x", SegmentBytes: -1},
	}
	for name, o := range cases {
		if s, err := Open(o); err == nil {
			t.Errorf("%s: Open succeeded", name)
			_ = s.Close()
		}
	}
	if _, err := os.Stat("x"); err == nil {
		t.Error("a refused Open made a folder")
	}
}

func TestFilesAreForTheOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "spool")
	s := mustOpen(t, small(dir))
	mustAppend(t, s, "a")
	s.Seal()
	_, segments := all(t, s)
	if err := s.Quarantine(segments[0].Seq); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
