// Package beacon turns a request's bytes into a Beacon: what a page said, cut
// down to the fields that Halfmask keeps. It promises bounds on every field,
// valid UTF-8 without control characters in every string, and no allocation.
// Of a page's URL it keeps host, path and campaign; every other query
// parameter is gone when a parser returns. It never knows a header, a cookie
// or an address.
//
// Plausible's event shape is read as Plausible documents it, with its field
// names, limits and error texts, so that a site changes nothing but a URL.
package beacon

import (
	"github.com/halfmask/halfmask/event"
)

// The bounds of one beacon. They are Plausible's where it has them.
const (
	MaxName      = 120  // characters of an event's name
	MaxURL       = 2000 // bytes of a page's URL
	MaxReferrer  = 2000 // bytes; what is beyond is cut off
	MaxProps     = 30   // further ones are ignored
	MaxPropKey   = 300  // bytes
	MaxPropValue = 2000 // bytes
	MaxCampaign  = 300  // bytes of one campaign parameter; what is beyond is cut off
	MaxHostname  = 253  // bytes, RFC 1035
	MaxDomains   = 16   // sites that one beacon may name
	MaxDepth     = 32   // nested objects and arrays in a JSON body
)

// NoHostname is Beacon.Hostname of a page without a host, as apps have it.
const NoHostname = "(none)"

// Beacon is one thing that happened, as the page told it. Its strings borrow
// the bytes it was parsed from and its own scratch space: they are valid until
// the next call of a Parse method or Reset, and only while the parsed bytes
// are unchanged. A Beacon is meant to be reused; it is not safe for concurrent
// use. The zero value is ready.
type Beacon struct {
	Domains []string // the sites it is meant for, lower case, without "www.", each once

	Kind        event.Kind
	Name        string
	Interactive bool // false: does not end a bounce; always false for an Engagement
	Hostname    string
	Path        string
	Campaign    event.Campaign
	Ref         string // the URL's source parameter, else its ref
	ClickID     event.ClickID
	Referrer    string // as the browser sent it, or ""
	Props       []event.Prop
	Scroll      uint8  // percent, or event.NoScroll
	Engaged     uint32 // milliseconds

	domains   [MaxDomains]string
	props     [MaxProps]event.Prop
	usedProps int // how many of props were ever set
	scratch   []byte
}

// Reset forgets everything but the scratch space, which is emptied.
func (b *Beacon) Reset() {
	// Only what was used is cleared: all of it would be 1.4 kB each time.
	clear(b.domains[:len(b.Domains)])
	clear(b.props[:b.usedProps])
	b.usedProps = 0
	b.scratch = b.scratch[:0]
	if cap(b.scratch) > keptScratch {
		b.scratch = nil
	}
	b.Domains, b.Props = nil, nil
	b.Kind, b.Name, b.Interactive = 0, "", false
	b.Hostname, b.Path, b.Referrer = "", "", ""
	b.Campaign, b.Ref, b.ClickID = event.Campaign{}, "", event.NoClickID
	b.Scroll, b.Engaged = event.NoScroll, 0
}

// keptScratch bounds what a pooled Beacon holds on to after an unusual body.
const keptScratch = 8 << 10

// Fill sets the fields of h that the page decides. The strings stay borrowed.
func (b *Beacon) Fill(h *event.Hit) {
	h.Kind = b.Kind
	h.Name = b.Name
	h.Interactive = b.Interactive
	h.Hostname = b.Hostname
	h.Path = b.Path
	h.Campaign = b.Campaign
	h.Ref = b.Ref
	h.ClickID = b.ClickID
	h.Referrer = b.Referrer
	h.Props = b.Props
	h.Scroll = b.Scroll
	h.Engaged = b.Engaged
}
