package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The file: a header page, the counters, and two copies of everything, written
// in turn. Numbers are little-endian, checksums CRC-32C.
//
//	0      magic 8 | version 4 | zero 4 | boot 64 | checksum of bytes 0 to 79, 4
//	4096   counters: value 8 | name 52 | checksum of the name 4, 128 times
//	12288  copy of even generations, 16 KiB
//	28672  copy of odd generations, 16 KiB
//
// A copy is the state, as state.encode writes it, the counters as above, zeros,
// and the checksum of all that as the last 4 bytes.
const (
	magic   = "HMLEDGER"
	version = 1

	headerLen = 80
	cellsAt   = 4096
	cellBytes = 64
	cellCount = 128
	nameBytes = 52
	cellsLen  = cellBytes * cellCount
	copiesAt  = cellsAt + cellsLen
	copyLen   = 16 << 10
	fileLen   = copiesAt + 2*copyLen
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Cell is one counter. Counting is one atomic addition; each has a cache line
// of its own.
type Cell struct {
	value atomic.Uint64
	name  [nameBytes]byte
	check uint32
}

var _ [cellBytes]byte = [unsafe.Sizeof(Cell{})]byte{}

// Inc counts one event.
func (c *Cell) Inc() { c.value.Add(1) }

// Value returns what was counted so far, in earlier runs too.
func (c *Cell) Value() uint64 { return c.value.Load() }

func (c *Cell) called() (string, bool) {
	if c.name[0] == 0 || crc32.Checksum(c.name[:], castagnoli) != c.check {
		return "", false
	}
	return string(bytes.TrimRight(c.name[:], "\x00")), true
}

// file is the open file with its counters mapped.
type file struct {
	f     *os.File
	mem   []byte
	cells *[cellCount]Cell
}

// thisBoot names this run of the machine: what was only in memory is the same
// as what was written for as long as it lasts.
func thisBoot() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "" // then no run is the same
	}
	return strings.TrimSpace(string(id))
}

// trust says what may be believed of a file that was opened.
type trust uint8

const (
	nothing trust = iota // there were no books
	copied               // the last copy: the machine went down since
	all
)

// open opens the file and finds out what of it may be believed.
func (l *Ledger) open() (trust, error) {
	f, err := os.OpenFile(l.opts.File, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nothing, err
	}
	old := make([]byte, fileLen)
	n, _ := f.ReadAt(old, 0) // what is not there reads as damaged
	if err := allocate(f); err != nil {
		return nothing, errors.Join(fmt.Errorf("cannot reserve %d bytes: %w", fileLen, err), f.Close())
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, copiesAt, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nothing, errors.Join(err, f.Close())
	}
	l.file = &file{f: f, mem: mem, cells: (*[cellCount]Cell)(unsafe.Pointer(&mem[cellsAt]))}
	how := l.recall(old[:n])
	copy(mem, header(l.opts.boot))
	return how, nil
}

func allocate(f *os.File) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, fileLen)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return f.Truncate(fileLen)
	}
	return err
}

func header(boot string) []byte {
	h := make([]byte, headerLen+4)
	copy(h, magic)
	binary.LittleEndian.PutUint32(h[8:], version)
	copy(h[16:headerLen], boot)
	binary.LittleEndian.PutUint32(h[headerLen:], crc32.Checksum(h[:headerLen], castagnoli))
	return h
}

// recall takes over what an earlier run left.
func (l *Ledger) recall(old []byte) trust {
	if len(old) == 0 {
		return nothing
	}
	var newest []byte
	for i := range 2 {
		at := copiesAt + i*copyLen
		if len(old) < at+copyLen {
			continue
		}
		var s state
		c := old[at : at+copyLen]
		if binary.LittleEndian.Uint32(c[copyLen-4:]) == crc32.Checksum(c[:copyLen-4], castagnoli) &&
			s.decode(c) && (newest == nil || s.generation > l.state.generation) {
			newest, l.state = c, s
		}
	}
	if newest == nil {
		l.log.Error("the ledger is damaged and begun anew; its counters start at zero")
		clear(l.file.mem)
		return nothing
	}
	if l.opts.boot != "" && bytes.Equal(old[:headerLen+4], header(l.opts.boot)) {
		return all
	}
	copy(l.file.mem[cellsAt:], newest[stateLen:stateLen+cellsLen])
	return copied
}

// cell finds or makes a counter; nil if there is no room.
func (f *file) cell(name string) *Cell {
	if len(name) > nameBytes {
		return nil
	}
	var free *Cell
	for i := range f.cells {
		c := &f.cells[i]
		called, ok := c.called()
		if ok && called == name {
			return c
		}
		if !ok && free == nil {
			free = c
		}
	}
	if free == nil {
		return nil
	}
	free.value.Store(0)
	free.name = [nameBytes]byte{}
	copy(free.name[:], name)
	free.check = crc32.Checksum(free.name[:], castagnoli)
	return free
}

// each walks the counters.
func (f *file) each(yield func(fate Fate, reason string, value uint64)) {
	for i := range f.cells {
		if name, ok := f.cells[i].called(); ok {
			fate, reason := parseName(name)
			yield(fate, reason, f.cells[i].Value())
		}
	}
}

// sum changes when anything was counted.
func (f *file) sum() (n uint64) {
	for i := range f.cells {
		n += f.cells[i].Value()
	}
	return n
}

// write writes the copy of s and of the counters, and syncs it.
func (f *file) write(s *state) error {
	c := make([]byte, copyLen)
	s.encode(c)
	for _, late := range []bool{false, true} { // received last: what is under way then counts as such
		for i := range f.cells {
			cell := &f.cells[i]
			name, ok := cell.called()
			if fate, _ := parseName(name); !ok || (fate == Received) != late {
				continue
			}
			to := c[stateLen+i*cellBytes:]
			binary.LittleEndian.PutUint64(to, cell.Value())
			copy(to[8:], cell.name[:])
			binary.LittleEndian.PutUint32(to[8+nameBytes:], cell.check)
		}
	}
	binary.LittleEndian.PutUint32(c[copyLen-4:], crc32.Checksum(c[:copyLen-4], castagnoli))
	if _, err := f.f.WriteAt(c, copiesAt+int64(s.generation%2)*copyLen); err != nil {
		return err
	}
	for {
		if err := unix.Fdatasync(int(f.f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (f *file) close() error {
	f.cells = nil
	return errors.Join(unix.Munmap(f.mem), f.f.Close())
}
