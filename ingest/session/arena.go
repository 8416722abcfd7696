package session

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The file: a header page; a directory of chunks, 4 bytes each, the number of
// the shard that has it plus one, or 0; the chunks. Numbers are little-endian,
// as the machine's are.
//
//	0     magic 8 | layout 4 | clean 4 | boot 64 | complete 4 | checksum of the chunks 4
//	4096  directory, 1 MiB
//	...   chunks of 256 blocks, in the order of the directory
const (
	fileMagic = "HMVISITS"
	layout    = 2

	cleanAt    = 12
	bootAt     = 16
	bootLen    = 64
	completeAt = bootAt + bootLen
	sumAt      = completeAt + 4

	directoryAt = 4096
	maxChunks   = 1 << 18
	chunksAt    = directoryAt + 4*maxChunks
	extent      = 64 // chunks that are reserved on disk at a time
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// arena hands out chunks of a mapped file, so that what is written into them
// outlives the process, or of memory where there is no file or no room in it.
type arena struct {
	log  *slog.Logger
	file *os.File
	mem  []byte // nil without a file

	mu       sync.Mutex
	used     int         // chunks of the file that are in use
	reserved int         // and on disk
	room     int         // chunks that the mapping has room for
	lacking  atomic.Bool // some are in memory only
}

// header gives access to a number of the header page.
func (a *arena) header(at int) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&a.mem[at])) }

func (a *arena) owner(chunk int) *atomic.Uint32 { return a.header(directoryAt + 4*chunk) }

func (a *arena) at(i int) *chunk { return (*chunk)(unsafe.Pointer(&a.mem[chunksAt+i*chunkBytes])) }

// chunk returns an empty chunk for a shard.
func (a *arena) chunk(shard uint32) *chunk {
	if a == nil || a.mem == nil {
		return new(chunk)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.used == a.reserved {
		if err := a.reserve(); err != nil {
			// From here on the file does not hold everything.
			if a.header(completeAt).Store(0); !a.lacking.Swap(true) {
				a.log.Warn("the file of visits cannot grow; they would not survive a crash until the next start", "error", err)
			}
			return new(chunk)
		}
	}
	c := a.at(a.used)
	a.owner(a.used).Store(shard + 1)
	a.used++
	return c
}

// reserve gets blocks on disk for more chunks: writing where there are none
// would end the process when the disk is full.
func (a *arena) reserve() error {
	if a.reserved >= a.room {
		return errors.New("it is at its limit")
	}
	n := min(extent, a.room-a.reserved)
	if err := allocate(a.file, int64(chunksAt+a.reserved*chunkBytes), int64(n*chunkBytes)); err != nil {
		return err
	}
	a.reserved += n
	return nil
}

func allocate(f *os.File, from, n int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, from, n)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EOPNOTSUPP):
			return err
		}
		break
	}
	zeros := make([]byte, 1<<20)
	for end := from + n; from < end; from += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), end-from)], from); err != nil {
			return err
		}
	}
	return nil
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

// openArena maps the file with room for so many chunks, and tells whether what
// an earlier run wrote can be believed, and if it ended in good order.
func openArena(path string, room int, boot string, log *slog.Logger) (a *arena, left, clean bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, false, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, false, false, err
	}
	there := int(max(info.Size()-chunksAt, 0) / chunkBytes)
	room = min(max(room, there), maxChunks)
	page := make([]byte, directoryAt)
	if _, err := f.ReadAt(page, 0); err == nil {
		left, clean = believable(page, boot)
	}
	if !left {
		there, clean = 0, false
		if err := f.Truncate(0); err != nil {
			return nil, false, false, err
		}
	}
	if err := allocate(f, 0, chunksAt); err != nil {
		return nil, false, false, err
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, chunksAt+room*chunkBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, false, false, err
	}
	a = &arena{log: log, file: f, mem: mem, reserved: there, room: room}
	for a.used < there && a.owner(a.used).Load() != 0 {
		a.used++
	}
	if clean && a.sum() != a.header(sumAt).Load() {
		log.Error("the file of visits is damaged; those that were going on are looked for in storage")
		a.clear()
		left, clean = false, false
	}
	if err := a.begin(boot); err != nil {
		return nil, false, false, errors.Join(err, unix.Munmap(mem))
	}
	return a, left, clean, nil
}

// believable tells whether a file was closed in good order, or is as a killed
// process of this run of the machine left it: then the page cache, of which
// nothing was lost, is what the file holds.
func believable(page []byte, boot string) (left, clean bool) {
	if string(page[:8]) != fileMagic || binary.NativeEndian.Uint32(page[8:]) != layout {
		return false, false
	}
	clean = binary.NativeEndian.Uint32(page[cleanAt:]) == 1
	same := boot != "" && strings.TrimRight(string(page[bootAt:bootAt+bootLen]), "\x00") == boot
	return clean || same, clean
}

// begin notes, on disk, that the file is in use.
func (a *arena) begin(boot string) error {
	copy(a.mem, fileMagic)
	a.header(8).Store(layout)
	a.header(cleanAt).Store(0)
	clear(a.mem[bootAt : bootAt+bootLen])
	copy(a.mem[bootAt:bootAt+bootLen], boot)
	return unix.Msync(a.mem[:directoryAt], unix.MS_SYNC)
}

// clear gives all chunks back.
func (a *arena) clear() {
	for i := range a.used {
		a.owner(i).Store(0)
		*a.at(i) = chunk{}
	}
	a.used = 0
	a.header(completeAt).Store(0)
}

func (a *arena) sum() uint32 {
	return crc32.Checksum(a.mem[chunksAt:chunksAt+a.used*chunkBytes], castagnoli)
}

// close writes everything to disk and notes that it is all there.
func (a *arena) close() error {
	whole := a.mem[:chunksAt+a.used*chunkBytes]
	a.header(sumAt).Store(a.sum())
	err := unix.Msync(whole, unix.MS_SYNC)
	if err == nil {
		a.header(cleanAt).Store(1)
		err = unix.Msync(a.mem[:directoryAt], unix.MS_SYNC)
	}
	err = errors.Join(err, unix.Munmap(a.mem), a.file.Close())
	a.mem = nil
	if err != nil {
		return fmt.Errorf("cannot write the visits down: %w", err)
	}
	return nil
}
