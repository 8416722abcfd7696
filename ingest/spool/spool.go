// Package spool is the durable buffer between the door and the storage: bytes
// in, the same bytes out, in segments that are files of one folder. It needs
// Linux.
//
// An append is a copy into a preallocated, memory-mapped file. It needs no
// system call, and what it wrote is in the kernel's page cache when it returns:
// a killed process loses nothing. A machine that loses power loses what was
// appended in the last Options.SyncInterval, or, with Durability Power, nothing
// that Wait has said yes to.
//
// Promises: what Append took is handed out once per run, in order, until it is
// settled; one damaged record costs one record; a damaged folder never keeps
// the program from starting; the folder never outgrows its cap; idle means
// idle, no timer runs while nothing is appended. The folder's listing is the
// whole state. FORMAT.md describes the files.
//
// It never knows what the bytes mean.
package spool

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"sync"
	"time"
)

// What Append, Wait and Next may return.
var (
	// ErrFull means that the folder is at its cap or the disk is full. It goes
	// away by itself when segments are settled or the disk has room again.
	ErrFull = errors.New("cannot append: the spool is full")
	// ErrClosed means that Close was called.
	ErrClosed = errors.New("the spool is closed")
	// ErrUnsafe means that the disk failed a sync: an event that was taken may be
	// lost if the machine loses power. It is handed out all the same if not.
	ErrUnsafe = errors.New("cannot say that the event is safe: the disk failed a sync")
	// ErrSize means that a payload is empty or longer than MaxPayload.
	ErrSize = errors.New("cannot append: empty payload or longer than the spool takes")
)

// MaxPayload is the length of the longest payload in bytes. A spool with
// segments smaller than that takes less.
const MaxPayload = 1 << 20

// Spool is an open folder. All its methods may be called concurrently.
type Spool struct {
	opts     Options
	identity identity // what can change in it and reported: only prepare touches them
	reported reason
	outside
	lock       io.Closer
	log        *slog.Logger
	maxPayload int

	mu       sync.Mutex
	active   *writer  // takes appends; nil until the next one is ready
	next     *writer  // prepared, empty
	entries  []*entry // sealed and not settled, by sequence
	sealing  []*writer
	nextSeq  uint64
	bytes    int64         // on disk, quarantine aside
	blocked  reason        // why no next segment can be had
	waiting  int           // readers in Next
	changed  chan struct{} // closed when anything changed that somebody waits for
	listened bool
	unsynced bool // syncLoop has been told
	closed   bool
	counts   counts

	sealTimer  *time.Timer
	sweepTimer *time.Timer
	waiters    sync.RWMutex  // held by Wait while it looks, by committed while it tells
	safe       sync.Cond     // of waiters, read-locked: something was synced, or failed to be
	dirty      chan struct{} // wakes syncLoop
	kick       chan struct{} // wakes prepareLoop
	stop       chan struct{}
	loops      sync.WaitGroup
	metrics    *metrics
}

// entry is a sealed segment that waits to be settled.
type entry struct {
	seq     uint64
	count   int       // records, the damaged ones too
	end     int64     // bytes used in the file
	bytes   int64     // bytes occupied on disk
	first   time.Time // of its first record
	found   bool      // it was there at Open
	out     bool      // Next gave it away
	leaving bool      // Settle or Quarantine is at it
	unread  int       // times that it could not be read in full; whoever has it out counts
}

// Open opens the spool in opts.Dir, making it if need be, and holds the folder
// against other processes until Close. What an earlier process left is sealed
// and handed out by Next before anything new.
func Open(opts Options) (*Spool, error) {
	s, err := open(opts, outside{host{}, rand.Reader, time.Now})
	if err != nil {
		return nil, fmt.Errorf("cannot open spool: %w", err)
	}
	s.start()
	return s, nil
}

// outside is what a spool does not decide itself.
type outside struct {
	disk   disk
	random io.Reader
	now    func() time.Time
}

// open does what Open does, but leaves the work in the background to its
// caller until start.
func open(opts Options, from outside) (_ *Spool, err error) {
	if err := opts.defaults(); err != nil {
		return nil, err
	}
	if err := from.disk.MakeFolder(opts.Dir); err != nil {
		return nil, err
	}
	lock, err := lockFolder(from.disk, opts.Dir)
	if err != nil {
		return nil, err
	}
	s := &Spool{
		opts:       opts,
		outside:    from,
		lock:       lock,
		log:        opts.Logger,
		maxPayload: min(MaxPayload, int(opts.SegmentBytes)-headerSize-frameHeader),
		changed:    make(chan struct{}),
		dirty:      make(chan struct{}, 1),
		kick:       make(chan struct{}, 1),
		stop:       make(chan struct{}),
	}
	s.safe.L = s.waiters.RLocker()
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	if err := s.recover(); err != nil {
		return nil, err
	}
	if s.metrics, err = newMetrics(opts.Registerer, s); err != nil {
		return nil, err
	}
	s.sealTimer = stopped(s.sealDue)
	s.sweepTimer = stopped(s.sweepQuarantine)
	s.sweepQuarantine()
	_, why, err := s.prepareOne() // so that the first Append need not wait
	s.report(why, err)
	return s, nil
}

