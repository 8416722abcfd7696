package storage

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/stats"
)

// shape is how a question is asked.
type shape uint8

const (
	// shapeRows reads every row once and adds facts up.
	shapeRows shape = iota
	// shapePages reads every row once for its page and once for its visit's
	// entry page, which is what bounces and times are attributed to.
	shapePages
	// shapeVisits adds up each visit first: where facts do not simply add up,
	// because a visit is in several groups or only partly in the range.
	shapeVisits
)

// builder writes one question's SQL. All of its text comes from constants of
// this package; every value is bound.
type builder struct {
	query *stats.Query
	args  []any
	bound int

	shape      shape
	aligned    bool // the range starts with a day of the site
	subDay     bool // groups by a time finer than a day
	exit       bool // needs the visits' exit pages
	scope      scope
	filterOnly scope // without the dimensions
	filterExit bool  // likewise
	row        []string

	groups []dimension
	where  string
}

// use notes what a dimension asks of the plan.
func (b *builder) use(d dimension) {
	b.scope = max(b.scope, d.scope)
	b.subDay = b.subDay || d.subDay
	b.exit = b.exit || d.exit
	if d.rows != "" && !slices.Contains(b.row, d.rows) {
		b.row = append(b.row, d.rows)
	}
}

// bind returns the placeholder of a value.
func (b *builder) bind(kind string, value any) string {
	name := "p" + strconv.Itoa(b.bound)
	b.bound++
	b.args = append(b.args, clickhouse.Named(name, value))
	return "{" + name + ":" + kind + "}"
}

// build checks a query and writes its statement.
func (s *Store) build(q *stats.Query) (statement, error) {
	if q.Zone == nil || q.Site == 0 || !q.From.Before(q.To) {
		return statement{}, fmt.Errorf("it needs a site, a time zone and a range that does not end before it starts: %w", stats.ErrInvalid)
	}
	b := &builder{query: q, aligned: event.DayOf(q.From, q.Zone).Start(q.Zone).Equal(q.From)}
	for name, value := range map[string]any{
		"site": uint64(q.Site), "zone": q.Zone.String(), "months": uint8(s.options.RetentionMonths),
		"from": seconds(q.From), "to": seconds(q.To),
		"limit": uint64(limit(q.Limit)), "offset": uint64(max(q.Offset, 0)),
	} {
		b.args = append(b.args, clickhouse.Named(name, value))
	}
	filters, err := b.filters(q.Filters)
	if err != nil {
		return statement{}, err
	}
	b.filterOnly, b.filterExit = b.scope, b.exit
	for _, name := range q.Dimensions {
		d, err := b.dimension(name)
		if err != nil {
			return statement{}, err
		}
		b.use(d)
		b.groups = append(b.groups, d)
	}
	if err := b.check(); err != nil {
		return statement{}, err
	}
	b.chooseShape()
	b.where = all(append([]string{bounds(0), filters}, b.rowConditions()...))
	sql, err := b.statement()
	return statement{name: "Query", sql: sql, args: b.args}, err
}

func (b *builder) check() error {
	q := b.query
	if len(q.Metrics) == 0 {
		return fmt.Errorf("it needs a metric: %w", stats.ErrInvalid)
	}
	for _, m := range q.Metrics {
		if _, ok := metricExpressions[m]; !ok {
			return fmt.Errorf("there is no such metric: %w", stats.ErrInvalid)
		}
	}
	for i, d := range q.Dimensions {
		if slices.Contains(q.Dimensions[:i], d) {
			return fmt.Errorf("it names a dimension twice: %w", stats.ErrInvalid)
		}
	}
	if slices.Contains(q.Metrics, stats.Percentage) && len(q.Dimensions) == 0 {
		return fmt.Errorf("percentage needs a dimension: %w", stats.ErrInvalid)
	}
	return nil
}

// rowConditions keeps rows that a dimension of events cannot name out of every
// metric. In filters the same conditions stand where they were asked for.
func (b *builder) rowConditions() (conditions []string) {
	for _, d := range b.groups {
		if d.rows != "" {
			conditions = append(conditions, d.rows)
		}
	}
	if len(b.row) > 0 {
		conditions = append(conditions, "kind != 'engagement'")
	}
	return conditions
}

// chooseShape takes the cheapest shape that is exact.
func (b *builder) chooseShape() {
	wanted := slices.Contains(b.query.Metrics, stats.BounceRate) || slices.Contains(b.query.Metrics, stats.VisitDuration)
	if !wanted || b.visitsAddUp() {
		return
	}
	b.shape = shapeVisits
	if !b.byPage() || !b.aligned || b.subDay || b.filterOnly > perVisit {
		return
	}
	for _, d := range b.groups {
		if d.scope == perRow && !d.page {
			return
		}
	}
	b.shape = shapePages
}

func (b *builder) byPage() bool {
	return slices.ContainsFunc(b.groups, func(d dimension) bool { return d.page })
}

// visitorsAddUp reports whether new_visitor may be summed: the visitor's first
// event of each day is in the range, and no group or filter parts it from the
// visitor's other events.
func (b *builder) visitorsAddUp() bool { return b.aligned && !b.subDay && b.scope == perVisitor }

