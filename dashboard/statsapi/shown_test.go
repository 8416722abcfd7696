package statsapi_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/halfmask/halfmask/dashboard/statsapi"
	"github.com/halfmask/halfmask/stats"
)

type shown struct {
	Results []struct {
		Comparison struct {
			Metrics []*float64 `json:"metrics"`
		} `json:"comparison"`
	} `json:"results"`
	Meta struct {
		TimeLabels []string `json:"time_labels"`
	} `json:"meta"`
}

func show(t *testing.T, q *statsapi.Question, result, previous *stats.Result) shown {
	t.Helper()
	answer, err := q.Answer(result, previous)
	if err != nil {
		t.Fatal(err)
	}
	var s shown
	if err := json.Unmarshal(answer, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func timeLabels(t *testing.T, q *statsapi.Question) []string {
	t.Helper()
	return show(t, q, &stats.Result{}, nil).Meta.TimeLabels
}

// hourRows is a day whose every hour has as many visits as its number.
func hourRows(date string) *stats.Result {
	var r stats.Result
	for hour := range 24 {
		r.Rows = append(r.Rows, stats.Row{Dimensions: []string{fmt.Sprintf("%s %02d:00:00", date, hour)}, Metrics: []*float64{ptr(float64(hour))}})
	}
	return &r
}

func compared(t *testing.T, q *statsapi.Question, result, previous *stats.Result) []*float64 {
	t.Helper()
	var values []*float64
	for _, row := range show(t, q, result, previous).Results {
		values = append(values, row.Comparison.Metrics[0])
	}
	return values
}
