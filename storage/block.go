package storage

import (
	"math"
	"unsafe"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/halfmask/halfmask/event"
)

const (
	insertEvents = `INSERT INTO events ` + eventColumns
	insertProbe  = `INSERT INTO events_probe ` + eventColumns
)

const eventColumns = `(ts, site, kind, name, interactive, hostname, path, entry_path, previous_path,
visitor, visit, new_visitor, new_visit, bounce, duration, scroll, engaged,
source, channel, referrer, utm_source, utm_medium, utm_campaign, utm_content, utm_term,
country, region, city, device, browser, browser_version, os, os_version, network, props, spool, batch)`

// block is the columns of one INSERT, in the order of eventColumns.
//
// A string is kept once, however many rows have it: an event's strings borrow
// memory that the driver's dictionaries would outlive. Those of LowCardinality
// columns are kept boxed, because the driver takes these columns apart by
// reflection and would box each row's anew: a third of its time, and nearly all
// of its allocations.
type block struct {
	ts          []int64
	site        []uint64
	kind        []int8
	interactive []bool
	visitor     []uint64
	visit       []uint64
	newVisitor  []uint8
	newVisit    []uint8
	bounce      []int8
	duration    []uint32
	scroll      []uint8
	engaged     []uint32
	names       [names][]any
	texts       [texts][]string
	props       []map[string]string
	spool       []uint64
	batch       []uint64

	kept    map[string]any
	last    [names]kept
	network [32]byte
}

// kept is a string that the block owns, plain and boxed.
type kept struct {
	text  string
	boxed any
}

// The LowCardinality columns of a block.
const (
	nameEvent = iota
	nameHostname
	nameSource
	nameChannel
	nameUTMSource
	nameUTMMedium
	nameUTMCampaign
	nameUTMContent
	nameUTMTerm
	nameCountry
	nameRegion
	nameCity
	nameDevice
	nameBrowser
	nameBrowserVersion
	nameOS
	nameOSVersion
	nameNetwork
	names
)

// The String columns of a block.
const (
	textPath = iota
	textEntryPath
	textPreviousPath
	textReferrer
	texts
)

func newBlock(rows int) *block {
	rows = min(max(rows, 0), 1<<20) // a hint, not to be believed beyond reason
	b := &block{
		ts: make([]int64, 0, rows), site: make([]uint64, 0, rows), kind: make([]int8, 0, rows),
		interactive: make([]bool, 0, rows), visitor: make([]uint64, 0, rows), visit: make([]uint64, 0, rows),
		newVisitor: make([]uint8, 0, rows), newVisit: make([]uint8, 0, rows), bounce: make([]int8, 0, rows),
		duration: make([]uint32, 0, rows), scroll: make([]uint8, 0, rows), engaged: make([]uint32, 0, rows),
		props: make([]map[string]string, 0, rows), spool: make([]uint64, 0, rows), batch: make([]uint64, 0, rows),
		kept: make(map[string]any, 256),
	}
	for i := range b.names {
		b.names[i] = make([]any, 0, rows)
	}
	for i := range b.texts {
		b.texts[i] = make([]string, 0, rows)
	}
	return b
}

func (b *block) rows() int { return len(b.ts) }

// rowsOf returns the rows from from to before to. They are the block's own, to be
// read only.
func (b *block) rowsOf(from, to int) *block {
	part := &block{
		ts: b.ts[from:to], site: b.site[from:to], kind: b.kind[from:to], interactive: b.interactive[from:to],
		visitor: b.visitor[from:to], visit: b.visit[from:to], newVisitor: b.newVisitor[from:to], newVisit: b.newVisit[from:to],
		bounce: b.bounce[from:to], duration: b.duration[from:to], scroll: b.scroll[from:to], engaged: b.engaged[from:to],
		props: b.props[from:to], spool: b.spool[from:to], batch: b.batch[from:to],
	}
	for i := range b.names {
		part.names[i] = b.names[i][from:to]
	}
	for i := range b.texts {
		part.texts[i] = b.texts[i][from:to]
	}
	return part
}

// keep returns the block's own copy of s, which holds a string.
func (b *block) keep(s string) any {
	own, ok := b.kept[s]
	if !ok {
		copied := string([]byte(s))
		own = copied
		b.kept[copied] = own
	}
	return own
}

