// Package record turns an Event into bytes and back: the payload of one spool
// record. It is the room's only place that knows the layout, which is versioned
// because spools outlive binaries.
//
// Promises: every field of an Event survives, time to the millisecond; an event
// has exactly one encoding; whatever bytes Decode is given it neither panics nor
// allocates more than a small multiple of their length. It never knows where
// the bytes are kept.
//
// Version 1, all numbers little-endian:
//
//	offset size
//	     0    1  version, 1
//	     1    1  kind
//	     2    1  flags: bit 0 interactive, the others 0
//	     3    1  scroll
//	     4    8  time, Unix milliseconds, signed
//	    12    8  site
//	    20    8  visitor
//	    28    8  visit
//	    36    4  engaged, milliseconds
//	    40    4  duration, seconds
//	    44    1  network: family 0, 4 or 6
//	    45    4  network: prefix, what the family does not use is 0
//	    49    1  new visitor
//	    50    1  new visit
//	    51    1  bounce, signed
//	    52       strings, each a length (uvarint) and its bytes, in the order of
//	             texts below
//	             number of properties (uvarint), then key and value of each
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/halfmask/halfmask/event"
)

// version is the layout Append writes.
const version = 1

// fixed is the length of what precedes the strings.
const fixed = 52

const interactive = 1 << 0

// ErrVersion is returned by Decode for a layout this binary does not know:
// the spool was written by a newer one.
var ErrVersion = errors.New("cannot decode record: written by another version")

// ErrMalformed is returned by Decode for bytes that Append never produces. The
// errors wrapping it say which part is wrong, never what it held.
var ErrMalformed = errors.New("cannot decode record: malformed")

// texts is the number of strings every record holds.
const texts = 21

// fields lists an event's strings in the order in which they are encoded. New
// ones need a new version.
func fields(e *event.Event) [texts]*string {
	return [texts]*string{
		&e.Name, &e.Hostname, &e.Path,
		&e.Place.Country, &e.Place.Region, &e.Place.City,
		&e.Client.Device, &e.Client.Browser, &e.Client.BrowserVersion, &e.Client.OS, &e.Client.OSVersion,
		&e.Origin.EntryPath, &e.Origin.Source, &e.Origin.Channel, &e.Origin.Referrer,
		&e.Origin.Campaign.Source, &e.Origin.Campaign.Medium, &e.Origin.Campaign.Campaign,
		&e.Origin.Campaign.Content, &e.Origin.Campaign.Term,
		&e.Facts.PreviousPath,
	}
}

// Append appends e's encoding to dst and returns the extended slice. It
// allocates only to grow dst. It may be called from several goroutines.
func Append(dst []byte, e *event.Event) []byte {
	family, prefix := e.Network.Bytes()
	var flags byte
	if e.Interactive {
		flags = interactive
	}
	dst = append(dst, version, byte(e.Kind), flags, e.Scroll)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.At.UnixMilli()))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Site))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Visitor))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.Visit))
	dst = binary.LittleEndian.AppendUint32(dst, e.Engaged)
	dst = binary.LittleEndian.AppendUint32(dst, e.Facts.Duration)
	dst = append(dst, family, prefix[0], prefix[1], prefix[2], prefix[3],
		e.Facts.NewVisitor, e.Facts.NewVisit, byte(e.Facts.Bounce))
	for _, s := range fields(e) {
		dst = appendText(dst, *s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.Props)))
	for i := range e.Props {
		dst = appendText(dst, e.Props[i].Key)
		dst = appendText(dst, e.Props[i].Value)
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// Decode reads b into e, every field of it. The strings borrow b: they are
// valid as long as b is not written to. The capacity of e.Props is reused. The
// time is in UTC. After an error, which is ErrVersion or wraps ErrMalformed, e
// holds nothing of use. It may be called from several goroutines.
func Decode(b []byte, e *event.Event) error {
	if len(b) == 0 {
		return malformed("empty")
	}
	if b[0] != version {
		return ErrVersion
	}
	if len(b) < fixed {
		return malformed("too short")
	}
	kind := event.Kind(b[1])
	if kind < event.Pageview || kind > event.Engagement {
		return malformed("kind")
	}
	if b[2]&^interactive != 0 {
		return malformed("flags")
	}
	network, ok := decodeNetwork(b[44], [4]byte(b[45:49]))
	if !ok {
		return malformed("network")
	}
	*e = event.Event{
		At:          time.UnixMilli(int64(binary.LittleEndian.Uint64(b[4:]))).UTC(),
		Site:        event.SiteID(binary.LittleEndian.Uint64(b[12:])),
		Kind:        kind,
		Interactive: b[2]&interactive != 0,
		Props:       e.Props[:0],
		Scroll:      b[3],
		Engaged:     binary.LittleEndian.Uint32(b[36:]),
		Network:     network,
		Visitor:     event.VisitorID(binary.LittleEndian.Uint64(b[20:])),
		Visit:       event.VisitID(binary.LittleEndian.Uint64(b[28:])),
		Facts: event.Facts{
			NewVisitor: b[49],
			NewVisit:   b[50],
			Bounce:     int8(b[51]),
			Duration:   binary.LittleEndian.Uint32(b[40:]),
		},
	}
	return decodeTexts(b[fixed:], e)
}

func decodeTexts(b []byte, e *event.Event) error {
	var ok bool
	for _, s := range fields(e) {
		if *s, b, ok = cutText(b); !ok {
			return malformed("text")
		}
	}
	n, b, ok := cutUvarint(b)
	// A property takes two bytes at the least, so what cannot be there is
	// refused before anything is made for it.
	if !ok || n > uint64(len(b)/2) {
		return malformed("number of properties")
	}
	for range n {
		var p event.Prop
		if p.Key, b, ok = cutText(b); !ok {
			return malformed("property")
		}
		if p.Value, b, ok = cutText(b); !ok {
			return malformed("property")
		}
		e.Props = append(e.Props, p)
	}
	if len(b) != 0 {
		return malformed("bytes after the end")
	}
	return nil
}

// decodeNetwork refuses a prefix longer than its family keeps, so that no
// spool, however made, brings more of an address back.
func decodeNetwork(family byte, p [4]byte) (event.Network, bool) {
	switch family {
	case 0:
		return event.Network{}, p == [4]byte{}
	case 4:
		return event.NetworkV4(p[0], p[1]), p[2] == 0 && p[3] == 0
	case 6:
		return event.NetworkV6(p[0], p[1], p[2], p[3]), true
	}
	return event.Network{}, false
}

func cutText(b []byte) (string, []byte, bool) {
	n, b, ok := cutUvarint(b)
	if !ok || n > uint64(len(b)) {
		return "", nil, false
	}
	return borrow(b[:n]), b[n:], true
}

// cutUvarint accepts only the shortest form of a number, so that an event has
// one encoding.
func cutUvarint(b []byte) (uint64, []byte, bool) {
	if len(b) > 0 && b[0] < 0x80 { // nearly always
		return uint64(b[0]), b[1:], true
	}
	v, n := binary.Uvarint(b)
	if n <= 0 || b[n-1] == 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}

// borrow is the one place where bytes become a string without a copy.
func borrow(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func malformed(part string) error { return fmt.Errorf("%w: %s", ErrMalformed, part) }
