package spool

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// simDisk is a disk that can die: of a kill, which leaves what the kernel knew,
// or of a power failure, which leaves of everything that was not synced any
// part. It is a model of what POSIX promises and no more: sectors of a mapping
// reach the platter whenever they like, in any order, several times; a name
// survives only the sync of its folder; a failed sync forgets what was dirty.
//
// It is not safe for concurrent use. Its choices come from random alone.
type simDisk struct {
	random  *rand.Rand
	sector  int // what reaches the platter as a whole: 512 or 4096 bytes
	folders map[string]*simFolder
	held    map[string]bool // locks

	calls   int
	dieAt   int  // the call at which it dies; 0: at none
	power   bool // it dies of a power failure
	budget  int  // faults that may still come
	rarity  int  // one in so many calls fails, while the budget lasts
	faults  int  // that came
	lies    lie
	between func(d *simDisk) // what other goroutines do during a call

	dead bool
	next *simDisk // what is found after its death
}

// lie is what a disk says it does and does not; only to see that it is noticed.
type lie uint8

const (
	honest lie = iota
	syncsNothing
	syncsNoFolder
	forgetsOneSector // of each sync
)

var errDead = errors.New("the machine is dead")

// simFolder is a list of names, and what of it the platter is sure to have.
type simFolder struct {
	names, synced map[string]*simInode
	pending       []nameChange
}

// nameChange is one entry of the folder's journal: some inode gets a name,
// loses it, or both at once.
type nameChange struct {
	from, to string // of the folder; empty: none
	inode    *simInode
	fate     *fate // shared by both folders of a rename
}

// fate is whether a power failure leaves a change.
type fate uint8

const (
	undecided fate = iota
	kept
	lost
)

// simInode is a file's bytes, three times.
type simInode struct {
	cache    []byte // the page cache, which everybody sees
	size     int64
	platter  []byte // what a power failure leaves at least
	stored   int64  // the size there
	believed []byte // what the kernel takes for stored: it writes only what differs
	modified time.Time
}

func newSimDisk(random *rand.Rand, sector int) *simDisk {
	return &simDisk{random: random, sector: sector, folders: map[string]*simFolder{}, held: map[string]bool{}}
}

// do makes a call: it may die before or after, fail, or take its time.
func (d *simDisk) do(failure error, f func() error) error {
	if d.dead {
		return errDead
	}
	d.calls++
	dies := d.calls == d.dieAt
	if dies && d.random.IntN(2) == 0 {
		d.die()
		return errDead
	}
	if d.between != nil {
		d.between(d)
		if d.dead {
			return errDead
		}
	}
	d.writeBack()
	err := failure
	if failure == nil || !d.fails() {
		err = f()
	}
	if dies && !d.dead {
		d.die()
		return errDead
	}
	return err
}

func (d *simDisk) fails() bool {
	if d.budget == 0 || d.random.IntN(d.rarity) > 0 {
		return false
	}
	d.budget--
	d.faults++
	return true
}

// die makes what is found after it.
func (d *simDisk) die() {
	d.dead = true
	n := newSimDisk(d.random, d.sector)
	n.lies = d.lies
	copies := map[*simInode]*simInode{}
	portion := d.random.Float64() // of the dirty sectors that made it
	if d.random.IntN(3) == 0 {
		portion = float64(d.random.IntN(2))
	}
	for _, path := range sortedKeys(d.folders) {
		names := d.folders[path].names
		if d.power {
			names = d.survivingNames(d.folders[path])
		}
		to := &simFolder{names: map[string]*simInode{}, synced: map[string]*simInode{}}
		if !d.power {
			// The journal is in the kernel, which lives on.
			for name, inode := range d.folders[path].synced {
				to.synced[name] = d.survivor(copies, inode, portion)
			}
			for _, c := range d.folders[path].pending {
				c.inode = d.survivor(copies, c.inode, portion)
				to.pending = append(to.pending, c)
			}
		}
		for _, name := range sortedKeys(names) {
			to.names[name] = d.survivor(copies, names[name], portion)
			if d.power {
				to.synced[name] = to.names[name]
			}
		}
		n.folders[path] = to
	}
	d.next = n
}

// survivingNames is what a power failure leaves of a folder: any part of the
// changes that were not synced.
func (d *simDisk) survivingNames(f *simFolder) map[string]*simInode {
	names := map[string]*simInode{}
	for name, inode := range f.synced {
		names[name] = inode
	}
	for _, c := range f.pending {
		if *c.fate == undecided {
			*c.fate = kept + fate(d.random.IntN(2))
		}
		if *c.fate == kept {
			c.apply(names)
		}
	}
	return names
}

func (c nameChange) apply(names map[string]*simInode) {
	if c.from != "" {
		delete(names, c.from)
	}
	if c.to != "" {
		names[c.to] = c.inode
	}
}

