package enrich

import (
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/halfmask/halfmask/event"
)

// Other stands for a value that came after its column was full.
const Other = "(other)"

// column is where a value may be one of too many.
type column uint8

const (
	hostnameColumn column = iota
	pathColumn
	nameColumn
	propKeyColumn
	propValueColumn
	sourceColumn
	referrerColumn
	utmSourceColumn
	utmMediumColumn
	utmCampaignColumn
	utmContentColumn
	utmTermColumn
	browserVersionColumn
	osVersionColumn
	columns
)

// Limits say how many distinct values a site may have in a UTC day. A zero
// field takes its default. Real sites stay far below them; what is above is
// somebody who makes values up. For columns of low cardinality they are chosen
// so that a site's values fit into the dictionary that ClickHouse keeps for a
// part (low_cardinality_max_dictionary_size, 8,192).
type Limits struct {
	Hostnames  int // 1,000
	Paths      int // 100,000
	Names      int // of events: 1,000
	PropKeys   int // 300; further properties are left out, since (other) would be one property with many meanings
	PropValues int // of all keys together: 100,000
	Sources    int // 5,000
	Referrers  int // 50,000
	Campaigns  int // of each of the five UTM parameters: 5,000
	Versions   int // of browsers, and of systems: 1,000

	// All bounds the values of all sites together, and with it the memory: 16
	// bytes for each. 2,000,000. Beyond it no value is new.
	All int
}

func (l Limits) perColumn() (of [columns]int32) {
	for c, limit := range [columns]struct{ is, otherwise int }{
		hostnameColumn: {l.Hostnames, 1000}, pathColumn: {l.Paths, 100_000}, nameColumn: {l.Names, 1000},
		propKeyColumn: {l.PropKeys, 300}, propValueColumn: {l.PropValues, 100_000},
		sourceColumn: {l.Sources, 5000}, referrerColumn: {l.Referrers, 50_000},
		utmSourceColumn: {l.Campaigns, 5000}, utmMediumColumn: {l.Campaigns, 5000}, utmCampaignColumn: {l.Campaigns, 5000},
		utmContentColumn: {l.Campaigns, 5000}, utmTermColumn: {l.Campaigns, 5000},
		browserVersionColumn: {l.Versions, 1000}, osVersionColumn: {l.Versions, 1000},
	} {
		if of[c] = int32(limit.is); limit.is == 0 {
			of[c] = int32(limit.otherwise)
		}
	}
	return of
}

var columnNames = [columns]string{
	hostnameColumn: "hostname", pathColumn: "path", nameColumn: "name", propKeyColumn: "prop_key", propValueColumn: "prop_value",
	sourceColumn: "source", referrerColumn: "referrer", utmSourceColumn: "utm_source", utmMediumColumn: "utm_medium",
	utmCampaignColumn: "utm_campaign", utmContentColumn: "utm_content", utmTermColumn: "utm_term",
	browserVersionColumn: "browser_version", osVersionColumn: "os_version",
}

// Caps bound how many distinct values a site's events may have in a day, so
// that nobody who makes beacons up can blow up storage or bury a report. What
// was seen before that day's column was full stays what it is. It keeps 64-bit
// hashes and no values, in memory alone: a start begins the day's count anew.
//
// It is safe for concurrent use. A known value, or one too many, takes no lock;
// a new one does.
type Caps struct {
	seed   maphash.Seed
	limits [columns]int32
	most   int64
	others [columns]prometheus.Counter

	today atomic.Pointer[day]
	mu    sync.Mutex // for adding
}

// NewCaps returns Caps. It panics if the registerer, which may be nil, has its
// metrics already.
func NewCaps(l Limits, r prometheus.Registerer) *Caps {
	c := &Caps{seed: maphash.MakeSeed(), limits: l.perColumn(), most: int64(l.All)}
	if l.All == 0 {
		c.most = 2_000_000
	}
	others := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "halfmask_enrich_other_values_total",
		Help: "Values that became (other), or properties that were left out, because the site had too many distinct ones that day, by column.",
	}, []string{"column"})
	for i, name := range columnNames {
		c.others[i] = others.WithLabelValues(name)
	}
	if r != nil {
		r.MustRegister(others)
	}
	c.today.Store(newDay(0))
	return c
}

// Event writes (other) over each value of an event that is one too many, and
// leaves out properties whose key is. The event's Props must be the caller's to
// write. It allocates nothing for values it has seen before.
func (c *Caps) Event(e *event.Event) {
	d := c.on(e.At)
	site := uint64(e.Site)
	if e.Kind == event.Custom {
		c.value(d, site, nameColumn, &e.Name)
	}
	c.value(d, site, hostnameColumn, &e.Hostname)
	c.value(d, site, pathColumn, &e.Path)
	c.value(d, site, browserVersionColumn, &e.Client.BrowserVersion)
	c.value(d, site, osVersionColumn, &e.Client.OSVersion)
	if len(e.Props) > 0 {
		e.Props = c.props(d, site, e.Props)
	}
}

