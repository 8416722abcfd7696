package statsapi

import (
	"bytes"
	"encoding/json"

	"github.com/halfmask/halfmask/stats"
)

// answer is what goes over the wire. The order of the fields is documented.
type answer struct {
	Results []row `json:"results"`
	Meta    meta  `json:"meta"`
	Query   echo  `json:"query"`
}

type row struct {
	Metrics    []*float64  `json:"metrics"`
	Dimensions []string    `json:"dimensions"`
	Comparison *comparison `json:"comparison,omitempty"`
}

type meta struct {
	ImportsIncluded      *bool    `json:"imports_included,omitempty"`
	ImportsSkipReason    string   `json:"imports_skip_reason,omitempty"`
	TimeLabels           []string `json:"time_labels,omitempty"`
	TotalRows            *int     `json:"total_rows,omitempty"`
	ComparisonSkipReason string   `json:"comparison_skip_reason,omitempty"`
}

// echo is the query as it was understood.
type echo struct {
	Site       string            `json:"site_id"`
	Metrics    []stats.Metric    `json:"metrics"`
	Range      *[2]string        `json:"date_range"`
	Filters    json.RawMessage   `json:"filters"`
	Dimensions []stats.Dimension `json:"dimensions"`
	OrderBy    [][2]string       `json:"order_by"`
	Include    json.RawMessage   `json:"include"`
	Pagination pagination        `json:"pagination"`
	Comparison *[2]string        `json:"comparison_date_range,omitempty"`
}

type pagination struct {
	Limit  int `json:"limit"`
	Offset int `json:"offset"`
}

// Answer encodes storage's results as the API answers them. previous answers
// q.Previous and is nil if that is.
func (q *Question) Answer(result, previous *stats.Result) ([]byte, error) {
	a := answer{Results: q.rows(result, previous), Meta: q.meta(result), Query: q.echo()}
	var out bytes.Buffer
	if err := json.NewEncoder(&out).Encode(a); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (q *Question) rows(result, previous *stats.Result) []row {
	rows := make([]row, 0, len(result.Rows))
	for _, r := range result.Rows {
		rows = append(rows, row{Metrics: r.Metrics, Dimensions: r.Dimensions})
	}
	if q.request.Include.Compare {
		rows = q.withEmptyBuckets(rows)
		q.addComparisons(rows, previous)
	}
	for i := range rows {
		if rows[i].Dimensions == nil {
			rows[i].Dimensions = []string{}
		}
	}
	return rows
}

func (q *Question) meta(result *stats.Result) meta {
	var m meta
	include := q.request.Include
	if include.Imports {
		m.ImportsIncluded, m.ImportsSkipReason = new(bool), "no_imported_data"
	}
	if include.TimeLabels {
		m.TimeLabels = q.labels
	}
	if include.TotalRows {
		m.TotalRows = &result.Total
	}
	if q.outOfRange {
		m.ComparisonSkipReason = "out_of_range"
	}
	return m
}

func (q *Question) echo() echo {
	e := echo{
		Site: q.request.Site, Metrics: q.Query.Metrics, Range: q.period.stamps(),
		Filters: q.request.filters, Dimensions: q.Query.Dimensions, OrderBy: [][2]string{},
		Include: q.request.include, Pagination: pagination{q.Query.Limit, q.Query.Offset},
	}
	if e.Filters == nil {
		e.Filters = json.RawMessage("[]")
	}
	if e.Include == nil {
		e.Include = json.RawMessage("{}")
	}
	if e.Dimensions == nil {
		e.Dimensions = []stats.Dimension{}
	}
	for _, o := range q.order {
		direction := "asc"
		if o.Descending {
			direction = "desc"
		}
		e.OrderBy = append(e.OrderBy, [2]string{o.By, direction})
	}
	if q.request.Include.Compare {
		e.Comparison = q.before.stamps()
	}
	return e
}
