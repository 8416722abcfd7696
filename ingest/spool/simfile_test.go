package spool

import (
	"bytes"
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// simFile is an open file.
type simFile struct {
	d *simDisk
	i *simInode
}

func (f simFile) Close() error       { return nil }
func (f simFile) Populate([]byte)    {}
func (f simFile) Unmap([]byte) error { return nil }
func (f simFile) Map(size int64) ([]byte, error) {
	err := f.d.do(unix.ENOMEM, func() error { return nil })
	if err != nil {
		return nil, err
	}
	return f.i.cache[:size:size], nil
}

func (f simFile) ReadAt(b []byte, at int64) (n int, err error) {
	err = f.d.do(unix.EIO, func() error {
		if at < f.i.size {
			n = copy(b, f.i.cache[at:f.i.size])
		}
		if n < len(b) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

// WriteAt that fails is a short write.
func (f simFile) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.d.do(unix.ENOSPC, func() error {
		n = f.write(b, at)
		return nil
	})
	if errors.Is(err, unix.ENOSPC) && len(b) > 0 {
		n = f.write(b[:f.d.random.IntN(len(b))], at)
	}
	return n, err
}

func (f simFile) write(b []byte, at int64) int {
	f.i.grow(at + int64(len(b)))
	return copy(f.i.cache[at:], b)
}

func (i *simInode) grow(size int64) {
	i.modified = time.Now()
	if more := int(size) - len(i.cache); more > 0 {
		i.cache = append(i.cache, make([]byte, more)...)
		i.platter = append(i.platter, make([]byte, more)...)
		i.believed = append(i.believed, make([]byte, more)...)
	}
	i.size = max(i.size, size)
}

func (f simFile) Allocate(size int64) error {
	return f.d.do(unix.ENOSPC, func() error {
		f.i.grow(size)
		return nil
	})
}

func (f simFile) Truncate(size int64) error {
	return f.d.do(unix.EIO, func() error {
		f.i.grow(size)
		f.i.size = size
		clear(f.i.cache[size:])
		return nil
	})
}

// Sync stores what the cache held when it began, and perhaps some of what came
// since. One that fails stores some, and the kernel calls all of it clean.
func (f simFile) Sync() error {
	d := f.d
	if d.dead {
		return errDead
	}
	begun, size := bytes.Clone(f.i.cache), f.i.size
	err := d.do(unix.EIO, func() error {
		if d.lies == syncsNothing {
			return nil
		}
		spared := d.lies != forgetsOneSector
		d.store(f.i, begun, func() bool {
			if !spared {
				spared = true
				return false
			}
			return true
		})
		d.store(f.i, f.i.cache[:len(begun)], func() bool { return d.random.IntN(2) == 0 })
		f.i.stored = size
		return nil
	})
	if errors.Is(err, unix.EIO) {
		d.store(f.i, begun, func() bool { return d.random.IntN(2) == 0 })
		copy(f.i.believed, f.i.cache)
	}
	return err
}