// survivor copies an inode as it is found after the death.
func (d *simDisk) survivor(copies map[*simInode]*simInode, i *simInode, portion float64) *simInode {
	if c := copies[i]; c != nil {
		return c
	}
	c := &simInode{modified: i.modified}
	copies[i] = c
	if !d.power {
		c.cache, c.size = bytes.Clone(i.cache), i.size
		c.platter, c.stored = bytes.Clone(i.platter), i.stored
		c.believed = bytes.Clone(i.believed)
		return c
	}
	for at := 0; at < len(i.cache); at += d.sector {
		if end := min(at+d.sector, len(i.cache)); !bytes.Equal(i.platter[at:end], i.cache[at:end]) && d.random.Float64() < portion {
			copy(i.platter[at:end], i.cache[at:end])
		}
	}
	c.size = i.stored
	if d.random.IntN(2) == 0 {
		c.size = i.size
	}
	clear(i.platter[min(int(c.size), len(i.platter)):])
	c.cache = i.platter
	c.platter, c.stored, c.believed = bytes.Clone(c.cache), c.size, bytes.Clone(c.cache)
	return c
}

// writeBack is the kernel writing some dirty sectors of its own accord.
func (d *simDisk) writeBack() {
	if d.random.IntN(8) > 0 {
		return
	}
	for _, path := range sortedKeys(d.folders) {
		for _, name := range sortedKeys(d.folders[path].names) {
			i := d.folders[path].names[name]
			d.store(i, i.cache, func() bool { return d.random.IntN(2) == 0 })
		}
	}
}

// store writes those sectors that the kernel takes for dirty and which picks.
func (d *simDisk) store(i *simInode, from []byte, which func() bool) {
	if bytes.Equal(from, i.believed) {
		return
	}
	for at := 0; at < len(from); at += d.sector {
		end := min(at+d.sector, len(from))
		if !bytes.Equal(from[at:end], i.believed[at:end]) && which() {
			copy(i.platter[at:end], from[at:end])
			copy(i.believed[at:end], from[at:end])
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// look finds a file.
func (d *simDisk) look(path string) (*simFolder, string, *simInode, error) {
	f := d.folders[filepath.Dir(path)]
	if f == nil {
		return nil, "", nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	name := filepath.Base(path)
	if f.names[name] == nil {
		return f, name, nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return f, name, f.names[name], nil
}

// MakeFolder is durable by contract.
func (d *simDisk) MakeFolder(path string) error {
	return d.do(unix.EIO, func() error {
		if d.folders[path] == nil {
			d.folders[path] = &simFolder{names: map[string]*simInode{}, synced: map[string]*simInode{}}
		}
		return nil
	})
}

func (d *simDisk) Lock(path string) (io.Closer, error) {
	err := d.do(unix.EIO, func() error {
		if d.held[path] {
			return errInUse
		}
		d.held[path] = true
		return nil
	})
	return simLock{d, path}, err
}

type simLock struct {
	d    *simDisk
	path string
}

func (l simLock) Close() error {
	delete(l.d.held, l.path)
	return nil
}

func (d *simDisk) List(folder string) (list []info, err error) {
	err = d.do(unix.EIO, func() error {
		f := d.folders[folder]
		if f == nil {
			return fs.ErrNotExist
		}
		for _, name := range sortedKeys(f.names) {
			i := f.names[name]
			list = append(list, info{name: name, size: i.size, modified: i.modified, regular: true})
		}
		return nil
	})
	return list, err
}

func (d *simDisk) Create(path string) (file, error) {
	var made *simInode
	err := d.do(unix.ENOSPC, func() error {
		f, name, inode, err := d.look(path)
		if f == nil {
			return err
		}
		if inode != nil {
			return fs.ErrExist
		}
		made = &simInode{modified: time.Now()}
		f.change(nameChange{to: name, inode: made, fate: new(fate)})
		return nil
	})
	return simFile{d, made}, err
}

func (f *simFolder) change(c nameChange) {
	c.apply(f.names)
	f.pending = append(f.pending, c)
}

func (d *simDisk) Open(path string) (file, error) {
	var inode *simInode
	err := d.do(unix.EIO, func() (err error) {
		_, _, inode, err = d.look(path)
		return err
	})
	return simFile{d, inode}, err
}

func (d *simDisk) Edit(path string) (file, error) { return d.Open(path) }

func (d *simDisk) Rename(from, to string) error {
	return d.do(unix.EIO, func() error {
		f, old, inode, err := d.look(from)
		if err != nil {
			return err
		}
		shared := new(fate)
		target := d.folders[filepath.Dir(to)]
		if target == f {
			f.change(nameChange{from: old, to: filepath.Base(to), inode: inode, fate: shared})
			return nil
		}
		target.change(nameChange{to: filepath.Base(to), inode: inode, fate: shared})
		f.change(nameChange{from: old, inode: inode, fate: shared})
		return nil
	})
}

func (d *simDisk) Remove(path string) error {
	return d.do(unix.EIO, func() error {
		f, name, inode, err := d.look(path)
		if err != nil {
			return err
		}
		f.change(nameChange{from: name, inode: inode, fate: new(fate)})
		return nil
	})
}

func (d *simDisk) SyncFolder(path string) error {
	return d.do(unix.EIO, func() error {
		if f := d.folders[path]; d.lies != syncsNoFolder {
			for _, c := range f.pending {
				c.apply(f.synced)
				*c.fate = kept
			}
			f.pending = nil
		}
		return nil
	})
}

// segmentBytes adds up the segments of a folder.
func (d *simDisk) segmentBytes(folder string) (sum int64) {
	for name, i := range d.folders[folder].names {
		if strings.HasSuffix(name, suffix) {
			sum += i.size
		}
	}
	return sum
}
