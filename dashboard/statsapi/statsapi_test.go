package statsapi_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfmask/halfmask/dashboard/statsapi"
	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/stats"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func moment(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func ask(t *testing.T, body, zoneName, now string) *statsapi.Question {
	t.Helper()
	r, err := statsapi.Parse([]byte(body))
	if err != nil {
		t.Fatalf("Parse(%s): %v", body, err)
	}
	q, err := r.At(&event.Site{ID: 7, Domain: "example.com", Zone: zone(t, zoneName)}, moment(t, now), 3)
	if err != nil {
		t.Fatalf("At: %v", err)
	}
	return q
}

func TestParseRefuses(t *testing.T) {
	with := func(extra string) string {
		return `{"site_id":"example.com","metrics":["visitors"],"date_range":"7d",` + extra + `}`
	}
	deep := strings.Repeat(`["not",`, 20) + `["is","event:page",["/"]]` + strings.Repeat(`]`, 20)
	tests := map[string]struct{ body, says string }{
		"nothing":            {``, "no body"},
		"half an object":     {`{"site_id":"example.com"`, "not valid JSON"},
		"no JSON":            {`{site_id}`, "not valid JSON near byte"},
		"a list":             {`[]`, "must be a JSON object"},
		"two objects":        {with(`"dimensions":[]`) + `{}`, "after the end"},
		"too large":          {with(`"filters":["` + strings.Repeat("x", statsapi.MaxBytes) + `"]`), "larger than 64 KB"},
		"unknown key":        {with(`"site":"b.com"`), `has no "site"`},
		"key in capitals":    {with(`"Filters":[]`), `has no "Filters"`},
		"key twice":          {with(`"site_id":"b.com"`), `"site_id" twice`},
		"no site":            {`{"metrics":["visitors"],"date_range":"7d"}`, "site_id is missing"},
		"null site":          {`{"site_id":null,"metrics":["visitors"],"date_range":"7d"}`, "site_id is missing"},
		"site is a number":   {`{"site_id":1,"metrics":["visitors"],"date_range":"7d"}`, "site_id must be"},
		"no metrics":         {`{"site_id":"a.b","metrics":[],"date_range":"7d"}`, "at least one of visitors"},
		"unknown metric":     {`{"site_id":"a.b","metrics":["revenue"],"date_range":"7d"}`, `no metric "revenue"`},
		"metric twice":       {`{"site_id":"a.b","metrics":["visits","visits"],"date_range":"7d"}`, "asked for twice"},
		"metric is a number": {`{"site_id":"a.b","metrics":[1],"date_range":"7d"}`, "list of names"},
		"percentage of none": {`{"site_id":"a.b","metrics":["percentage"],"date_range":"7d"}`, "needs a dimension"},
		"range":              {`{"site_id":"a.b","metrics":["visits"],"date_range":"yesterday"}`, `no date_range "yesterday"`},
		"range realtime":     {`{"site_id":"a.b","metrics":["visits"],"date_range":"realtime"}`, "no date_range"},
		"range 0d":           {`{"site_id":"a.b","metrics":["visits"],"date_range":"0d"}`, "1 to 5000 days"},
		"range 5001d":        {`{"site_id":"a.b","metrics":["visits"],"date_range":"5001d"}`, "1 to 5000 days"},
		"range -7d":          {`{"site_id":"a.b","metrics":["visits"],"date_range":"-7d"}`, "no date_range"},
		"range 101mo":        {`{"site_id":"a.b","metrics":["visits"],"date_range":"101mo"}`, "1 to 100 months"},
		"range backwards":    {`{"site_id":"a.b","metrics":["visits"],"date_range":["2026-02-02","2026-02-01"]}`, "ends before it starts"},
		"range mixed":        {`{"site_id":"a.b","metrics":["visits"],"date_range":["2026-02-02","2026-02-03T00:00:00Z"]}`, "two dates"},
		"range no offset":    {`{"site_id":"a.b","metrics":["visits"],"date_range":["2026-02-02T00:00:00","2026-02-03T00:00:00"]}`, "offset"},
		"range no such day":  {`{"site_id":"a.b","metrics":["visits"],"date_range":["2026-02-30","2026-03-03"]}`, "two dates"},
		"range of one":       {`{"site_id":"a.b","metrics":["visits"],"date_range":["2026-02-02"]}`, "not understood"},
		"range too old":      {`{"site_id":"a.b","metrics":["visits"],"date_range":["0001-01-01","2026-02-03"]}`, "1970"},
		"unknown dimension":  {with(`"dimensions":["visit:shoe_size"]`), `no dimension "visit:shoe_size"`},
		"dimension twice":    {with(`"dimensions":["visit:os","visit:os"]`), "twice"},
		"two times":          {with(`"dimensions":["time:day","time:hour"]`), "one time dimension"},
		"nameless property":  {with(`"dimensions":["event:props:"]`), "name of a property"},
		"order by absent":    {with(`"order_by":[["visits","desc"]]`), "neither among"},
		"order direction":    {with(`"order_by":[["visitors","down"]]`), "pairs"},
		"order twice":        {with(`"order_by":[["visitors","asc"],["visitors","desc"]]`), "twice"},
		"filter operator":    {with(`"filters":[["like","event:page",["/"]]]`), `no filter operator "like"`},
		"filter has_done":    {with(`"filters":[["has_done",["is","event:goal",["x"]]]]`), "has_done is not supported"},
		"filter segment":     {with(`"filters":[["is","segment",[1]]]`), "Segments are not supported"},
		"filter on time":     {with(`"filters":[["is","time:day",["2026-01-01"]]]`), "Narrow date_range"},
		"filter no values":   {with(`"filters":[["is","event:page",[]]]`), "no values"},
		"filter number":      {with(`"filters":[["is","event:page",[1]]]`), "strings"},
		"filter null":        {with(`"filters":[["is","event:page",[null]]]`), "strings"},
		"filter goal":        {with(`"filters":[["matches","event:goal",["x"]]]`), "is and contains only"},
		"filter country":     {with(`"filters":[["is","visit:country",["Germany"]]]`), "two capital letters"},
		"filter regexp":      {with(`"filters":[["matches","event:page",["("]]]`), "RE2"},
		"filter modifier":    {with(`"filters":[["is","event:page",["/"],{"fuzzy":true}]]`), `has no "fuzzy"`},
		"filter empty or":    {with(`"filters":[["or",[]]]`), "at least one filter"},
		"filter deep":        {with(`"filters":[` + deep + `]`), "nested"},
		"filter object":      {with(`"filters":{"is":1}`), "must be a list"},
		"include unknown":    {with(`"include":{"comparisons":{}}`), `has no "comparisons"`},
		"include compare":    {with(`"include":{"compare":"year_over_year"}`), "previous_period"},
		"include word":       {with(`"include":{"imports":"yes"}`), "true or false"},
		"labels of no time":  {with(`"include":{"time_labels":true}`), "needs a time dimension"},
		"limit 0":            {with(`"pagination":{"limit":0}`), "from 1 to 10000"},
		"limit 10001":        {with(`"pagination":{"limit":10001}`), "from 1 to 10000"},
		"limit 1.5":          {with(`"pagination":{"limit":1.5}`), "whole number"},
		"offset -1":          {with(`"pagination":{"offset":-1}`), "from 0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := statsapi.Parse([]byte(tt.body))
			var fault *statsapi.Error
			if !errors.As(err, &fault) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want an Error that says %q", err, tt.says)
			}
		})
	}
}

