package storage

import (
	"fmt"
	"strings"

	"github.com/halfmask/halfmask/stats"
)

// scope says for how long a dimension keeps its value.
type scope uint8

const (
	perVisitor scope = iota // for the visitor's whole day: it is part of the pseudonym
	perVisit                // for the whole visit
	perRow                  // for one event
)

// dimension is how one dimension is computed from a row. Its text is written
// here and nowhere else; a property's name is bound.
type dimension struct {
	value   string // the stored value
	missing string // what an empty value is called
	scope   scope
	exit    bool // value comes from the visits that are joined
	page    bool // attributes visits to the page they began on
	rows    string

	// Times alone: key groups, label shows. subDay: finer than a day.
	key, label string
	subDay     bool
}

const (
	notSet = "(not set)"
	direct = "Direct / None"
)

// local is a row's time on the clock at the site's wall, in seconds. Grouping by
// it makes one bucket of the hour that comes twice when a clock is set back.
const local = "(toUnixTimestamp(ts) + timezoneOffset(toTimeZone(ts, {zone:String})))"

var dimensions = map[stats.Dimension]dimension{
	stats.EventGoal:      {value: "name", scope: perRow, rows: "kind = 'custom'"},
	stats.EventName:      {value: "name", scope: perRow, rows: "kind != 'engagement'"},
	stats.EventPage:      {value: "path", scope: perRow, page: true},
	stats.EventHostname:  {value: "hostname", scope: perRow},
	stats.EntryPage:      {value: "entry_path", scope: perVisit},
	stats.ExitPage:       {value: "exit_hash", scope: perVisit, exit: true},
	stats.Source:         {value: "source", scope: perVisit, missing: direct},
	stats.Channel:        {value: "channel", scope: perVisit},
	stats.Referrer:       {value: "referrer", scope: perVisit},
	stats.UTMSource:      {value: "utm_source", scope: perVisit},
	stats.UTMMedium:      {value: "utm_medium", scope: perVisit},
	stats.UTMCampaign:    {value: "utm_campaign", scope: perVisit},
	stats.UTMContent:     {value: "utm_content", scope: perVisit},
	stats.UTMTerm:        {value: "utm_term", scope: perVisit},
	stats.Device:         {value: "device"},
	stats.Browser:        {value: "browser"},
	stats.BrowserVersion: {value: "browser_version"},
	stats.OS:             {value: "os"},
	stats.OSVersion:      {value: "os_version"},
	stats.Country:        {value: "country"},
	stats.Region:         {value: "region"},
	stats.City:           {value: "city"},
	stats.TimeMinute: {key: "intDiv(" + local + ", 60)", subDay: true,
		label: "formatDateTime(toDateTime(%s * 60, 'UTC'), '%%Y-%%m-%%d %%H:%%i:00', 'UTC')"},
	stats.TimeHour: {key: "intDiv(" + local + ", 3600)", subDay: true,
		label: "formatDateTime(toDateTime(%s * 3600, 'UTC'), '%%Y-%%m-%%d %%H:00:00', 'UTC')"},
	stats.TimeDay:   {key: "toDate(ts, {zone:String})", label: "toString(%s)"},
	stats.TimeWeek:  {key: "toMonday(toDate(ts, {zone:String}))", label: "toString(%s)"},
	stats.TimeMonth: {key: "toStartOfMonth(toDate(ts, {zone:String}))", label: "toString(%s)"},
}

// dimension looks a dimension up, or makes one of a property.
func (b *builder) dimension(name stats.Dimension) (dimension, error) {
	d, ok := dimensions[name]
	if property, is := strings.CutPrefix(string(name), stats.PropsPrefix); is && property != "" {
		d, ok = dimension{value: "props[" + b.bind("String", property) + "]", scope: perRow}, true
	}
	if !ok {
		return d, fmt.Errorf("there is no such dimension: %w", stats.ErrInvalid)
	}
	if d.missing == "" {
		d.missing = notSet
	}
	return d, nil
}

// isTime reports whether the dimension is a bucket of time.
func (d dimension) isTime() bool { return d.key != "" }

// group returns the expression to group by.
func (b *builder) group(d dimension) string {
	switch {
	case d.isTime():
		return d.key
	case d.exit:
		return d.value
	}
	value := d.value
	if d.page && b.shape == shapePages {
		value = "if(side = 1, path, entry_path)"
	}
	return b.shown(d, value)
}

// shown returns the expression of a value as people see it.
func (b *builder) shown(d dimension, value string) string {
	return "if(" + value + " = '', " + b.bind("String", d.missing) + ", toString(" + value + "))"
}
