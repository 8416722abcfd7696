package spool

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"testing"
)

// A visitor can write whatever bytes into an event. None of them may become a
// record of its own when the record they are in is damaged.
func TestForgedFrameInsideAPayload(t *testing.T) {
	var inner []byte
	for seq := range uint32(3) {
		frame := make([]byte, 64)
		forged := []byte("forged")
		putFrame(frame, 0, seq+1, forged, crc32.Checksum(forged, castagnoli))
		inner = append(inner, frame[:frameSize(len(forged))]...)
	}
	payloads := []string{"first", string(inner), "last"}
	dir, path := written(t, true, payloads)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[frameOffsets(payloads)[1]+8] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := all(t, mustOpen(t, small(dir))); !slices.Equal(got, []string{"first", "last"}) {
		t.Errorf("got %q", got)
	}
}

// The scanner is given whatever a disk may return.
func FuzzScanner(f *testing.F) {
	const key = 0x12345678
	seed := make([]byte, 0, 1024)
	for i, p := range numbered(5) {
		frame := make([]byte, frameSize(len(p)))
		putFrame(frame, key, uint32(i), []byte(p), crc32.Checksum([]byte(p), castagnoli))
		seed = append(seed, frame...)
	}
	f.Add(seed, uint16(0), uint16(0), byte(0))
	f.Add(seed, uint16(30), uint16(1), byte(1))
	f.Add(seed, uint16(30), uint16(100), byte(0xff))
	f.Add([]byte{}, uint16(0), uint16(0), byte(0))
	f.Add(bytes.Repeat([]byte{0x48, 0x4d, 0xc0, 0x5e, 0, 0, 0, 0}, 50), uint16(0), uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at, n uint16, change byte) {
		// Damage real frames, and scan pure noise too.
		damaged := bytes.Clone(seed)
		changed := 0
		for i := int(at); i < min(int(at)+int(n), len(damaged)); i++ {
			damaged[i] ^= change
			changed++
		}
		for _, frames := range [][]byte{b, damaged, append(bytes.Clone(b[:len(b)&^(align-1)]), damaged...)} {
			c := scanner{frames: frames, salt: key}
			found, last := 0, c.pos
			for {
				p, ok := c.next()
				if !ok {
					break
				}
				if len(p) == 0 || c.pos <= last {
					t.Fatal("the scanner does not advance")
				}
				found, last = found+1, c.pos
			}
			lost := c.end(int(c.seq))
			if int64(found)+lost.records != int64(c.seq) {
				t.Errorf("%d found, %d lost, of %d", found, lost.records, c.seq)
			}
		}
		c := scanner{frames: damaged, salt: key}
		intact := 0
		for p, ok := c.next(); ok; p, ok = c.next() {
			if !slices.Contains(numbered(5), string(p)) {
				t.Errorf("a record that was never written: %q", p)
			}
			intact++
		}
		if change == 0 || changed == 0 {
			changed = 0
		}
		if touched := min(5, 2+changed/minFrame); changed > 0 && intact < 5-touched || changed == 0 && intact != 5 {
			t.Errorf("%d changed bytes cost %d records", changed, 5-intact)
		}
	})
}

// badDisk cannot read some sectors of what it holds.
type badDisk struct {
	data []byte
	bad  map[int]bool // by sector
}

var errSector = errors.New("input/output error")

func (d *badDisk) ReadAt(b []byte, at int64) (int, error) {
	for i := range b {
		if int(at)+i >= len(d.data) {
			return i, io.EOF
		}
		if d.bad[(int(at)+i)/512] {
			return i, errSector
		}
		b[i] = d.data[int(at)+i]
	}
	return len(b), nil
}

func TestUnreadableSectorsCostOnlyThemselves(t *testing.T) {
	const key = 1
	payloads := numbered(200)
	off := frameOffsets(payloads)
	disk := &badDisk{data: make([]byte, off[200]), bad: map[int]bool{}}
	for i, p := range payloads {
		putFrame(disk.data[off[i]:], key, uint32(i), []byte(p), crc32.Checksum([]byte(p), castagnoli))
	}
	for _, sector := range []int{9, 20, 21, 40} {
		disk.bad[sector] = true
	}
	var want []string
	for i, p := range payloads {
		readable := true
		for at := off[i]; at < off[i]+frameHeader+len(p); at++ {
			readable = readable && !disk.bad[at/512]
		}
		if readable {
			want = append(want, p)
		}
	}
	frames := make([]byte, off[200]-headerSize)
	if err := readDamaged(disk, frames); !errors.Is(err, errSector) {
		t.Errorf("got %v, want the disk's error", err)
	}
	var got []string
	c := scanner{frames: frames, salt: key}
	for p, ok := c.next(); ok; p, ok = c.next() {
		got = append(got, string(p))
	}
	if !slices.Equal(got, want) || len(got) == len(payloads) {
		t.Errorf("got %d payloads, want %d of %d", len(got), len(want), len(payloads))
	}
	if lost := c.end(200); lost.records != int64(200-len(want)) {
		t.Errorf("%d records counted as lost, want %d", lost.records, 200-len(want))
	}
}
