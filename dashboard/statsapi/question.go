package statsapi

import (
	"slices"
	"time"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/stats"
)

// Question is a Request at a moment for a site: what storage is asked, and
// what is needed to write the answer.
type Question struct {
	Query    stats.Query  // the period asked for
	Previous *stats.Query // the period before; nil if there is nothing to compare with

	request    *Request
	now        time.Time
	period     period
	before     period
	outOfRange bool // the previous period starts before what is kept
	ordered    bool // by the default order
	order      []stats.Order
	time       int // index of the time dimension, -1 if none
	labels     []string
	partners   map[string]string // of labels, in the previous period
}

// At decides what the request means for site at now, if events are kept for
// keptMonths. Its errors are *Error.
func (r *Request) At(site *event.Site, now time.Time, keptMonths int) (*Question, error) {
	p := r.Range.at(now, site.Zone, keptMonths)
	q := &Question{
		request: r, now: now, period: p, time: r.timeDimension(),
		Query: stats.Query{
			Site: site.ID, Zone: site.Zone, From: p.from, To: p.to,
			Metrics: r.Metrics, Dimensions: slices.Clone(r.Dimensions), Filters: r.Filters,
			Limit: r.Limit, Offset: r.Offset, TotalRows: r.Include.TotalRows,
		},
	}
	if q.time >= 0 {
		if q.Query.Dimensions[q.time] == timeAuto {
			q.Query.Dimensions[q.time] = suits(p)
		}
		var err error
		if q.labels, err = buckets(q.Query.Dimensions[q.time], p); err != nil {
			return nil, err
		}
	}
	q.resolveOrder()
	if r.Include.Compare {
		return q, q.compare(keptMonths)
	}
	return q, nil
}

// resolveOrder resolves the order: what was asked for, else the time ascending
// and the first metric descending. Storage also gets the dimensions that are
// left, so that rows that are equal do not change places between two pages.
func (q *Question) resolveOrder() {
	for _, o := range q.request.OrderBy {
		if o.By == string(timeAuto) {
			o.By = string(q.Query.Dimensions[q.time])
		}
		q.order = append(q.order, o)
	}
	if q.ordered = len(q.order) == 0; q.ordered {
		if q.time >= 0 {
			q.order = append(q.order, stats.Order{By: string(q.Query.Dimensions[q.time])})
		}
		q.order = append(q.order, stats.Order{By: string(q.Query.Metrics[0]), Descending: true})
	}
	q.Query.OrderBy = slices.Clone(q.order)
	for _, d := range q.Query.Dimensions {
		if !slices.ContainsFunc(q.order, func(o stats.Order) bool { return o.By == string(d) }) {
			q.Query.OrderBy = append(q.Query.OrderBy, stats.Order{By: string(d)})
		}
	}
}

// compare adds the question about the previous period.
func (q *Question) compare(keptMonths int) error {
	q.before = q.period.previous(q.now, q.time < 0)
	if q.before.from.Before(keptFrom(q.now, q.period.zone, keptMonths)) {
		q.outOfRange = true
		return nil
	}
	if q.time >= 0 {
		d := q.Query.Dimensions[q.time]
		previous, err := buckets(d, q.before)
		if err != nil {
			return err
		}
		q.partners = partners(d, q.period, q.before, q.labels, previous)
	}
	previous := q.Query
	previous.From, previous.To = q.before.from, q.before.to
	// The rows are found by their dimensions, not their rank.
	previous.Limit, previous.Offset, previous.TotalRows = MaxRows, 0, false
	q.Previous = &previous
	return nil
}
