package session

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unique"

	"github.com/halfmask/halfmask/event"
)

// magic opens a snapshot and names the version of its layout. After it comes
// for each shard the number of visits and the visits, from the one that was
// silent longest to the latest, then the number of days and each with the
// number of its visitors and those. The end is the CRC-32C of everything
// before it. Integers have 8 bytes, little-endian; a string is its length and
// its bytes.
const magic = "HMVISIT\x01"

// longest bounds a string that is read, so that a damaged length does not
// exhaust memory.
const longest = 1 << 20

var (
	errDamaged = errors.New("the snapshot is damaged")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Save writes the table, for Load after a graceful stop. Whoever calls it has
// stopped calling Apply, and removes the snapshot once it was loaded: a later
// crash makes it stale.
func (t *Table) Save(w io.Writer) error {
	e := &encoder{w: bufio.NewWriter(w)}
	e.write([]byte(magic))
	for i := range t.shards {
		t.shards[i].save(e)
	}
	var sum [4]byte
	binary.LittleEndian.PutUint32(sum[:], e.sum)
	e.write(sum[:])
	if err := errors.Join(e.err, e.w.Flush()); err != nil {
		return fmt.Errorf("cannot save the visits: %w", err)
	}
	return nil
}

// Load fills an empty table with what Save wrote. If it returns an error the
// table is empty still: start over with Restore.
func (t *Table) Load(r io.Reader) error {
	d := &decoder{r: bufio.NewReader(r)}
	head := make([]byte, len(magic))
	d.read(head)
	if d.err == nil && string(head) != magic {
		d.err = errDamaged
	}
	for i := range t.shards {
		t.shards[i].load(d)
	}
	want := d.sum
	var sum [4]byte
	d.read(sum[:])
	if d.err == nil && binary.LittleEndian.Uint32(sum[:]) != want {
		d.err = errDamaged
	}
	if d.err == nil {
		return nil
	}
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		s.init()
		s.mu.Unlock()
	}
	return fmt.Errorf("cannot load the visits: %w", d.err)
}

func (s *shard) save(e *encoder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.number(uint64(s.live))
	for i := s.oldest; i != none; i = s.visits[i].newer {
		v := &s.visits[i]
		e.number(uint64(v.key.site))
		e.number(uint64(v.key.visitor))
		e.number(uint64(v.id))
		e.number(uint64(v.last))
		e.number(uint64(v.day))
		e.number(uint64(v.bounce))
		o := v.origin.Value()
		for _, p := range texts(&o) {
			e.text(*p)
		}
		e.text(v.page.Value())
	}
	e.number(uint64(len(s.days)))
	for _, d := range s.days {
		e.number(uint64(d.day))
		e.number(uint64(d.visitors.count))
		for _, v := range d.visitors.slots {
			if v != 0 {
				e.number(uint64(v))
			}
		}
	}
}

func (s *shard) load(d *decoder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := d.number(); n > 0 && d.err == nil; n-- {
		v := visit{
			key:    key{event.SiteID(d.number()), event.VisitorID(d.number())},
			id:     event.VisitID(d.number()),
			last:   int64(d.number()),
			day:    event.Day(d.number()),
			bounce: min(bounce(d.number()), engaged),
		}
		var o event.Origin
		for _, p := range texts(&o) {
			*p = d.text()
		}
		v.origin, v.page = unique.Make(o), unique.Make(d.text())
		if _, twice := s.byKey[v.key]; twice && d.err == nil {
			d.err = errDamaged
		}
		if d.err == nil {
			s.insert(v)
		}
	}
	for n := d.number(); n > 0 && d.err == nil; n-- {
		day := event.Day(d.number())
		for n := d.number(); n > 0 && d.err == nil; n-- {
			s.remember(day, event.VisitorID(max(d.number(), 1)), int64(day)*86400)
		}
	}
}

// texts lists the strings of an origin.
func texts(o *event.Origin) [9]*string {
	c := &o.Campaign
	return [9]*string{&o.EntryPath, &o.Source, &o.Channel, &o.Referrer, &c.Source, &c.Medium, &c.Campaign, &c.Content, &c.Term}
}

// encoder writes and sums until something fails.
type encoder struct {
	w   *bufio.Writer
	sum uint32
	err error
}

func (e *encoder) write(b []byte) {
	if e.err == nil {
		e.sum = crc32.Update(e.sum, castagnoli, b)
		_, e.err = e.w.Write(b)
	}
}

func (e *encoder) number(n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	e.write(b[:])
}

func (e *encoder) text(s string) {
	e.number(uint64(len(s)))
	e.write([]byte(s))
}

// decoder reads and sums until something fails; then it gives zeros.
type decoder struct {
	r   *bufio.Reader
	sum uint32
	err error
}

func (d *decoder) read(b []byte) {
	if d.err != nil {
		return
	}
	if _, err := io.ReadFull(d.r, b); err != nil {
		clear(b)
		if d.err = err; errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			d.err = errDamaged
		}
		return
	}
	d.sum = crc32.Update(d.sum, castagnoli, b)
}

func (d *decoder) number() uint64 {
	var b [8]byte
	d.read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

func (d *decoder) text() string {
	n := d.number()
	if n > longest && d.err == nil {
		d.err = errDamaged
	}
	if d.err != nil {
		return ""
	}
	b := make([]byte, n)
	d.read(b)
	return string(b)
}
