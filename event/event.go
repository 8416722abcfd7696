// Package event is the vocabulary that every room of Halfmask shares: what a
// visit left behind once its address was cut in half. It has no behaviour and
// does no I/O. Nothing in it can hold a whole address, a header or a cookie.
package event

import "time"

// SiteID names a site. It is random, drawn when the site is added, so that
// several collectors can add sites without asking each other.
type SiteID uint64

// VisitorID is a visitor's pseudonym for one site and one day: a keyed 64-bit
// hash of site, address and user agent under the day's salt. Once the salt is
// destroyed nobody, Halfmask included, can derive it again. 0 means none.
type VisitorID uint64

// VisitID names one visit. It is random. 0 means none.
type VisitID uint64

// Site is what the hot path needs to know of a site. It is immutable once
// published; a change publishes a new value.
type Site struct {
	ID     SiteID
	Domain string // lower case, without "www."
	Zone   *time.Location
}

// Kind tells the three sorts of event apart. Its values are stored in spools:
// never renumber them.
type Kind uint8

// The kinds of event.
const (
	Pageview   Kind = 1 // somebody opened a page
	Custom     Kind = 2 // something else that the site owner named happened
	Engagement Kind = 3 // time and scroll depth of a page already viewed; never opens a visit
)

// Prop is one custom property of an event. Bounds: 300 bytes of key, 2000 of
// value, 30 per event (see collector/beacon).
type Prop struct {
	Key, Value string
}

// Campaign holds the UTM parameters of a landing page's URL.
type Campaign struct {
	Source, Medium, Campaign, Content, Term string
}

// Place is where a visitor was, no finer than a city. Empty means unknown. Its
// strings are shared and live as long as the process.
type Place struct {
	Country string // ISO 3166-1 alpha-2, upper case: "DE"
	Region  string // ISO 3166-2: "DE-BE"
	City    string // English name: "Berlin"
}

// Client is what a user agent says about itself. Its strings are shared and
// live as long as the process.
type Client struct {
	Device         string // "Desktop", "Mobile", "Tablet", "TV", "Console" or ""
	Browser        string // "Firefox"
	BrowserVersion string // "146.0" at the finest
	OS             string // "Windows"
	OSVersion      string // "11" or "14.5" at the finest
}

// ClickID tells which advertising network marked a landing page's URL with a
// click identifier. The identifier itself is never kept.
type ClickID uint8

// The click identifiers that are recognised.
const (
	NoClickID      ClickID = iota
	GoogleClick            // gclid, gbraid, wbraid
	MicrosoftClick         // msclkid
	MetaClick              // fbclid
	XClick                 // twclid
)

// Hit is what leaves the door: a beacon whose address has been cut. Its
// strings borrow the request's memory unless said otherwise: they are valid
// only until the call that received the Hit returns, and whoever keeps one
// clones it.
type Hit struct {
	At   time.Time // the server's clock, never the client's
	Site *Site
	Day  Day // At in the site's own time zone

	Kind        Kind
	Name        string // "pageview" for a Pageview, "engagement" for an Engagement
	Interactive bool   // false: this event does not end a bounce
	Hostname    string // lower case, without "www."
	Path        string // decoded, without query; "/" at least
	Campaign    Campaign
	Ref         string // the query's ref or source parameter
	ClickID     ClickID
	Referrer    string // as the browser sent it, or ""; whoever stores it cuts it first
	Props       []Prop

	Scroll  uint8  // percent, 0 to 100; NoScroll if unknown
	Engaged uint32 // milliseconds

	Network  Network
	Visitor  VisitorID
	Previous VisitorID // the same visitor under yesterday's salt, soon after midnight; else 0
	Place    Place

	UserAgent UserAgent `json:"-"`
}

// NoScroll is Hit.Scroll and Event.Scroll when the depth is not known.
const NoScroll = 255

// Event is a Hit without its user agent and raw referrer, with what the visit
// knows added: one row of the events table. Its strings borrow memory as
// Hit's do.
type Event struct {
	At          time.Time // whole seconds count
	Site        SiteID
	Kind        Kind
	Name        string
	Interactive bool
	Hostname    string
	Path        string
	Props       []Prop
	Scroll      uint8
	Engaged     uint32 // milliseconds

	Network Network
	Place   Place
	Client  Client

	Visitor VisitorID
	Visit   VisitID
	Origin  Origin
	Facts   Facts
}

// Origin is how a visit came about. It is the visit's, not the event's: every
// event of a visit carries the Origin of the visit's first event, so that
// sums by source add up.
type Origin struct {
	EntryPath string // where the visit's first event happened, of whatever kind
	Source    string // "Google"; "" is direct
	Channel   string // "Organic Search", "Direct", ...
	Referrer  string // host and path, no query; ""
	Campaign  Campaign
}

// Facts are additive: each headline metric is a plain sum of one of them over
// the rows of a range. The session table decides them once; retries and
// replays never recompute them.
type Facts struct {
	NewVisitor   uint8  // 1 on the visitor's first event of the site's day; sum = visitors per day
	NewVisit     uint8  // 1 on a visit's first event; sum = visits
	Bounce       int8   // +1 on a visit's first pageview, -1 on the event that ends the bounce; sum = bounces
	Duration     uint32 // seconds since the visit's previous event; sum = time on site
	PreviousPath string // the path of the visit's previous pageview, on pageviews; exits at p = pageviews at p - rows with PreviousPath p
}

// Day counts days since 1970-01-01 in some time zone.
type Day int32

// DayOf returns the day that t falls on in zone.
func DayOf(t time.Time, zone *time.Location) Day {
	_, offset := t.In(zone).Zone()
	s := t.Unix() + int64(offset)
	d := s / 86400
	if s%86400 < 0 {
		d--
	}
	return Day(d)
}

// Start returns the first instant of the day in zone. Where a zone skips
// midnight that is the first instant that exists, and where it skips the whole
// day, the next day's.
func (d Day) Start(zone *time.Location) time.Time {
	midnight := int64(d) * 86400
	// No zone is as much as 16 hours ahead: the day has not begun yet.
	t := time.Unix(midnight-16*3600, 0).In(zone)
	for {
		_, offset := t.Zone()
		first := max(midnight-int64(offset), t.Unix())
		_, change := t.ZoneBounds()
		if change.IsZero() || first < change.Unix() {
			return time.Unix(first, 0).In(zone)
		}
		t = change
	}
}

// String returns the day as 2006-01-02.
func (d Day) String() string {
	return time.Unix(int64(d)*86400, 0).UTC().Format(time.DateOnly)
}