func (s *Spool) start() {
	s.loops.Go(s.prepareLoop)
	s.loops.Go(s.syncLoop)
}

// stopped returns a timer that runs f once it is reset.
func stopped(f func()) *time.Timer {
	t := time.AfterFunc(time.Hour, f)
	t.Stop()
	return t
}

// ID returns the spool's random number, drawn when its folder was made.
func (s *Spool) ID() uint64 { return s.identity.id }

// Append copies payload into the spool and returns when it is in the page
// cache, which outlives the process; Wait says when it outlives the machine's
// power, should that be promised. The caller may reuse payload at once. It
// returns ErrFull, ErrClosed or ErrSize, and then nothing was kept. It
// allocates nothing. It waits only when a segment filled up faster than the
// disk could prepare the following one.
func (s *Spool) Append(payload []byte) (Position, error) {
	if len(payload) == 0 || len(payload) > s.maxPayload {
		s.mu.Lock()
		s.counts.refused[refusedSize]++
		s.mu.Unlock()
		return Position{}, ErrSize
	}
	// The long part of the checksum needs no lock.
	crc := crc32.Update(0, castagnoli, payload)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.makeRoom(len(payload)); err != nil {
			return Position{}, err
		}
		w := s.active
		if w.put(payload, crc) {
			if w.count == 1 {
				s.began(w)
			}
			s.counts.appended++
			s.tellSync()
			return s.position(w), nil
		}
		s.counts.syncErrors++
		s.abandon(w)
	}
}

// Writable reports whether Append finds room, or will as soon as the disk has
// prepared some: false while the spool is full or after Close.
func (s *Spool) Writable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closed && (s.active != nil || s.blocked == free)
}

// began notes an active segment's first record.
func (s *Spool) began(w *writer) {
	w.first = s.now()
	if s.waiting > 0 {
		s.sealTimer.Reset(s.opts.SealAfter)
	}
}

// makeRoom sees to it that the active segment has room for a payload of n
// bytes. It gives up s.mu while it waits.
func (s *Spool) makeRoom(n int) error {
	for {
		if s.closed {
			s.counts.refused[refusedClosed]++
			return ErrClosed
		}
		if s.active != nil && s.active.fits(n) {
			return nil
		}
		s.seal()
		if s.active != nil {
			continue
		}
		if s.blocked != free {
			s.counts.refused[s.blocked]++
			return ErrFull
		}
		changed := s.listen()
		s.mu.Unlock()
		<-changed
		s.mu.Lock()
	}
}

// seal ends the active segment, if it holds anything, and puts the prepared one
// in its place. s.mu is held.
func (s *Spool) seal() {
	w := s.active
	if w == nil || w.count == 0 {
		return
	}
	w.seal(s.now()) // if that fails, the next Open scans the file instead
	s.entries = append(s.entries, &entry{
		seq: w.seq, count: int(w.count), end: int64(w.end), bytes: s.opts.SegmentBytes, first: w.first,
	})
	s.sealing = append(s.sealing, w)
	s.takeNext()
	s.tellSync()
	s.broadcast()
}

// abandon ends the active segment because its file cannot be trusted with
// more, whether it holds anything or not. s.mu is held.
func (s *Spool) abandon(w *writer) {
	if w != s.active {
		return
	}
	if w.count > 0 {
		s.seal()
		return
	}
	s.sealing = append(s.sealing, w)
	s.takeNext()
	s.tellSync()
}

func (s *Spool) takeNext() {
	s.active, s.next = s.next, nil
	notify(s.kick)
}

// tellSync wakes syncLoop, once until it has looked.
func (s *Spool) tellSync() {
	if !s.unsynced {
		s.unsynced = true
		notify(s.dirty)
	}
}

// listen returns a channel that is closed at the next change. s.mu is held.
func (s *Spool) listen() <-chan struct{} {
	s.listened = true
	return s.changed
}

func (s *Spool) broadcast() {
	if s.listened {
		close(s.changed)
		s.changed = make(chan struct{})
		s.listened = false
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Pending tells how many events are in the spool, being written, sealed or
// handed out, and how many bytes the folder occupies on disk.
func (s *Spool) Pending() (events int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pendingEvents(), s.bytes
}

func (s *Spool) pendingEvents() int {
	n := 0
	if s.active != nil {
		n = int(s.active.count)
	}
	for _, e := range s.entries {
		n += e.count
	}
	return n
}

// Close seals what was appended, writes it to disk and gives the folder free.
// After it Append, Next, Settle and Quarantine return ErrClosed; a Next that
// waits returns at once. What was not settled is found by the next Open. A
// second Close does nothing.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.seal()
	s.closed = true
	s.sealTimer.Stop()
	s.sweepTimer.Stop()
	s.broadcast()
	close(s.stop)
	s.mu.Unlock()
	s.loops.Wait()
	s.syncAll()
	s.metrics.unregister()
	for _, w := range []*writer{s.active, s.next} {
		if w != nil {
			s.discard(w)
		}
	}
	err := s.disk.SyncFolder(s.opts.Dir)
	if err = errors.Join(err, s.lock.Close()); err != nil {
		return fmt.Errorf("cannot close spool: %w", err)
	}
	return nil
}