// Origin bounds the values of how an event's visit came about.
func (c *Caps) Origin(e *event.Event) {
	d, site := c.on(e.At), uint64(e.Site)
	o := &e.Origin
	c.value(d, site, sourceColumn, &o.Source)
	c.value(d, site, referrerColumn, &o.Referrer)
	if o.Campaign != (event.Campaign{}) {
		c.value(d, site, utmSourceColumn, &o.Campaign.Source)
		c.value(d, site, utmMediumColumn, &o.Campaign.Medium)
		c.value(d, site, utmCampaignColumn, &o.Campaign.Campaign)
		c.value(d, site, utmContentColumn, &o.Campaign.Content)
		c.value(d, site, utmTermColumn, &o.Campaign.Term)
	}
}

func (c *Caps) props(d *day, site uint64, props []event.Prop) []event.Prop {
	kept := props[:0]
	for _, p := range props {
		key := maphash.String(c.seed, p.Key)
		if !c.room(d, site, propKeyColumn, key) {
			continue
		}
		if !c.room(d, site, propValueColumn, key*3+maphash.String(c.seed, p.Value)) {
			p.Value = Other
		}
		kept = append(kept, p)
	}
	return kept
}

func (c *Caps) value(d *day, site uint64, of column, value *string) {
	if *value != "" && !c.room(d, site, of, maphash.String(c.seed, *value)) {
		*value = Other
	}
}

// room reports whether a value was seen that day or still may be new.
func (c *Caps) room(d *day, site uint64, of column, hash uint64) bool {
	hash = mix(hash ^ mix(site+uint64(of)))
	if d.values.Load().has(hash) || c.add(d, site, of, hash) {
		return true
	}
	c.others[of].Inc()
	return false
}

// mix spreads each bit over all of them, one to one (from MurmurHash3, by
// Austin Appleby, in the public domain), and avoids 0, which is an empty place.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return max(1, h^h>>33)
}

// add takes a value in that is not there, unless there are too many.
func (c *Caps) add(d *day, site uint64, of column, hash uint64) bool {
	if counts := (*d.sites.Load())[site]; counts != nil && counts[of].Load() >= c.limits[of] || d.used.Load() >= c.most {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.values.Load().has(hash) {
		return true
	}
	counts := d.site(site)
	if counts[of].Load() >= c.limits[of] || d.used.Load() >= c.most {
		return false
	}
	counts[of].Add(1)
	d.put(hash)
	return true
}

// on returns the day of an instant. The one after the present starts anew; of
// an event that comes late by a midnight the values are counted with the
// present day's. A clock that was set back by more starts anew too.
func (c *Caps) on(at time.Time) *day {
	number := at.Unix() / 86400
	d := c.today.Load()
	if number == d.number || number == d.number-1 {
		return d
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if d = c.today.Load(); number != d.number && number != d.number-1 {
		d = newDay(number)
		c.today.Store(d)
	}
	return d
}

// day is what was seen in one UTC day. Reading takes no lock; writing is the
// business of whoever holds the Caps' lock.
type day struct {
	number int64 // days since 1970-01-01
	values atomic.Pointer[hashes]
	used   atomic.Int64
	sites  atomic.Pointer[map[uint64]*[columns]atomic.Int32] // replaced, never changed
}

func newDay(number int64) *day {
	d := &day{number: number}
	d.values.Store(newHashes(1 << 10))
	d.sites.Store(&map[uint64]*[columns]atomic.Int32{})
	return d
}

// site returns the counts of a site.
func (d *day) site(site uint64) *[columns]atomic.Int32 {
	known := *d.sites.Load()
	counts := known[site]
	if counts == nil {
		counts = new([columns]atomic.Int32)
		more := maps.Clone(known)
		more[site] = counts
		d.sites.Store(&more)
	}
	return counts
}

func (d *day) put(hash uint64) {
	now := d.values.Load()
	if d.used.Add(1)*2 > int64(len(now.places)) {
		larger := newHashes(2 * len(now.places))
		for i := range now.places {
			if h := now.places[i].Load(); h != 0 {
				larger.put(h)
			}
		}
		now = larger
		defer d.values.Store(larger) // once it has the new one, too
	}
	now.put(hash)
}

// hashes is a set in one piece of memory, at most half full, a power of two in
// size.
type hashes struct{ places []atomic.Uint64 }

func newHashes(n int) *hashes { return &hashes{make([]atomic.Uint64, n)} }

func (h *hashes) has(hash uint64) bool {
	mask := uint64(len(h.places) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		switch h.places[i].Load() {
		case hash:
			return true
		case 0:
			return false
		}
	}
}

func (h *hashes) put(hash uint64) {
	mask := uint64(len(h.places) - 1)
	i := hash & mask
	for h.places[i].Load() != 0 {
		i = (i + 1) & mask
	}
	h.places[i].Store(hash)
}
