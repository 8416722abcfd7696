// Package stats is the vocabulary of questions about a site and their answers,
// as package event is the vocabulary of facts. The dashboard's API parses
// requests into a Query, storage answers it; neither knows the other.
package stats

import (
	"errors"
	"time"

	"github.com/halfmask/halfmask/event"
)

// Metric is a number that a query asks for, by its name in the Stats API.
type Metric string

// The metrics.
const (
	Visitors      Metric = "visitors"        // people counted once a day: the pseudonym ends at midnight
	Visits        Metric = "visits"          // sums new_visit; with an event filter, distinct visits
	Pageviews     Metric = "pageviews"       // events named pageview
	ViewsPerVisit Metric = "views_per_visit" // pageviews / visits, two decimals
	BounceRate    Metric = "bounce_rate"     // percent of visits with one pageview and no interaction, whole number
	VisitDuration Metric = "visit_duration"  // mean seconds per visit, whole number
	Events        Metric = "events"          // pageviews and custom events
	Percentage    Metric = "percentage"      // visitors as percent of the query's total; needs a dimension
)

// Dimension is what a query groups or filters by, by its name in the Stats
// API. "event:props:NAME" is a dimension too.
type Dimension string

// The dimensions.
const (
	EventGoal      Dimension = "event:goal" // until goals exist: the name of a custom event
	EventName      Dimension = "event:name"
	EventPage      Dimension = "event:page"
	EventHostname  Dimension = "event:hostname"
	EntryPage      Dimension = "visit:entry_page"
	ExitPage       Dimension = "visit:exit_page"
	Source         Dimension = "visit:source"
	Channel        Dimension = "visit:channel"
	Referrer       Dimension = "visit:referrer"
	UTMSource      Dimension = "visit:utm_source"
	UTMMedium      Dimension = "visit:utm_medium"
	UTMCampaign    Dimension = "visit:utm_campaign"
	UTMContent     Dimension = "visit:utm_content"
	UTMTerm        Dimension = "visit:utm_term"
	Device         Dimension = "visit:device"
	Browser        Dimension = "visit:browser"
	BrowserVersion Dimension = "visit:browser_version"
	OS             Dimension = "visit:os"
	OSVersion      Dimension = "visit:os_version"
	Country        Dimension = "visit:country"
	Region         Dimension = "visit:region"
	City           Dimension = "visit:city"
	TimeMinute     Dimension = "time:minute"
	TimeHour       Dimension = "time:hour"
	TimeDay        Dimension = "time:day"
	TimeWeek       Dimension = "time:week" // weeks start on Monday
	TimeMonth      Dimension = "time:month"
)

// PropsPrefix starts a dimension that is a custom property.
const PropsPrefix = "event:props:"

// Op is how a filter compares.
type Op string

// The filter operators. And, Or and Not combine the filters below them.
const (
	Is          Op = "is"
	IsNot       Op = "is_not"
	Contains    Op = "contains"
	ContainsNot Op = "contains_not"
	Matches     Op = "matches" // RE2
	MatchesNot  Op = "matches_not"
	And         Op = "and"
	Or          Op = "or"
	Not         Op = "not"
)

// Filter is one condition, or a combination of conditions.
type Filter struct {
	Op         Op
	Dimension  Dimension // for the comparing operators
	Values     []string  // any of them, for the comparing operators
	IgnoreCase bool
	Filters    []Filter // for And, Or and Not
}

// Order sorts by one metric or dimension.
type Order struct {
	By         string // a Metric or Dimension that the query has
	Descending bool
}

// Query is one question about one site. From is inclusive, To exclusive.
type Query struct {
	Site       event.SiteID
	Zone       *time.Location
	From, To   time.Time
	Metrics    []Metric
	Dimensions []Dimension
	Filters    []Filter // all must hold
	OrderBy    []Order
	Limit      int // rows
	Offset     int // rows
	TotalRows  bool
}

// Row is one line of an answer. Dimensions are in the query's order; times are
// labelled "2006-01-02" for day and coarser, "2006-01-02 15:04:05" below, in
// the query's zone. A missing value is "(not set)", a missing source
// "Direct / None". Metrics are in the query's order; a ratio without a
// denominator is nil, everything else a number.
type Row struct {
	Dimensions []string
	Metrics    []*float64
}

// Result answers a Query.
type Result struct {
	Rows  []Row
	Total int // rows without limit and offset, if the query asked for it
}

// ErrInvalid is wrapped by the error of a Query that makes no sense: an
// unknown name, a broken regular expression, a missing range.
var ErrInvalid = errors.New("the query is not valid")
