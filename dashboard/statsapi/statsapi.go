// Package statsapi turns the bytes of a Stats API question into stats.Query
// and stats.Result into the bytes of its answer. The shape is Plausible's
// Stats API v2, so that what people scripted against that works here.
//
// It promises that whatever passes Parse is inside package stats' vocabulary
// and inside fixed bounds, and that what does not is refused with a sentence
// that says what to write instead. It never knows who asks, does no I/O and
// reads no clock: the present moment is an argument.
//
// # What differs from Plausible
//
// "7d", "30d" and every other range counted in days or months ends with
// today, as a dashboard wants it: "7d" is today and the six days before.
// "month", "year", "6mo" and "12mo" start on the first of a month and end with
// today as well. "all" is everything that is kept.
//
// Date-times are inclusive at both ends, to the second, as dates are.
//
// include.compare, "previous_period", is an addition. It gives each row
//
//	"comparison": {"metrics": [12, 50], "change": [25, -10]}
//
// and the query "comparison_date_range". "metrics" are the previous period's
// values of the row with the same dimensions (for a time dimension: of the
// bucket as far into its period). "change" is the change in percent,
// rounded; for bounce_rate and percentage it is the difference in points. It
// is null where there is nothing to compare with. The previous period is as
// long as the period and ends where it starts; for ranges of whole months it
// is as many calendar months. Without a time dimension it is cut off as far
// in as the present is into the period, so that a day half over is compared
// with half a day. With a time dimension alone, every bucket of the period has
// a row; the metrics of one that lies in the future are null. If the previous
// period starts before what is kept, every comparison is null and
// meta.comparison_skip_reason is "out_of_range".
package statsapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/halfmask/halfmask/stats"
)

// Bounds of a question.
const (
	MaxBytes    = 64 << 10 // of a request's body; Parse refuses more
	MaxRows     = 10_000   // of a page of an answer, and of time buckets
	maxOffset   = 10_000_000
	maxList     = 30 // metrics, dimensions, orders
	quotedBytes = 60 // of the asker's own words in an error
)

// Error is a fault of the question, in words for whoever asked it. It may
// quote the question and so must not be logged.
type Error struct{ text string }

func (e *Error) Error() string { return e.text }

func faultf(format string, args ...any) error {
	return &Error{text: fmt.Sprintf(format, args...)}
}

// quote shows a piece of the question in an error.
func quote(s string) string {
	if len(s) > quotedBytes {
		s = strings.ToValidUTF8(s[:quotedBytes], "") + "..."
	}
	return fmt.Sprintf("%q", s)
}

// Request is a question that is well formed. What it means depends on the
// site's time zone and the moment: see At.
type Request struct {
	Site       string // as written: site_id
	Metrics    []stats.Metric
	Dimensions []stats.Dimension // may hold timeAuto until At
	Range      Range
	Filters    []stats.Filter
	OrderBy    []stats.Order // empty: the default order
	Include    Include
	Limit      int
	Offset     int

	filters, include json.RawMessage // as written, to be echoed
}

// Include is what an answer should hold beside its rows.
type Include struct {
	Imports    bool
	TimeLabels bool
	TotalRows  bool
	Compare    bool
}

// Parse reads a request's body. Its errors are *Error.
func Parse(body []byte) (*Request, error) {
	if len(body) > MaxBytes {
		return nil, faultf("The query is larger than %d KB. Ask for less at once.", MaxBytes>>10)
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, faultf(`The request has no body. Send a JSON object with site_id, metrics and date_range.`)
	}
	fields, err := object(body, "the query", "site_id", "metrics", "date_range", "dimensions",
		"filters", "order_by", "include", "pagination")
	if err != nil {
		return nil, err
	}
	for _, key := range []string{"site_id", "metrics", "date_range"} {
		if _, ok := fields[key]; !ok {
			return nil, faultf("%s is missing. A query needs site_id, metrics and date_range.", key)
		}
	}
	r := &Request{Limit: MaxRows}
	steps := []struct {
		key  string
		read func(json.RawMessage) error
	}{
		{"site_id", r.readSite},
		{"date_range", r.readRange},
		{"dimensions", r.readDimensions},
		{"metrics", r.readMetrics}, // after dimensions: some metrics need one
		{"filters", r.readFilters},
		{"order_by", r.readOrder}, // after both: it names them
		{"include", r.readInclude},
		{"pagination", r.readPagination},
	}
	for _, step := range steps {
		if raw, ok := fields[step.key]; ok {
			if err := step.read(raw); err != nil {
				return nil, err
			}
		}
	}
	return r, r.check()
}

// check refuses what is well formed but has no answer.
func (r *Request) check() error {
	if r.Include.TimeLabels && r.timeDimension() < 0 {
		return faultf("include.time_labels needs a time dimension, such as time:day.")
	}
	return nil
}

// timeDimension returns the index of the time dimension, or -1.
func (r *Request) timeDimension() int {
	for i, d := range r.Dimensions {
		if isTime(d) {
			return i
		}
	}
	return -1
}

func (r *Request) readSite(raw json.RawMessage) error {
	if json.Unmarshal(raw, &r.Site) != nil || r.Site == "" {
		return faultf(`site_id must be the site's domain, such as "example.com".`)
	}
	return nil
}

func (r *Request) readInclude(raw json.RawMessage) error {
	fields, err := object(raw, "include", "imports", "time_labels", "total_rows", "compare")
	if err != nil {
		return err
	}
	r.include = raw
	for key, into := range map[string]*bool{
		"imports": &r.Include.Imports, "time_labels": &r.Include.TimeLabels, "total_rows": &r.Include.TotalRows,
	} {
		if value, ok := fields[key]; ok && json.Unmarshal(value, into) != nil {
			return faultf("include.%s must be true or false.", key)
		}
	}
	if value, ok := fields["compare"]; ok {
		var period string
		if json.Unmarshal(value, &period) != nil || period != "previous_period" {
			return faultf(`include.compare must be "previous_period".`)
		}
		r.Include.Compare = true
	}
	return nil
}

func (r *Request) readPagination(raw json.RawMessage) error {
	fields, err := object(raw, "pagination", "limit", "offset")
	if err != nil {
		return err
	}
	if value, ok := fields["limit"]; ok {
		if json.Unmarshal(value, &r.Limit) != nil || r.Limit < 1 || r.Limit > MaxRows {
			return faultf("pagination.limit must be a whole number from 1 to %d.", MaxRows)
		}
	}
	if value, ok := fields["offset"]; ok {
		if json.Unmarshal(value, &r.Offset) != nil || r.Offset < 0 || r.Offset > maxOffset {
			return faultf("pagination.offset must be a whole number from 0 to %d.", maxOffset)
		}
	}
	return nil
}
