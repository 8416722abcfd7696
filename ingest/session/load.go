package session

import (
	"hash/maphash"
	"runtime"
	"sync"

	"github.com/halfmask/halfmask/event"
)

// load takes over what is in the arena. Whatever was being written when a
// process was killed is left out; what refers to nonsense, too.
func (t *Table) load() {
	for i := range t.arena.used {
		if owner := t.arena.owner(i).Load(); owner >= 1 && owner <= shards {
			p := &t.shards[owner-1].pool
			p.chunks = append(p.chunks, t.arena.at(i))
		}
	}
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), 8)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < shards; i += workers {
				t.shards[i].load()
			}
		})
	}
	wg.Wait()
}

// load rebuilds from a shard's blocks what is not in them.
func (s *shard) load() {
	p := &s.pool
	p.used = uint32(len(p.chunks) * perChunk)
	kept := make([]bool, p.used)
	for i := range p.used {
		switch (*idle)(p.at(i)).state {
		case texts:
			p.text(i).refs = 0
		case listing:
			kept[i] = s.loadList(i)
		}
	}
	for i := range p.used {
		if (*idle)(p.at(i)).state == living && !kept[i] {
			kept[i] = s.loadVisit(i, kept)
		}
	}
	for i := int(p.used) - 1; i >= 0; i-- { // so that the first are used first
		if !kept[i] {
			p.give(uint32(i))
		}
	}
}

func (s *shard) loadList(i uint32) bool {
	l := s.pool.list(i)
	d := s.today(l.day)
	if d == nil {
		d = s.newDay(l.day)
	}
	full := true
	for _, v := range l.visitors {
		full = full && v != 0
		if v != 0 && !d.visitors.has(v) {
			d.visitors.add(v)
		}
	}
	if head := d.lists; head != none && full {
		// One with room stays in front.
		l.next = s.pool.list(head).next
		s.pool.list(head).next = i
		return true
	}
	l.next = d.lists
	d.lists = i
	return true
}

// loadVisit takes a visit with its texts, or leaves it. The texts of one that
// it leaves stay until the next load.
func (s *shard) loadVisit(i uint32, kept []bool) bool {
	v := s.pool.visit(i)
	k := key{v.site, v.visitor}
	for _, t := range [...]uint32{v.origin, v.entry, v.page} {
		if !s.sound(t, kept) {
			return false
		}
		s.loadText(t)
	}
	var o event.Origin
	if v.bounce > engaged || !unpack(s.string(v.origin), &o) {
		return false
	}
	s.scratch = s.scratch[:0]
	if other := s.locate(k); other != none {
		if s.pool.visit(other).last >= v.last {
			return false
		}
		s.drop(other, kept)
	}
	s.byKey.add(k.hash(), i)
	s.enqueue(i, bucketOf(v.last))
	s.live++
	return true
}

// drop takes a visit out again, likewise, before there is a list of free
// blocks.
func (s *shard) drop(i uint32, kept []bool) {
	v := s.pool.visit(i)
	s.byKey.drop(key{v.site, v.visitor}.hash(), i)
	s.dequeue(i)
	s.live--
	kept[i] = false
}

// longest bounds a text that is believed.
const longest = 1 << 17

// sound tells whether a text is whole and no part of another, and keeps it.
func (s *shard) sound(i uint32, kept []bool) bool {
	if i == none {
		return true
	}
	if i >= s.pool.used || s.pool.text(i).state != texts {
		return false
	}
	t := s.pool.text(i)
	if kept[i] {
		return t.refs > 0
	}
	if t.size == 0 || t.size > longest {
		return false
	}
	kept[i] = true
	taken := []uint32{i}
	next := t.next
	for left := int(t.size) - len(t.data); left > 0; left -= len(more{}.data) {
		if next >= s.pool.used || kept[next] || s.pool.more(next).state != rest {
			next = i // anything but none
			break
		}
		kept[next] = true
		taken = append(taken, next)
		next = s.pool.more(next).next
	}
	if next == none {
		return true
	}
	for _, i := range taken {
		kept[i] = false
	}
	return false
}

// loadText counts one use of a text that is sound.
func (s *shard) loadText(i uint32) {
	if i == none {
		return
	}
	t := s.pool.text(i)
	if t.refs++; t.refs > 1 {
		return
	}
	s.byText.add(maphash.String(s.table.seed, s.string(i)), i)
	s.scratch = s.scratch[:0]
	s.textBlocks++
	for next := t.next; next != none; next = s.pool.more(next).next {
		s.textBlocks++
	}
}
