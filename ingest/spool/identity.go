package spool

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
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

// makeFolder makes the folder for its owner alone.
func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return os.Chmod(dir, 0o700)
}

// lockFolder holds the folder against every other process, and this one too.
// The kernel gives it free when the process ends, however it ends.
func lockFolder(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = retry(func() error { return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("the folder %s is in use by another process: stop that one or choose another folder", dir)
	} else if err != nil {
		err = fmt.Errorf("cannot lock the folder %s: %w", dir, err)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func newIdentity() (identity, error) {
	var b [8]byte
	for {
		if _, err := rand.Read(b[:]); err != nil {
			return identity{}, err
		}
		if id := binary.LittleEndian.Uint64(b[:]); id != 0 {
			return identity{id: id}, nil
		}
	}
}

func readIdentity(dir string) (identity, error) {
	b, err := os.ReadFile(filepath.Join(dir, identityName))
	if err != nil {
		return identity{}, err
	}
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
func (i identity) write(dir string) error {
	path := filepath.Join(dir, identityName)
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(i.encode())
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncFolder(dir)
}

// reserve makes sure that seq, and some after it, count as used from now on.
func (i *identity) reserve(dir string, seq uint64) error {
	if seq < i.reserved {
		return nil
	}
	more := identity{id: i.id, reserved: seq + reserveAhead}
	if err := more.write(dir); err != nil {
		return err
	}
	*i = more
	return nil
}
