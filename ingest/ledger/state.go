package ledger

import (
	"encoding/binary"

	"github.com/halfmask/halfmask/event"
)

const (
	remembered = 128 // segments that left last, to recognise those that come back
	dayCount   = 128 // UTC days: more than storage keeps
	stateHead  = 64
	entryLen   = 24
	dayLen     = 16
	stateLen   = stateHead + remembered*entryLen + dayCount*dayLen
)

// A copy must hold the state, the counters and a checksum.
var _ [copyLen - stateLen - cellsLen - 4]byte

// state is what changes when events leave the spool.
type state struct {
	generation  uint64
	spool       uint64
	stored      uint64
	quarantined uint64
	released    uint64    // out of quarantine again
	last        uint64    // the highest sequence number that has left
	since       event.Day // days before it are not compared with storage
	compared    int64     // Unix seconds of the last comparison with storage
	next        uint32    // where the next entry goes
	entries     [remembered]entry
	days        [dayCount]dayStored
}

// entry is a segment that left the spool, or is about to.
type entry struct{ seq, stored, quarantined uint64 }

// dayStored is how many events of a UTC day are in storage.
type dayStored struct {
	day    event.Day
	stored uint64
}

func (e entry) events() uint64 { return e.stored + e.quarantined }

// unsure stands for the events of a day that cannot be compared any more.
const unsure = ^uint64(0)

// add counts a segment that leaves. If some of its events were counted before,
// its days are not compared any more.
func (s *state) add(e entry, days map[event.Day]uint64, before bool) {
	s.stored += e.stored
	s.quarantined += e.quarantined
	s.last = max(s.last, e.seq)
	s.entries[s.next%remembered] = e
	s.next++
	for day, n := range days {
		slot := s.slot(day)
		switch {
		case slot.day < day && before, slot.day == day && before:
			*slot = dayStored{day, unsure}
		case slot.day < day:
			*slot = dayStored{day, n}
		case slot.day == day && slot.stored != unsure:
			slot.stored += n
		} // else a wrong clock has used it up; that day is not compared
	}
}

func (s *state) slot(day event.Day) *dayStored {
	return &s.days[((int(day)%dayCount)+dayCount)%dayCount]
}

// cancel takes back that a segment left: it is in the spool again, after its
// file came out of quarantine.
func (s *state) cancel(e entry) {
	s.released += e.quarantined
	s.stored -= min(e.stored, s.stored)
}

// left tells how a segment was booked when it left.
func (s *state) left(seq uint64) (entry, bool) {
	for i := range s.entries {
		if e := s.entries[(s.next-1-uint32(i))%remembered]; e.seq == seq && seq != 0 {
			return e, true
		}
	}
	return entry{}, false
}

// doubtful lists the segments left lately whose rows in storage are not known:
// a part of them may be there although the segment went into quarantine.
func (s *state) doubtful() (seqs []uint64) {
	for _, e := range s.entries {
		if e.quarantined > 0 && e.stored == 0 {
			seqs = append(seqs, e.seq)
		}
	}
	return seqs
}

func (s *state) encode(b []byte) {
	put := binary.LittleEndian.PutUint64
	for i, v := range []uint64{s.generation, s.spool, s.stored, s.quarantined, s.released, s.last} {
		put(b[8*i:], v)
	}
	binary.LittleEndian.PutUint32(b[48:], uint32(s.since))
	binary.LittleEndian.PutUint32(b[52:], s.next)
	put(b[56:], uint64(s.compared))
	b = b[stateHead:]
	for i, e := range s.entries {
		at := b[i*entryLen:]
		put(at, e.seq)
		put(at[8:], e.stored)
		put(at[16:], e.quarantined)
	}
	b = b[remembered*entryLen:]
	for i, d := range s.days {
		binary.LittleEndian.PutUint32(b[i*dayLen:], uint32(d.day))
		put(b[i*dayLen+8:], d.stored)
	}
}

func (s *state) decode(b []byte) bool {
	get := binary.LittleEndian.Uint64
	for i, v := range []*uint64{&s.generation, &s.spool, &s.stored, &s.quarantined, &s.released, &s.last} {
		*v = get(b[8*i:])
	}
	s.since = event.Day(int32(binary.LittleEndian.Uint32(b[48:])))
	s.next = binary.LittleEndian.Uint32(b[52:])
	s.compared = int64(get(b[56:]))
	b = b[stateHead:]
	for i := range s.entries {
		at := b[i*entryLen:]
		s.entries[i] = entry{get(at), get(at[8:]), get(at[16:])}
	}
	b = b[remembered*entryLen:]
	for i := range s.days {
		s.days[i] = dayStored{event.Day(int32(binary.LittleEndian.Uint32(b[i*dayLen:]))), get(b[i*dayLen+8:])}
	}
	return s.generation > 0
}
