package anonymize

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/halfmask/halfmask/event"
)

// magic opens a snapshot and names the version of its layout: after it come
// the salts, each as a length byte and that many bytes of zone, the day (4
// bytes), the key (16) and the second it was made (8), all little-endian, and
// last the CRC-32C of everything before it.
const magic = "HMSALTS\x01"

// largest bounds what is read: a snapshot holds a few hundred bytes, and every
// zone there is at three salts each stays below this.
const largest = 1 << 20

var (
	errDamaged = errors.New("the snapshot of the salts is damaged")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// snapshot is the file that keeps salts across a restart while storage is
// away. Its names are path, path.new while it is written and path.old while
// the one before is being overwritten: whenever the process dies, one whole
// snapshot is left and the next read overwrites the rest.
type snapshot struct {
	path string
	mu   sync.Mutex
}

// read returns the salts of the file, none if there is no file. It finishes
// what a crash interrupted, and destroys a damaged file before it returns
// errDamaged.
func (f *snapshot) read() ([]Salt, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var kept []Salt
	damaged := false
	found := false
	for _, name := range []string{f.path, f.path + ".new", f.path + ".old"} {
		data, err := load(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the snapshot of the salts: %w", err)
		}
		salts, err := decode(data)
		clear(data)
		if err == nil && !found {
			kept, found = salts, true
			if name == f.path {
				continue
			}
			if err := os.Rename(name, f.path); err != nil {
				return nil, fmt.Errorf("cannot restore the snapshot of the salts: %w", err)
			}
			continue
		}
		damaged = damaged || err != nil && name == f.path
		if err := shred(name); err != nil {
			return nil, err
		}
	}
	if damaged && !found {
		return nil, errDamaged
	}
	return kept, nil
}

// write replaces the file by one that holds just these salts.
func (f *snapshot) write(salts []Salt) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	data := encode(salts)
	defer clear(data)
	if err := f.replace(data); err != nil {
		return fmt.Errorf("cannot write the snapshot of the salts: %w", err)
	}
	return shred(f.path + ".old")
}

func (f *snapshot) replace(data []byte) error {
	// What a failed write left behind holds salts too.
	if err := errors.Join(shred(f.path+".new"), shred(f.path+".old")); err != nil {
		return err
	}
	file, err := os.OpenFile(f.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.path, f.path+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(f.path+".new", f.path); err != nil {
		return err
	}
	return syncFolder(f.path)
}

// shred overwrites a file's bytes on the disk and unlinks it. A file that does
// not exist is fine.
func shred(path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot destroy old salts: %w", err)
		}
	}()
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil {
		_, err = file.Write(make([]byte, min(info.Size(), largest)))
	}
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return syncFolder(path)
}

func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func load(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, largest))
}

func encode(salts []Salt) []byte {
	slices.SortFunc(salts, func(a, b Salt) int {
		if a.Zone != b.Zone {
			return strings.Compare(a.Zone, b.Zone)
		}
		return int(a.Day - b.Day)
	})
	data := make([]byte, 0, len(magic)+len(salts)*(1+255+28)+4)
	data = append(data, magic...)
	for _, s := range salts {
		if len(s.Zone) > 255 {
			continue // no time zone is called that
		}
		data = append(data, byte(len(s.Zone)))
		data = append(data, s.Zone...)
		data = binary.LittleEndian.AppendUint32(data, uint32(s.Day))
		data = append(data, s.Key[:]...)
		data = binary.LittleEndian.AppendUint64(data, uint64(s.Created.Unix()))
	}
	return binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
}

func decode(data []byte) ([]Salt, error) {
	end := len(data) - 4
	if end < len(magic) || !bytes.HasPrefix(data, []byte(magic)) ||
		binary.LittleEndian.Uint32(data[end:]) != crc32.Checksum(data[:end], castagnoli) {
		return nil, errDamaged
	}
	var salts []Salt
	for data = data[len(magic):end]; len(data) > 0; {
		n := 1 + int(data[0])
		if len(data) < n+28 {
			return nil, errDamaged
		}
		s := Salt{
			Zone:    string(data[1:n]),
			Day:     event.Day(binary.LittleEndian.Uint32(data[n:])),
			Created: time.Unix(int64(binary.LittleEndian.Uint64(data[n+20:])), 0),
		}
		copy(s.Key[:], data[n+4:])
		salts = append(salts, s)
		data = data[n+28:]
	}
	return salts, nil
}
