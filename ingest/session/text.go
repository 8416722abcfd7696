package session

import (
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"
	"unsafe"

	"github.com/halfmask/halfmask/event"
)

// Visits of a shard share their strings: paths, and what else an origin has as
// one string.

// intern returns the text for a string, to be released once.
func (s *shard) intern(str string) uint32 {
	if str == "" {
		return none
	}
	h := maphash.String(s.table.seed, str)
	for i, at := s.byText.probe(h, s.byText.home(h)); i != none; i, at = s.byText.probe(h, at) {
		if s.textIs(i, str) {
			s.pool.text(i).refs++
			return i
		}
	}
	i := s.write(str)
	s.byText.add(h, i)
	return i
}

// write makes a text. Its beginning comes last: without that nobody finds it.
func (s *shard) write(str string) uint32 {
	first := s.pool.take()
	s.textBlocks++
	next := none
	for end := len(str); end > len(text{}.data); {
		// From the end on, so that each block knows the next.
		from := len(text{}.data) + (end-1-len(text{}.data))/len(more{}.data)*len(more{}.data)
		i := s.pool.take()
		s.textBlocks++
		m := s.pool.more(i)
		m.next = next
		copy(m.data[:], str[from:end])
		atomic.StoreUint32(&m.state, rest)
		next, end = i, from
	}
	t := s.pool.text(first)
	t.size, t.refs, t.next = uint32(len(str)), 1, next
	copy(t.data[:], str)
	atomic.StoreUint32(&t.state, texts)
	return first
}

// string returns a text, which lasts as long as the lock is held.
func (s *shard) string(i uint32) string {
	if i == none {
		return ""
	}
	t := s.pool.text(i)
	if int(t.size) <= len(t.data) {
		return unsafe.String(&t.data[0], t.size)
	}
	start := len(s.scratch)
	s.scratch = append(s.scratch, t.data[:]...)
	for left, next := int(t.size)-len(t.data), t.next; left > 0; left -= len(more{}.data) {
		m := s.pool.more(next)
		s.scratch = append(s.scratch, m.data[:min(left, len(m.data))]...)
		next = m.next
	}
	return unsafe.String(&s.scratch[start], t.size)
}

// textIs compares.
func (s *shard) textIs(i uint32, str string) bool {
	t := s.pool.text(i)
	if int(t.size) != len(str) {
		return false
	}
	n := min(len(str), len(t.data))
	if string(t.data[:n]) != str[:n] {
		return false
	}
	for str, next := str[n:], t.next; str != ""; {
		m := s.pool.more(next)
		n := min(len(str), len(m.data))
		if string(m.data[:n]) != str[:n] {
			return false
		}
		str, next = str[n:], m.next
	}
	return true
}

// release gives up one use of a text.
func (s *shard) release(i uint32) {
	if i == none {
		return
	}
	t := s.pool.text(i)
	if t.refs--; t.refs > 0 {
		return
	}
	before := len(s.scratch)
	s.byText.drop(maphash.String(s.table.seed, s.string(i)), i)
	s.scratch = s.scratch[:before]
	for next := t.next; next != none; {
		after := s.pool.more(next).next
		s.pool.give(next)
		s.textBlocks--
		next = after
	}
	s.pool.give(i)
	s.textBlocks--
}

// pack makes an origin one string, without the entry path; that of nothing is
// empty. The string lasts until the next.
func (s *shard) pack(o *event.Origin) string {
	b, any := s.packed[:0], 0
	for _, p := range parts(o) {
		b = binary.AppendUvarint(b, uint64(len(*p)))
		b = append(b, *p...)
		any += len(*p)
	}
	s.packed = b
	if any == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}

// unpack is the inverse. What it gives is part of str.
func unpack(str string, o *event.Origin) bool {
	for _, p := range parts(o) {
		if str == "" {
			*p = ""
			continue
		}
		// The length of a string that is in memory takes few bytes.
		n, size := binary.Uvarint(unsafe.Slice(unsafe.StringData(str), len(str)))
		if size <= 0 || n > uint64(len(str)-size) {
			return false
		}
		*p, str = str[size:size+int(n)], str[size+int(n):]
	}
	return str == ""
}

// parts lists the strings of an origin, its entry path aside.
func parts(o *event.Origin) [8]*string {
	c := &o.Campaign
	return [8]*string{&o.Source, &o.Channel, &o.Referrer, &c.Source, &c.Medium, &c.Campaign, &c.Content, &c.Term}
}
