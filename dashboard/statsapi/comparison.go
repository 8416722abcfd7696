package statsapi

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/stats"
)

// comparison is a row's previous period.
type comparison struct {
	Metrics []*float64 `json:"metrics"`
	Change  []*float64 `json:"change"`
}

// withEmptyBuckets adds the buckets that have no row, if rows are the buckets
// of a chart: those of the previous period need something to stand beside.
func (q *Question) withEmptyBuckets(rows []row) []row {
	if q.time < 0 || len(q.Query.Dimensions) != 1 || !q.ordered || q.Query.Offset != 0 || len(q.labels) > q.Query.Limit {
		return rows
	}
	found := make(map[string]row, len(rows))
	for _, r := range rows {
		found[r.Dimensions[0]] = r
	}
	present := q.presentBucket()
	every := make([]row, 0, len(q.labels))
	for _, label := range q.labels {
		r, ok := found[label]
		if !ok {
			r = row{Dimensions: []string{label}, Metrics: make([]*float64, len(q.Query.Metrics))}
			if label <= present {
				r.Metrics = q.nothing()
			}
		}
		every = append(every, r)
	}
	return every
}

// presentBucket returns the label of the bucket that the present falls in.
func (q *Question) presentBucket() string {
	now := q.now.In(q.Query.Zone)
	switch d := q.Query.Dimensions[q.time]; d {
	case stats.TimeMinute, stats.TimeHour:
		return now.Format(time.DateTime)
	default:
		return dayLabel(d, event.DayOf(now, q.Query.Zone))
	}
}

// nothing returns the metrics of nothing counted.
func (q *Question) nothing() []*float64 {
	metrics := make([]*float64, len(q.Query.Metrics))
	for i, m := range q.Query.Metrics {
		if !isRatio(m) {
			metrics[i] = new(float64)
		}
	}
	return metrics
}

// addComparisons gives each row the previous period's row with the same
// dimensions.
func (q *Question) addComparisons(rows []row, previous *stats.Result) {
	unknown := make([]*float64, len(q.Query.Metrics))
	before := make(map[string][]*float64)
	if previous != nil {
		for _, r := range previous.Rows {
			before[strings.Join(r.Dimensions, "\x00")] = r.Metrics
		}
	}
	complete := previous != nil && len(previous.Rows) < MaxRows
	for i := range rows {
		key, ok := q.previousKey(rows[i].Dimensions)
		metrics := before[key]
		switch {
		case !ok || metrics == nil && !complete:
			metrics = unknown
		case metrics == nil:
			metrics = q.nothing()
		}
		rows[i].Comparison = q.against(rows[i].Metrics, metrics)
	}
}

// previousKey returns what a row is called in the previous period; false if
// that has no such bucket.
func (q *Question) previousKey(dimensions []string) (string, bool) {
	if q.time < 0 {
		return strings.Join(dimensions, "\x00"), true
	}
	partner, ok := q.partners[dimensions[q.time]]
	renamed := slices.Clone(dimensions)
	renamed[q.time] = partner
	return strings.Join(renamed, "\x00"), ok
}

func (q *Question) against(now, before []*float64) *comparison {
	c := &comparison{Metrics: before, Change: make([]*float64, len(now))}
	for i, m := range q.Query.Metrics {
		c.Change[i] = change(m, now[i], before[i])
	}
	return c
}

// change returns by how much a metric grew: in percent, for metrics that are
// percentages in points. Growth from nothing has no number.
func change(m stats.Metric, now, before *float64) *float64 {
	if now == nil || before == nil {
		return nil
	}
	var by float64
	switch {
	case m == stats.BounceRate || m == stats.Percentage:
		by = math.Round((*now-*before)*10) / 10
	case *before != 0:
		by = math.Round((*now - *before) / *before * 100)
	case *now != 0:
		return nil
	}
	return &by
}