// name adds a value to a LowCardinality column. Most are empty, and the driver
// takes nil for that without looking anything up; of the others most are the
// row's before.
func (b *block) name(column int, s string) {
	last := &b.last[column]
	switch {
	case s == "":
		b.names[column] = append(b.names[column], nil)
		return
	case s != last.text || last.boxed == nil:
		last.boxed = b.keep(s)
		last.text = last.boxed.(string)
	}
	b.names[column] = append(b.names[column], last.boxed)
}

func (b *block) text(column int, s string) {
	if s == "" {
		b.texts[column] = append(b.texts[column], "")
		return
	}
	b.texts[column] = append(b.texts[column], b.keep(s).(string))
}

// add takes one event. It refuses a time that the column would wrap round.
func (b *block) add(e *event.Event, spool, batch uint64) error {
	at := e.At.Unix()
	if at < 0 || at > math.MaxUint32 {
		return &Failure{Class: Data, hint: "an event's time is before 1970 or after 2106"}
	}
	b.ts = append(b.ts, at)
	b.site = append(b.site, uint64(e.Site))
	b.kind = append(b.kind, int8(e.Kind))
	b.interactive = append(b.interactive, e.Interactive)
	b.visitor = append(b.visitor, uint64(e.Visitor))
	b.visit = append(b.visit, uint64(e.Visit))
	b.newVisitor = append(b.newVisitor, e.Facts.NewVisitor)
	b.newVisit = append(b.newVisit, e.Facts.NewVisit)
	b.bounce = append(b.bounce, e.Facts.Bounce)
	b.duration = append(b.duration, e.Facts.Duration)
	b.scroll = append(b.scroll, e.Scroll)
	b.engaged = append(b.engaged, e.Engaged)
	b.spool = append(b.spool, spool)
	b.batch = append(b.batch, batch)
	b.addTexts(e)
	b.props = append(b.props, b.properties(e.Props))
	return nil
}

func (b *block) addTexts(e *event.Event) {
	b.text(textPath, e.Path)
	b.text(textEntryPath, e.Origin.EntryPath)
	b.text(textPreviousPath, e.Facts.PreviousPath)
	b.text(textReferrer, e.Origin.Referrer)

	b.name(nameEvent, e.Name)
	b.name(nameHostname, e.Hostname)
	b.name(nameSource, e.Origin.Source)
	b.name(nameChannel, e.Origin.Channel)
	b.name(nameUTMSource, e.Origin.Campaign.Source)
	b.name(nameUTMMedium, e.Origin.Campaign.Medium)
	b.name(nameUTMCampaign, e.Origin.Campaign.Campaign)
	b.name(nameUTMContent, e.Origin.Campaign.Content)
	b.name(nameUTMTerm, e.Origin.Campaign.Term)
	b.name(nameCountry, e.Place.Country)
	b.name(nameRegion, e.Place.Region)
	b.name(nameCity, e.Place.City)
	b.name(nameDevice, e.Client.Device)
	b.name(nameBrowser, e.Client.Browser)
	b.name(nameBrowserVersion, e.Client.BrowserVersion)
	b.name(nameOS, e.Client.OS)
	b.name(nameOSVersion, e.Client.OSVersion)

	network := e.Network.AppendText(b.network[:0])
	b.name(nameNetwork, unsafe.String(unsafe.SliceData(network), len(network))) // borrowed, like all of e
}

// properties returns the props as the driver wants them. Of two with one key the
// last counts.
func (b *block) properties(props []event.Prop) map[string]string {
	if len(props) == 0 {
		return nil
	}
	m := make(map[string]string, len(props))
	for _, p := range props {
		m[b.keep(p.Key).(string)] = b.keep(p.Value).(string)
	}
	return m
}

// fill hands the columns over, in the order of eventColumns.
func (b *block) fill(to driver.Batch) error {
	n, t := &b.names, &b.texts
	columns := []any{
		b.ts, b.site, b.kind, n[nameEvent], b.interactive, n[nameHostname], t[textPath], t[textEntryPath], t[textPreviousPath],
		b.visitor, b.visit, b.newVisitor, b.newVisit, b.bounce, b.duration, b.scroll, b.engaged,
		n[nameSource], n[nameChannel], t[textReferrer], n[nameUTMSource], n[nameUTMMedium], n[nameUTMCampaign], n[nameUTMContent], n[nameUTMTerm],
		n[nameCountry], n[nameRegion], n[nameCity], n[nameDevice], n[nameBrowser], n[nameBrowserVersion], n[nameOS], n[nameOSVersion], n[nameNetwork],
		b.props, b.spool, b.batch,
	}
	for i, c := range columns {
		if err := to.Column(i).Append(c); err != nil {
			return err
		}
	}
	return nil
}
