package storage

import (
	"context"
	"fmt"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/stats"
)

const (
	// maxRows is the most rows that an answer can have.
	maxRows = 10_000
	// liveWindow is how long a visitor counts as being there.
	liveWindow = 5 * time.Minute
)

// Query answers a question over the read-only connection. What the numbers
// mean is told in metric.go. An answer has at most 10,000 rows, whatever the
// limit. A question that makes no sense is stats.ErrInvalid.
func (s *Store) Query(ctx context.Context, q *stats.Query) (*stats.Result, error) {
	st, err := s.build(q)
	if err != nil {
		return nil, fmt.Errorf("cannot ask this question: %w", err)
	}
	result, err := s.answer(ctx, q, st)
	if err == nil && q.TotalRows && len(result.Rows) == 0 && q.Offset > 0 {
		// Nothing is left behind the offset to carry the total.
		first := *q
		first.Offset, first.Limit = 0, 1
		var counted *stats.Result
		if counted, err = s.Query(ctx, &first); err == nil {
			result.Total = counted.Total
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot answer: %w", err)
	}
	return result, nil
}

func (s *Store) answer(ctx context.Context, q *stats.Query, st statement) (*stats.Result, error) {
	result := &stats.Result{}
	err := s.selectRows(ctx, s.reader, st, func(scan scanner) error {
		row := stats.Row{
			Dimensions: make([]string, len(q.Dimensions)),
			Metrics:    make([]*float64, len(q.Metrics)),
		}
		var total uint64
		dest := make([]any, 0, len(row.Dimensions)+len(row.Metrics)+1)
		for i := range row.Dimensions {
			dest = append(dest, &row.Dimensions[i])
		}
		for i := range row.Metrics {
			dest = append(dest, &row.Metrics[i])
		}
		if q.TotalRows {
			dest = append(dest, &total)
		}
		if err := scan(dest...); err != nil {
			return err
		}
		result.Total = int(total)
		result.Rows = append(result.Rows, row)
		return nil
	})
	return result, err
}

// Live counts distinct visitors of the last five minutes, readers included.
func (s *Store) Live(ctx context.Context, site event.SiteID) (int, error) {
	var n uint64
	err := s.selectRows(ctx, s.reader, statement{name: "Live", sql: sqlText("Live"), args: []any{
		clickhouse.Named("site", uint64(site)),
		clickhouse.Named("since", time.Now().Add(-liveWindow).Unix()),
		clickhouse.Named("months", uint8(s.options.RetentionMonths)),
	}}, func(scan scanner) error { return scan(&n) })
	if err != nil {
		return 0, fmt.Errorf("cannot count present visitors: %w", err)
	}
	return int(n), nil
}
