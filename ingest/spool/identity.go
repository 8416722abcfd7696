package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
)

const (
	lockName     = "lock"
	identityName = "identity"
)

// reserveAhead is how many sequence numbers are reserved at a time: the
// identity file is written once in so many segments.
const reserveAhead = 4096

// identity is what a folder keeps apart from segments: its random number, and
// a bound below which sequence numbers may have been used. Without the bound a
// number could come twice, since settled segments leave nothing behind.
type identity struct {
	id       uint64
	reserved uint64
}

var errIdentity = errors.New("the identity file is damaged")

// lockFolder holds the folder against every other process, and this one too.
// The kernel gives it free when the process ends, however it ends.
func lockFolder(d disk, dir string) (io.Closer, error) {
	lock, err := d.Lock(filepath.Join(dir, lockName))
	switch {
	case errors.Is(err, errInUse):
		return nil, fmt.Errorf("the folder %s is in use by another process: stop that one or choose another folder", dir)
	case err != nil:
		return nil, fmt.Errorf("cannot lock the folder %s: %w", dir, err)
	}
	return lock, nil
}

func newIdentity(random io.Reader) (identity, error) {
	var b [8]byte
	for {
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return identity{}, err
		}
		if id := binary.LittleEndian.Uint64(b[:]); id != 0 {
			return identity{id: id}, nil
		}
	}
}

func readIdentity(d disk, dir string) (identity, error) {
	f, err := d.Open(filepath.Join(dir, identityName))
	if err != nil {
		return identity{}, err
	}
	defer f.Close()
	b := make([]byte, 256) // it is shorter
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return identity{}, err
	}
	b = b[:n]
	var i identity
	var sum uint32
	if _, err := fmt.Sscanf(string(b), "halfmask spool 1\nid %x\nreserved %x\ncrc %x\n", &i.id, &i.reserved, &sum); err != nil {
		return identity{}, errIdentity
	}
	if !bytes.Equal(b, i.encode()) {
		return identity{}, errIdentity
	}
	return i, nil
}

func (i identity) encode() []byte {
	b := fmt.Appendf(nil, "halfmask spool 1\nid %016x\nreserved %016x\n", i.id, i.reserved)
	return fmt.Appendf(b, "crc %08x\n", crc32.Checksum(b, castagnoli))
}

// write replaces the identity file in one step.
func (i identity) write(d disk, dir string) error {
	path := filepath.Join(dir, identityName)
	if err := d.Remove(path + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // left by a write that was cut short
	}
	f, err := d.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.WriteAt(i.encode(), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := d.Rename(path+".new", path); err != nil {
		return err
	}
	return d.SyncFolder(dir)
}

// reserve makes sure that seq, and some after it, count as used from now on.
func (i *identity) reserve(d disk, dir string, seq uint64) error {
	if seq < i.reserved {
		return nil
	}
	more := identity{id: i.id, reserved: seq + reserveAhead}
	if err := more.write(d, dir); err != nil {
		return err
	}
	*i = more
	return nil
}