// visitsAddUp reports the same for the facts of visits.
func (b *builder) visitsAddUp() bool { return b.aligned && !b.subDay && b.scope <= perVisit }

// bounds restricts a statement to one site and time, wider by some seconds at
// both ends, and to what may still be shown. It is in every SELECT.
func bounds(wider int) string {
	w := strconv.Itoa(wider)
	return "site = {site:UInt64}" +
		" AND ts >= toDateTime({from:Int64}, 'UTC') - toIntervalSecond(" + w + ")" +
		" AND ts < toDateTime({to:Int64}, 'UTC') + toIntervalSecond(" + w + ")" +
		" AND ts >= now('UTC') - toIntervalMonth({months:UInt8})"
}

// visitMargin is how far beyond the range a visit that is partly in it is
// looked at, in seconds.
const visitMargin = 86400

// source is the rows that a question is asked of.
func (b *builder) source() string {
	if b.shape != shapeVisits && !b.exit {
		return "events"
	}
	// The exit page is where a visit's chain of pages ends: each pageview adds its
	// page and takes the one before away. Times cannot tell, they are whole seconds.
	var of []string
	if b.shape == shapeVisits {
		of = append(of, "greatest(0, least(1, sum(bounce))) AS visit_bounces", "sum(duration) AS visit_seconds")
	}
	if b.exit {
		of = append(of, exitHash)
	}
	return "events INNER JOIN (SELECT visit, " + strings.Join(of, ", ") +
		" FROM events WHERE " + bounds(visitMargin) + " GROUP BY visit) AS visits USING (visit)"
}

func (b *builder) statement() (string, error) {
	var selected, order []string
	for i, d := range b.groups {
		selected = append(selected, b.shownAs(d, key(i))+" AS "+label(i))
	}
	for i, m := range b.query.Metrics {
		selected = append(selected, "CAST("+metricExpressions[m]+", 'Nullable(Float64)') AS "+metric(i))
	}
	if b.query.TotalRows {
		selected = append(selected, "count() OVER () AS rows_in_total")
	}
	order, err := b.order()
	if err != nil {
		return "", err
	}
	sql := b.totals() + "SELECT " + strings.Join(selected, ", ") + " FROM (" + b.base() + ") AS base"
	for i, d := range b.groups {
		if d.exit {
			sql += exitPages(key(i))
		}
	}
	if len(order) > 0 {
		sql += " ORDER BY " + strings.Join(order, ", ")
	}
	return sql + " LIMIT {limit:UInt64} OFFSET {offset:UInt64}", nil
}

func (b *builder) shownAs(d dimension, key string) string {
	switch {
	case d.isTime():
		return fmt.Sprintf(d.label, key)
	case d.exit:
		return b.shown(d, "exit_page")
	}
	return key
}

// totals is what a percentage is of: the visitors of all groups together.
func (b *builder) totals() string {
	if !slices.Contains(b.query.Metrics, stats.Percentage) {
		return ""
	}
	visitors := "uniq(visitor)"
	if b.aligned && b.filterOnly == perVisitor && len(b.row) == 0 {
		visitors = "sum(new_visitor)"
	}
	from := "events"
	if b.filterExit {
		from = b.source()
	}
	return "WITH (SELECT " + visitors + " FROM " + from + " WHERE " + b.where + ") AS all_visitors "
}

// order is as asked, or times ascending, then the first metric descending; then
// by every dimension, so that two pages of an answer never overlap.
func (b *builder) order() ([]string, error) {
	q := b.query
	by := slices.Clone(q.OrderBy)
	if len(by) == 0 {
		for i, d := range b.groups {
			if d.isTime() {
				by = append(by, stats.Order{By: string(q.Dimensions[i])})
			}
		}
		by = append(by, stats.Order{By: string(q.Metrics[0]), Descending: true})
	}
	for _, d := range q.Dimensions {
		by = append(by, stats.Order{By: string(d)})
	}
	if len(q.Dimensions) == 0 {
		return nil, nil // one row
	}
	var terms []string
	for _, o := range by {
		var term string
		if i := slices.Index(q.Metrics, stats.Metric(o.By)); i >= 0 {
			term = metric(i)
		} else if i := slices.Index(q.Dimensions, stats.Dimension(o.By)); i >= 0 {
			if term = key(i); b.groups[i].exit {
				term = label(i)
			}
		} else {
			return nil, fmt.Errorf("it is ordered by something it does not have: %w", stats.ErrInvalid)
		}
		if o.Descending {
			term += " DESC"
		}
		terms = append(terms, term+" NULLS LAST")
	}
	return terms, nil
}

func key(i int) string    { return "k" + strconv.Itoa(i) }
func label(i int) string  { return "l" + strconv.Itoa(i) }
func metric(i int) string { return "m" + strconv.Itoa(i) }

// seconds keeps a time within what the column can hold.
func seconds(t time.Time) int64 {
	return min(max(t.Unix(), 2*visitMargin), math.MaxUint32-2*visitMargin)
}

func limit(n int) int {
	if n <= 0 || n > maxRows {
		return maxRows
	}
	return n
}