func TestParseKeepsTheFilterTree(t *testing.T) {
	q := ask(t, `{"site_id":"example.com","metrics":["visitors"],"date_range":"day","filters":[
		["is","visit:country",["DE","AT"]],
		["or",[["contains","event:page",["Blog"],{"case_sensitive":false}],["not",["matches","event:props:plan",["^pro"]]]]]]}`,
		"UTC", "2026-11-22T10:00:00Z")
	want := []stats.Filter{
		{Op: stats.Is, Dimension: stats.Country, Values: []string{"DE", "AT"}},
		{Op: stats.Or, Filters: []stats.Filter{
			{Op: stats.Contains, Dimension: stats.EventPage, Values: []string{"Blog"}, IgnoreCase: true},
			{Op: stats.Not, Filters: []stats.Filter{{Op: stats.Matches, Dimension: "event:props:plan", Values: []string{"^pro"}}}},
		}},
	}
	if diff := cmp.Diff(want, q.Query.Filters); diff != "" {
		t.Error(diff)
	}
}

func TestEveryNameOfTheVocabularyIsAccepted(t *testing.T) {
	for _, m := range []stats.Metric{stats.Visitors, stats.Visits, stats.Pageviews, stats.ViewsPerVisit,
		stats.BounceRate, stats.VisitDuration, stats.Events, stats.Percentage} {
		ask(t, `{"site_id":"example.com","metrics":["`+string(m)+`"],"date_range":"day","dimensions":["visit:source"]}`, "UTC", "2026-11-22T10:00:00Z")
	}
	for _, d := range []stats.Dimension{stats.EventGoal, stats.EventName, stats.EventPage, stats.EventHostname,
		stats.EntryPage, stats.ExitPage, stats.Source, stats.Channel, stats.Referrer, stats.UTMSource, stats.UTMMedium,
		stats.UTMCampaign, stats.UTMContent, stats.UTMTerm, stats.Device, stats.Browser, stats.BrowserVersion, stats.OS,
		stats.OSVersion, stats.Country, stats.Region, stats.City, stats.TimeMinute, stats.TimeHour, stats.TimeDay,
		stats.TimeWeek, stats.TimeMonth, "event:props:plan"} {
		q := ask(t, `{"site_id":"example.com","metrics":["visitors"],"date_range":"day","dimensions":["`+string(d)+`"]}`, "UTC", "2026-11-22T10:00:00Z")
		if q.Query.Dimensions[0] != d {
			t.Errorf("asked for %s, got %s", d, q.Query.Dimensions[0])
		}
	}
}

