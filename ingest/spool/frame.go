package spool

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

// The layout of a segment file; FORMAT.md draws it.
const (
	headerSize  = 4096 // a page, so that records never share one with the header
	frameHeader = 16
	align       = 8 // frames start at multiples of it: a scanner looks nowhere else
	minFrame    = frameHeader + align

	frameMagic   = 0x5ec0_4d48 // bytes 48 4d c0 5e: "HM" and a byte that no UTF-8 text holds
	segmentMagic = "HALFMASK"
	formatVer    = 1

	markOffset = 512 // a disk sector of its own: tearing it leaves the header whole
	markMagic  = 0x4c41_4553
)

// castagnoli has an instruction on amd64 and arm64.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// salt is mixed into the checksum of everything in a segment, so that bytes
// from another segment, or made up by somebody who does not know the spool's
// random number, are not taken for a record of this one.
func salt(id, seq uint64) uint32 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], id)
	binary.LittleEndian.PutUint64(b[8:], seq)
	return crc32.Checksum(b[:], castagnoli)
}

func frameSize(payload int) int { return (frameHeader + payload + align - 1) &^ (align - 1) }

// putFrame writes the frame of record number seq at the start of mem. payloadCRC
// is the checksum of the payload alone.
func putFrame(mem []byte, salt, seq uint32, payload []byte, payloadCRC uint32) {
	copy(mem[frameHeader:], payload)
	binary.LittleEndian.PutUint32(mem[8:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(mem[12:], seq)
	binary.LittleEndian.PutUint32(mem[4:], crc32.Update(payloadCRC, castagnoli, mem[8:16])^salt)
	// Last, so that a frame cut short by a kill is not taken for a damaged one.
	binary.LittleEndian.PutUint32(mem, frameMagic)
}

func hasMagic(b []byte, off int) bool {
	return off+minFrame <= len(b) && binary.LittleEndian.Uint32(b[off:]) == frameMagic
}

// frameAt returns the payload and number of the frame at off, unless its
// checksum is wrong. It leaves the magic aside.
func frameAt(b []byte, off int, salt uint32) (payload []byte, seq uint32, ok bool) {
	if off+minFrame > len(b) {
		return nil, 0, false
	}
	n := int(binary.LittleEndian.Uint32(b[off+8:]))
	if n == 0 || n > MaxPayload || off+frameHeader+n > len(b) {
		return nil, 0, false
	}
	payload = b[off+frameHeader : off+frameHeader+n : off+frameHeader+n]
	crc := crc32.Update(crc32.Update(0, castagnoli, payload), castagnoli, b[off+8:off+16])
	return payload, binary.LittleEndian.Uint32(b[off+12:]), crc^salt == binary.LittleEndian.Uint32(b[off+4:])
}

// damage is what a scan found missing.
type damage struct{ records, bytes int64 }

// scanner finds the records in a segment's frames, past any damage.
type scanner struct {
	frames []byte // the file after its header page
	salt   uint32

	pos  int    // where the next frame should start
	seq  uint32 // its number
	lost damage // between the records found so far
}

// next returns the next intact record's payload.
func (c *scanner) next() ([]byte, bool) {
	// Where a frame must start, its checksum is enough: a damaged magic costs
	// nothing.
	if payload, seq, ok := frameAt(c.frames, c.pos, c.salt); ok && seq == c.seq {
		c.pos += frameSize(len(payload))
		c.seq++
		return payload, true
	}
	for off := c.pos + align; off+minFrame <= len(c.frames); off += align {
		if !hasMagic(c.frames, off) || !c.plausible(off) {
			continue
		}
		payload, seq, ok := frameAt(c.frames, off, c.salt)
		if !ok {
			continue
		}
		c.lost.records += int64(seq - c.seq)
		c.lost.bytes += int64(off - c.pos)
		c.pos = off + frameSize(len(payload))
		c.seq = seq + 1
		return payload, true
	}
	return nil, false
}

// plausible tells whether the frame at off may follow the damage: the records
// lost in between must have had room there. It spares most false finds the
// checksum.
func (c *scanner) plausible(off int) bool {
	seq := binary.LittleEndian.Uint32(c.frames[off+12:])
	return seq > c.seq && int64(seq-c.seq) <= int64(off-c.pos)/minFrame
}

// end adds what is missing after the last record found, of count in all.
func (c *scanner) end(count int) damage {
	lost := c.lost
	if missing := int64(count) - int64(c.seq); missing > 0 {
		lost.records += missing
		lost.bytes += int64(len(c.frames) - c.pos)
	}
	return lost
}

// header is the start of a segment's first page.
type header struct {
	id, seq uint64
	created time.Time
	size    int64
}

func (h *header) put(page []byte) {
	copy(page, segmentMagic)
	binary.LittleEndian.PutUint32(page[8:], formatVer)
	binary.LittleEndian.PutUint32(page[12:], headerSize)
	binary.LittleEndian.PutUint64(page[16:], h.id)
	binary.LittleEndian.PutUint64(page[24:], h.seq)
	binary.LittleEndian.PutUint64(page[32:], uint64(h.created.UnixMilli()))
	binary.LittleEndian.PutUint64(page[40:], uint64(h.size))
	binary.LittleEndian.PutUint32(page[48:], crc32.Checksum(page[:48], castagnoli))
}

// parseHeader returns ok false if the header is damaged.
func parseHeader(page []byte) (h header, version uint32, ok bool) {
	if string(page[:8]) != segmentMagic || crc32.Checksum(page[:48], castagnoli) != binary.LittleEndian.Uint32(page[48:]) {
		return header{}, 0, false
	}
	return header{
		id:      binary.LittleEndian.Uint64(page[16:]),
		seq:     binary.LittleEndian.Uint64(page[24:]),
		created: time.UnixMilli(int64(binary.LittleEndian.Uint64(page[32:]))),
		size:    int64(binary.LittleEndian.Uint64(page[40:])),
	}, binary.LittleEndian.Uint32(page[8:]), true
}

// mark says that a segment is sealed and what it holds.
type mark struct {
	count         uint32
	end           int64 // bytes used, header page included
	first, sealed time.Time
}

func (m *mark) put(page []byte, salt uint32) {
	b := page[markOffset:]
	binary.LittleEndian.PutUint32(b, markMagic)
	binary.LittleEndian.PutUint32(b[4:], m.count)
	binary.LittleEndian.PutUint64(b[8:], uint64(m.end))
	binary.LittleEndian.PutUint64(b[16:], uint64(m.first.UnixMilli()))
	binary.LittleEndian.PutUint64(b[24:], uint64(m.sealed.UnixMilli()))
	binary.LittleEndian.PutUint32(b[32:], crc32.Checksum(b[:32], castagnoli)^salt)
}

// parseMark returns ok false if the segment was not sealed or the mark is
// damaged.
func parseMark(page []byte, salt uint32) (m mark, ok bool) {
	b := page[markOffset:]
	if binary.LittleEndian.Uint32(b) != markMagic ||
		crc32.Checksum(b[:32], castagnoli)^salt != binary.LittleEndian.Uint32(b[32:]) {
		return mark{}, false
	}
	return mark{
		count:  binary.LittleEndian.Uint32(b[4:]),
		end:    int64(binary.LittleEndian.Uint64(b[8:])),
		first:  time.UnixMilli(int64(binary.LittleEndian.Uint64(b[16:]))),
		sealed: time.UnixMilli(int64(binary.LittleEndian.Uint64(b[24:]))),
	}, true
}
