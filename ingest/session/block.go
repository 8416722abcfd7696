package session

import (
	"sync/atomic"
	"unsafe"

	"github.com/halfmask/halfmask/event"
)

// Everything that outlives the process lies in blocks of one cache line, which
// refer to each other by number within their shard: visits, the strings that
// they share, and lists of the day's visitors. What a kill leaves is told by
// each block's state, which is written last.
const (
	blockBytes = 64
	chunkBytes = 16 << 10 // what a shard takes from the arena at a time
	perChunk   = chunkBytes / blockBytes
	maxBlocks  = 1<<24 - 1 // of a shard: an index has room for that

	none = ^uint32(0)
)

// The states of a block. Those of the file: never renumber them.
const (
	unused  uint32 = iota
	living         // a visit
	writing        // a visit that a kill may have left half written
	texts          // the beginning of a string
	rest           // more of it
	listing        // visitors of a day
)

type chunk [perChunk][blockBytes]byte

// visit is what the next event of a visit needs to know.
type visit struct {
	state   uint32
	bounce  bounce
	queued  uint8 // the bucket of the wheel that it is in
	_       [2]byte
	day     event.Day // of the last event
	origin  uint32    // text
	site    event.SiteID
	visitor event.VisitorID
	id      event.VisitID
	last    int64  // Unix seconds of the last event
	entry   uint32 // text
	page    uint32 // text: of the last pageview; none before the first
	newer   uint32 // neighbours in the bucket
	older   uint32
}

// text is a string that visits share, or its first 48 bytes.
type text struct {
	state uint32
	size  uint32
	refs  uint32
	next  uint32
	data  [48]byte
}

// more goes on with a text.
type more struct {
	state uint32
	next  uint32
	data  [56]byte
}

// list holds visitors of a day; 0 is an empty place.
type list struct {
	state    uint32
	day      event.Day
	next     uint32
	_        uint32
	visitors [6]event.VisitorID
}

// idle is a block that is not used.
type idle struct {
	state uint32
	next  uint32
}

var _ = [1]struct{}{}[unsafe.Sizeof(visit{})-blockBytes] // and so do the others:
var _ = [1]struct{}{}[unsafe.Sizeof(text{})-blockBytes]
var _ = [1]struct{}{}[unsafe.Sizeof(more{})-blockBytes]
var _ = [1]struct{}{}[unsafe.Sizeof(list{})-blockBytes]

// pool hands out a shard's blocks.
type pool struct {
	arena  *arena
	owner  uint32 // the shard's number
	chunks []*chunk
	used   uint32 // blocks from here on were never used
	free   uint32 // first of those that were; none
}

func (p *pool) at(i uint32) unsafe.Pointer { return unsafe.Pointer(&p.chunks[i/perChunk][i%perChunk]) }

func (p *pool) visit(i uint32) *visit { return (*visit)(p.at(i)) }
func (p *pool) text(i uint32) *text   { return (*text)(p.at(i)) }
func (p *pool) more(i uint32) *more   { return (*more)(p.at(i)) }
func (p *pool) list(i uint32) *list   { return (*list)(p.at(i)) }

// take returns a block for something that is to be written into it.
func (p *pool) take() uint32 {
	if i := p.free; i != none {
		p.free = (*idle)(p.at(i)).next
		return i
	}
	if int(p.used) == len(p.chunks)*perChunk {
		p.chunks = append(p.chunks, p.arena.chunk(p.owner))
	}
	p.used++
	return p.used - 1
}

// give takes a block back.
func (p *pool) give(i uint32) {
	b := (*idle)(p.at(i))
	atomic.StoreUint32(&b.state, unused)
	b.next = p.free
	p.free = i
}