func TestOrder(t *testing.T) {
	tests := []struct {
		extra string
		want  []stats.Order
	}{
		{`"dimensions":["visit:os"]`, []stats.Order{{By: "visitors", Descending: true}, {By: "visit:os"}}},
		{`"dimensions":["visit:os","time"]`, []stats.Order{{By: "time:hour"}, {By: "visitors", Descending: true}, {By: "visit:os"}}},
		{`"dimensions":["time","visit:os"],"order_by":[["visit:os","desc"],["time","desc"]]`,
			[]stats.Order{{By: "visit:os", Descending: true}, {By: "time:hour", Descending: true}}},
	}
	for _, tt := range tests {
		q := ask(t, `{"site_id":"example.com","metrics":["visitors","visits"],"date_range":"day",`+tt.extra+`}`, "UTC", "2026-11-22T10:00:00Z")
		if diff := cmp.Diff(tt.want, q.Query.OrderBy); diff != "" {
			t.Error(diff)
		}
	}
}

func ptr(f float64) *float64 { return &f }

// TestAnswerShape holds what people script against: keys, their order, labels.
func TestAnswerShape(t *testing.T) {
	tests := map[string]struct {
		body             string
		result, previous *stats.Result
	}{
		"aggregate": {
			body:   `{"site_id":"example.com","metrics":["visitors","bounce_rate","views_per_visit"],"date_range":"7d"}`,
			result: &stats.Result{Rows: []stats.Row{{Metrics: []*float64{ptr(1204), ptr(41), nil}}}},
		},
		"breakdown": {
			body: `{"site_id":"example.com","metrics":["visitors","percentage"],"date_range":["2026-11-01","2026-11-02"],
				"dimensions":["visit:source","visit:country"],"filters":[["is","event:page",["/<script>"]]],
				"order_by":[["visitors","asc"]],"include":{"imports":true,"total_rows":true},"pagination":{"limit":2,"offset":4}}`,
			result: &stats.Result{Total: 6, Rows: []stats.Row{
				{Dimensions: []string{"Direct / None", "DE"}, Metrics: []*float64{ptr(3), ptr(30.5)}},
				{Dimensions: []string{"Google", "(not set)"}, Metrics: []*float64{ptr(7), ptr(69.5)}},
			}},
		},
		"series": {
			body: `{"site_id":"example.com","metrics":["visits"],"date_range":["2026-10-24T12:00:00+02:00","2026-10-25T12:00:00+01:00"],
				"dimensions":["time"],"include":{"time_labels":true}}`,
			result: &stats.Result{Rows: []stats.Row{{Dimensions: []string{"2026-10-25 02:00:00"}, Metrics: []*float64{ptr(5)}}}},
		},
		"empty": {
			body:   `{"site_id":"example.com","metrics":["visits"],"date_range":"day","dimensions":["event:page"]}`,
			result: &stats.Result{},
		},
		"compare": {
			body: `{"site_id":"example.com","metrics":["visitors","bounce_rate"],"date_range":"7d","dimensions":["event:page"],
				"include":{"compare":"previous_period"}}`,
			result: &stats.Result{Rows: []stats.Row{
				{Dimensions: []string{"/"}, Metrics: []*float64{ptr(15), ptr(40)}},
				{Dimensions: []string{"/new"}, Metrics: []*float64{ptr(9), ptr(20)}},
			}},
			previous: &stats.Result{Rows: []stats.Row{
				{Dimensions: []string{"/old"}, Metrics: []*float64{ptr(99), ptr(1)}},
				{Dimensions: []string{"/"}, Metrics: []*float64{ptr(12), ptr(50)}},
			}},
		},
		"compare_series": {
			body: `{"site_id":"example.com","metrics":["visits","bounce_rate"],"date_range":["2026-11-20","2026-11-23"],"dimensions":["time:day"],
				"include":{"compare":"previous_period"}}`,
			result: &stats.Result{Rows: []stats.Row{{Dimensions: []string{"2026-11-21"}, Metrics: []*float64{ptr(6), ptr(50)}}}},
			previous: &stats.Result{Rows: []stats.Row{
				{Dimensions: []string{"2026-11-16"}, Metrics: []*float64{ptr(4), ptr(25)}},
				{Dimensions: []string{"2026-11-17"}, Metrics: []*float64{ptr(4), ptr(25)}},
			}},
		},
		"compare_too_far_back": {
			body:   `{"site_id":"example.com","metrics":["visitors"],"date_range":"91d","include":{"compare":"previous_period"}}`,
			result: &stats.Result{Rows: []stats.Row{{Metrics: []*float64{ptr(100)}}}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := ask(t, tt.body, "Europe/Berlin", "2026-11-22T10:30:00Z")
			if (tt.previous != nil) != (q.Previous != nil) {
				t.Fatalf("a question about the previous period: %v", q.Previous != nil)
			}
			got, err := q.Answer(tt.result, tt.previous)
			if err != nil {
				t.Fatal(err)
			}
			golden := "testdata/" + name + ".json"
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"site_id":"example.com","metrics":["visitors"],"date_range":"7d"}`))
	f.Add([]byte(`{"site_id":"e","metrics":["percentage"],"date_range":["2026-03-28","2026-03-30"],"dimensions":["time:hour","visit:os"],"filters":[["or",[["is","visit:os",["'\\"],{"case_sensitive":false}],["not",["matches","event:page",["a+"]]]]]],"order_by":[["percentage","asc"]],"include":{"time_labels":true,"compare":"previous_period","imports":true,"total_rows":true},"pagination":{"limit":3,"offset":9}}`))
	f.Add([]byte(`{"site_id":"e","metrics":["visits"],"date_range":["2026-03-28T00:00:00+23:59","2026-03-30T00:00:00-12:00"],"dimensions":["time"]}`))
	f.Add([]byte(`{"site_id":"e","metrics":["visits"],"date_range":"100mo","dimensions":["time:week"],"include":{"compare":"previous_period"}}`))
	f.Add([]byte(`{"a":{"a":[[[[`))
	sites := []*event.Site{{ID: 1, Zone: time.UTC}, {ID: 2, Zone: zone(f, "America/Havana")}, {ID: 3, Zone: zone(f, "Australia/Lord_Howe")}}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := statsapi.Parse(body)
		var fault *statsapi.Error
		if err != nil {
			if !errors.As(err, &fault) || len(err.Error()) > 2000 {
				t.Fatalf("not a sentence for the asker: %v", err)
			}
			return
		}
		for _, site := range sites {
			q, err := r.At(site, time.Date(2026, 11, 1, 4, 30, 0, 0, time.UTC), 3)
			if err != nil {
				if !errors.As(err, &fault) {
					t.Fatalf("not a sentence for the asker: %v", err)
				}
				continue
			}
			if !q.Query.From.Before(q.Query.To) || len(q.Query.OrderBy) == 0 || q.Query.Limit < 1 || q.Query.Site != site.ID {
				t.Fatalf("not a question: %+v", q.Query)
			}
			if p := q.Previous; p != nil && (p.To.After(q.Query.From) || !p.From.Before(p.To)) {
				t.Fatalf("the previous period %v to %v of %v to %v", p.From, p.To, q.Query.From, q.Query.To)
			}
			row := stats.Row{Metrics: make([]*float64, len(q.Query.Metrics)), Dimensions: make([]string, len(q.Query.Dimensions))}
			answer, err := q.Answer(&stats.Result{Rows: []stats.Row{row}}, &stats.Result{Rows: []stats.Row{row}})
			if err != nil || !json.Valid(answer) {
				t.Fatalf("no answer: %v", err)
			}
		}
	})
}
