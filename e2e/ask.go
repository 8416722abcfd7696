package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// client is for the tests' own requests; nothing it asks takes longer.
var client = &http.Client{Timeout: patience}

// Question is the body of POST /api/v2/query.
type Question struct {
	Site       string   `json:"site_id"`
	Metrics    []string `json:"metrics"`
	DateRange  any      `json:"date_range"` // default: "7d", so that no test minds midnight
	Dimensions []string `json:"dimensions,omitempty"`
	Filters    []any    `json:"filters,omitempty"`

	OrderBy    [][2]string `json:"order_by,omitempty"`
	Pagination *Pagination `json:"pagination,omitempty"`
}

// Pagination asks for a part of the results.
type Pagination struct {
	Limit  int `json:"limit"`
	Offset int `json:"offset"`
}

// Row is one result of a Question; a ratio of nothing is nil.
type Row struct {
	Dimensions []string   `json:"dimensions"`
	Metrics    []*float64 `json:"metrics"`
}

// Query asks the Stats API.
func (s *Server) Query(t testing.TB, token string, q Question) []Row {
	t.Helper()
	if q.DateRange == nil {
		q.DateRange = "7d"
	}
	body, err := json.Marshal(q)
	if err != nil {
		t.Fatalf("cannot encode the question: %v", err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Dashboard+"/api/v2/query", bytes.NewReader(body))
	if err != nil {
		t.Fatalf("cannot make the request: %v", err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("cannot ask the Stats API: %v", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("cannot read the Stats API's answer: %v", err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the Stats API answers %d to %s: %s", response.StatusCode, body, answer)
	}
	var decoded struct {
		Results []Row `json:"results"`
	}
	if err := json.Unmarshal(answer, &decoded); err != nil {
		t.Fatalf("cannot understand the Stats API: %v: %s", err, answer)
	}
	return decoded.Results
}

// Totals asks for metrics of a site, in the order given. Ratios of
// nothing are 0.
func (s *Server) Totals(t testing.TB, token, site string, metrics ...string) []float64 {
	t.Helper()
	totals := make([]float64, len(metrics))
	for _, row := range s.Query(t, token, Question{Site: site, Metrics: metrics}) {
		for i, value := range row.Metrics {
			if value != nil {
				totals[i] = *value
			}
		}
	}
	return totals
}

// ByDimension asks for one metric by one dimension, all of it.
func (s *Server) ByDimension(t testing.TB, token, site, metric, dimension string) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for page := (Pagination{Limit: 10000}); ; page.Offset += page.Limit {
		rows := s.Query(t, token, Question{
			Site: site, Metrics: []string{metric}, Dimensions: []string{dimension},
			OrderBy: [][2]string{{dimension, "asc"}}, Pagination: &page,
		})
		for _, row := range rows {
			values[row.Dimensions[0]] = *row.Metrics[0]
		}
		if len(rows) < page.Limit {
			return values
		}
	}
}

// Metrics is one scrape of /metrics.
type Metrics map[string]*dto.MetricFamily

// Metrics scrapes the server.
func (s *Server) Metrics(t testing.TB) Metrics {
	t.Helper()
	response, err := client.Get(s.Operations + "/metrics")
	if err != nil {
		t.Fatalf("cannot scrape the metrics: %v", err)
	}
	defer func() { _ = response.Body.Close() }()
	m, err := ParseMetrics(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// ParseMetrics reads a scrape.
func ParseMetrics(r io.Reader) (Metrics, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(r)
	if err != nil {
		return nil, fmt.Errorf("cannot understand the metrics: %w", err)
	}
	return families, nil
}

// Value sums the family's counters and gauges, and the counts of its
// histograms, over the label pairs given as name, value, name, value. A family
// that is not there is 0.
func (m Metrics) Value(name string, labels ...string) float64 {
	var sum float64
	for _, metric := range m[name].GetMetric() {
		if matches(metric, labels) {
			sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

func matches(metric *dto.Metric, labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		found := false
		for _, pair := range metric.GetLabel() {
			found = found || pair.GetName() == labels[i] && pair.GetValue() == labels[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}

// StorageUp waits until storage answers and has told which visits were going on:
// after a start the door may open before.
func (s *Server) StorageUp(t testing.TB) {
	t.Helper()
	Eventually(t, "storage answers", func() bool {
		response, err := client.Get(s.Operations + "/readyz")
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		return err == nil && bytes.Contains(text, []byte(`"storage":"ok"`))
	})
}

// Eventually waits until yes is true.
func Eventually(t testing.TB, what string, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !yes(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
