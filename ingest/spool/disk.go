package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// disk is what the spool asks of a file system: host in life, and in tests one
// that fails, tears and forgets.
type disk interface {
	// MakeFolder makes a folder for its owner alone, with its parents, or closes
	// one that is there to others. The folder survives a power failure when it
	// returns.
	MakeFolder(path string) error
	// Lock holds a file against every other holder, of this process too, until
	// it is closed or the process ends. It is errInUse if somebody holds it.
	Lock(path string) (io.Closer, error)
	// List returns what a folder holds, by name.
	List(folder string) ([]info, error)
	// Create makes a file that is not there, for reading and writing.
	Create(path string) (file, error)
	// Open opens a file for reading.
	Open(path string) (file, error)
	// Edit opens a file for reading and writing.
	Edit(path string) (file, error)
	// Rename and Remove change names only: what they did may be undone by a
	// power failure until SyncFolder.
	Rename(from, to string) error
	Remove(path string) error
	// SyncFolder makes a folder's names survive a power failure.
	SyncFolder(path string) error
}

// file is an open file of a disk.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Allocate reserves real blocks, so that writing there cannot lack room.
	Allocate(size int64) error
	// Map maps the file's first bytes into memory, for reading and writing.
	Map(size int64) ([]byte, error)
	Unmap(mem []byte) error
	// Populate has the kernel make pages of a mapping ready to be written to. It
	// is a hint: whatever comes of it, writing works.
	Populate(mem []byte)
	// Sync makes the file's bytes and length survive a power failure.
	Sync() error
	Truncate(size int64) error
}

// info is an entry of a folder.
type info struct {
	name     string
	size     int64
	modified time.Time
	regular  bool
}

// errInUse means that somebody else holds a lock.
var errInUse = errors.New("it is in use by another process")

// host is the machine's own file system.
type host struct{}

func (h host) MakeFolder(path string) error {
	path = filepath.Clean(path)
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err = h.makeParents(filepath.Dir(path)); err == nil {
			err = os.Mkdir(path, 0o700)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return &fs.PathError{Op: "mkdir", Path: path, Err: unix.ENOTDIR}
	case info.Mode().Perm()&0o077 != 0:
		if err := os.Chmod(path, 0o700); err != nil {
			return err
		}
	}
	return h.syncParent(path)
}

func (h host) makeParents(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrNotExist) && path != filepath.Dir(path) {
		if err = h.makeParents(filepath.Dir(path)); err == nil {
			err = os.Mkdir(path, 0o700)
		}
	}
	if err != nil {
		return err
	}
	return h.syncParent(path)
}

// syncParent makes a folder's own name durable. A parent that may not be read
// is somebody else's, who made the folder long ago.
func (h host) syncParent(path string) error {
	if err := h.SyncFolder(filepath.Dir(path)); !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

func (host) Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errInUse
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (host) List(folder string) ([]info, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	list := make([]info, 0, len(entries))
	for _, e := range entries {
		i, err := e.Info()
		if err != nil {
			continue // gone meanwhile
		}
		list = append(list, info{name: e.Name(), size: i.Size(), modified: i.ModTime(), regular: i.Mode().IsRegular()})
	}
	return list, nil
}

func (host) Create(path string) (file, error) { return openHost(path, os.O_RDWR|os.O_CREATE|os.O_EXCL) }
func (host) Open(path string) (file, error)   { return openHost(path, os.O_RDONLY) }
func (host) Edit(path string) (file, error)   { return openHost(path, os.O_RDWR) }

func openHost(path string, flag int) (file, error) {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err // not a *os.File that is nil
	}
	return hostFile{f}, nil
}

func (host) Rename(from, to string) error { return os.Rename(from, to) }
func (host) Remove(path string) error     { return os.Remove(path) }

func (host) SyncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// hostFile is a file of the host.
type hostFile struct{ *os.File }

func (f hostFile) Allocate(size int64) error {
	err := retry(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	return zero(f, size)
}

func (f hostFile) Map(size int64) ([]byte, error) {
	mem, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("cannot map %s: %w", f.Name(), err)
	}
	return mem, nil
}

func (f hostFile) Unmap(mem []byte) error { return unix.Munmap(mem) }

func (f hostFile) Populate(mem []byte) {
	_ = unix.Madvise(mem, unix.MADV_POPULATE_WRITE) // kernels before 5.14 do not know it
}

// Sync leaves the times of the file aside, which nothing depends on.
func (f hostFile) Sync() error {
	return retry(func() error { return unix.Fdatasync(int(f.Fd())) })
}

// zero writes zeros up to size.
func zero(f io.WriterAt, size int64) error {
	zeros := make([]byte, min(size, 1<<20))
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return nil
}

// retry repeats a system call that a signal interrupted.
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
