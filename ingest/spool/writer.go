package spool

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// writer is a segment that takes appends: a preallocated file mapped into
// memory. The spool's mutex guards it.
type writer struct {
	seq   uint64
	salt  uint32
	file  *os.File
	mem   []byte
	end   int // bytes used, header page included
	count uint32
	first time.Time
	dirty bool // something was written since the last sync

	faulted bool
}

func (w *writer) fits(payload int) bool { return w.end+frameSize(payload) <= len(w.mem) }

// put adds a record that fits. It returns false if the memory failed: the disk
// could not give a page, or somebody shortened the file. Nothing was added then
// and the segment must not be used any more.
func (w *writer) put(payload []byte, crc uint32) bool {
	if !faultless(func() { putFrame(w.mem[w.end:], w.salt, w.count, payload, crc) }) {
		w.faulted = true
		return false
	}
	w.end += frameSize(len(payload))
	w.count++
	w.dirty = true
	return true
}

func (w *writer) seal(now time.Time) bool {
	m := mark{count: w.count, end: int64(w.end), first: w.first, sealed: now}
	w.dirty = true
	return faultless(func() { m.put(w.mem[:headerSize], w.salt) })
}

// faultless runs f, which writes to mapped memory, and returns false if that
// faulted. Without it an unreadable disk would end the process by SIGBUS.
func faultless(f func()) (ok bool) {
	before := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(before)
		r := recover()
		if r == nil {
			return
		}
		// Only a memory fault has an address; everything else is a defect.
		if _, fault := r.(interface {
			runtime.Error
			Addr() uintptr
		}); !fault {
			panic(r)
		}
	}()
	f()
	return true
}

// create makes a segment's file with all its blocks and maps it. It is on disk,
// name and all, when create returns: a sparse file would fail later, in Append,
// and then with a signal.
func create(dir, path string, h header) (_ *writer, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close(), os.Remove(path))
		}
	}()
	if err := preallocate(file, h.size); err != nil {
		return nil, fmt.Errorf("cannot reserve %d bytes for %s: %w", h.size, path, err)
	}
	page := make([]byte, headerSize)
	h.put(page)
	if _, err := file.WriteAt(page, 0); err != nil {
		return nil, err
	}
	if err := file.Sync(); err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(int(file.Fd()), 0, int(h.size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("cannot map %s: %w", path, err)
	}
	if err := syncFolder(dir); err != nil {
		return nil, errors.Join(err, unix.Munmap(mem))
	}
	return &writer{seq: h.seq, salt: salt(h.id, h.seq), file: file, mem: mem, end: headerSize}, nil
}

// preallocate reserves real blocks; where the file system cannot, it writes
// zeros.
func preallocate(file *os.File, size int64) error {
	err := retry(func() error { return unix.Fallocate(int(file.Fd()), 0, 0, size) })
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := file.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return nil
}

// close unmaps a sealed segment's file, cuts off what it did not use and
// returns its length.
func (w *writer) close() (int64, error) {
	err := unix.Munmap(w.mem)
	w.mem = nil
	size := int64(w.end+headerSize-1) &^ (headerSize - 1)
	return size, errors.Join(err, w.file.Truncate(size), w.file.Close())
}

func fdatasync(file *os.File) error {
	return retry(func() error { return unix.Fdatasync(int(file.Fd())) })
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// retry repeats a system call that a signal interrupted.
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
