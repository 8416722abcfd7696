package statsapi_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfmask/halfmask/dashboard/statsapi"
	"github.com/halfmask/halfmask/event"
)

// TestRanges holds which instants a date_range covers: [from, to).
func TestRanges(t *testing.T) {
	const berlin, havana = "Europe/Berlin", "America/Havana"
	tests := []struct{ name, zone, now, dateRange, from, to string }{
		{"today", berlin, "2026-11-22T10:30:00Z", `"day"`, "2026-11-22T00:00:00+01:00", "2026-11-23T00:00:00+01:00"},
		{"today is the site's", "Asia/Tokyo", "2026-11-22T16:00:00Z", `"day"`, "2026-11-23T00:00:00+09:00", "2026-11-24T00:00:00+09:00"},
		{"24 hours", berlin, "2026-11-22T10:30:00.7Z", `"24h"`, "2026-11-21T11:30:01+01:00", "2026-11-22T11:30:01+01:00"},
		{"a week with today", berlin, "2026-11-22T10:30:00Z", `"7d"`, "2026-11-16T00:00:00+01:00", "2026-11-23T00:00:00+01:00"},
		{"a week over the end of summer", berlin, "2026-10-27T10:00:00Z", `"7d"`, "2026-10-21T00:00:00+02:00", "2026-10-28T00:00:00+01:00"},
		{"the day of 25 hours", berlin, "2026-10-25T10:00:00Z", `"day"`, "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"},
		{"the day of 23 hours", berlin, "2026-03-29T10:00:00Z", `"day"`, "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"},
		{"the day without a midnight", havana, "2026-03-08T18:00:00Z", `"day"`, "2026-03-08T01:00:00-04:00", "2026-03-09T00:00:00-04:00"},
		{"any number of days", "UTC", "2026-03-01T00:00:00Z", `"2d"`, "2026-02-28T00:00:00Z", "2026-03-02T00:00:00Z"},
		{"this month", berlin, "2026-11-22T10:30:00Z", `"month"`, "2026-11-01T00:00:00+01:00", "2026-11-23T00:00:00+01:00"},
		{"half a year", berlin, "2026-03-31T10:00:00Z", `"6mo"`, "2025-10-01T00:00:00+02:00", "2026-04-01T00:00:00+02:00"},
		{"a year of months", "UTC", "2026-11-22T10:30:00Z", `"12mo"`, "2025-12-01T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"this year", "UTC", "2026-11-22T10:30:00Z", `"year"`, "2026-01-01T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"all that is kept", "UTC", "2026-11-22T10:30:00Z", `"all"`, "2026-08-22T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"kept since a shorter month", "UTC", "2026-05-31T10:30:00Z", `"all"`, "2026-02-28T00:00:00Z", "2026-06-01T00:00:00Z"},
		{"dates", berlin, "2026-11-22T10:30:00Z", `["2026-10-24","2026-10-25"]`, "2026-10-24T00:00:00+02:00", "2026-10-26T00:00:00+01:00"},
		{"one date", berlin, "2026-11-22T10:30:00Z", `["2026-10-25","2026-10-25"]`, "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"},
		{"times", berlin, "2026-11-22T10:30:00Z", `["2026-11-20T12:00:00Z","2026-11-20T15:59:59+02:00"]`, "2026-11-20T13:00:00+01:00", "2026-11-20T15:00:00+01:00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := ask(t, `{"site_id":"example.com","metrics":["visits"],"date_range":`+tt.dateRange+`}`, tt.zone, tt.now)
			got := [2]string{q.Query.From.Format(time.RFC3339), q.Query.To.Format(time.RFC3339)}
			if want := [2]string{tt.from, tt.to}; got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// TestPreviousPeriods holds what a period is compared with.
func TestPreviousPeriods(t *testing.T) {
	const berlin = "Europe/Berlin"
	tests := []struct{ name, now, dateRange, dimensions, from, to string }{
		{"half a day with half a day", "2026-11-22T10:30:00Z", `"day"`, `[]`, "2026-11-21T00:00:00+01:00", "2026-11-21T11:30:00+01:00"},
		{"the chart of a day with a whole day", "2026-11-22T10:30:00Z", `"day"`, `["time:hour"]`, "2026-11-21T00:00:00+01:00", "2026-11-22T00:00:00+01:00"},
		{"half a day over a change of clocks", "2026-10-25T10:30:00Z", `"day"`, `[]`, "2026-10-24T00:00:00+02:00", "2026-10-24T11:30:00+02:00"},
		{"7d", "2026-11-22T10:30:00Z", `"7d"`, `[]`, "2026-11-09T00:00:00+01:00", "2026-11-15T11:30:00+01:00"},
		{"24h", "2026-11-22T10:30:00Z", `"24h"`, `[]`, "2026-11-20T11:30:01+01:00", "2026-11-21T11:30:01+01:00"},
		{"a running month", "2026-11-22T10:30:00Z", `"month"`, `["event:page"]`, "2026-10-01T00:00:00+02:00", "2026-10-22T11:30:00+02:00"},
		{"a running month's chart", "2026-11-22T10:30:00Z", `"month"`, `["time:day"]`, "2026-10-01T00:00:00+02:00", "2026-10-23T00:00:00+02:00"},
		{"a month longer than the one before", "2026-03-31T10:30:00Z", `"month"`, `[]`, "2026-02-01T00:00:00+01:00", "2026-03-01T00:00:00+01:00"},
		{"past dates", "2026-11-22T10:30:00Z", `["2026-11-10","2026-11-12"]`, `[]`, "2026-11-07T00:00:00+01:00", "2026-11-10T00:00:00+01:00"},
		{"times", "2026-11-22T10:30:00Z", `["2026-11-20T12:00:00Z","2026-11-20T12:59:59Z"]`, `[]`, "2026-11-20T12:00:00+01:00", "2026-11-20T13:00:00+01:00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := ask(t, `{"site_id":"example.com","metrics":["visits"],"date_range":`+tt.dateRange+`,"dimensions":`+tt.dimensions+
				`,"include":{"compare":"previous_period"}}`, berlin, tt.now)
			if q.Previous == nil {
				t.Fatal("nothing to compare with")
			}
			got := [2]string{q.Previous.From.Format(time.RFC3339), q.Previous.To.Format(time.RFC3339)}
			if want := [2]string{tt.from, tt.to}; got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// TestTimeLabels holds the names of time buckets where clocks change.
func TestTimeLabels(t *testing.T) {
	tests := []struct {
		name, zone, dateRange, dimension string
		count                            int
		first, last                      string
	}{
		{"hours of a day", "Europe/Berlin", `["2026-11-20","2026-11-20"]`, "time:hour", 24, "2026-11-20 00:00:00", "2026-11-20 23:00:00"},
		{"an hour that does not exist", "Europe/Berlin", `["2026-03-29","2026-03-29"]`, "time:hour", 23, "2026-03-29 00:00:00", "2026-03-29 23:00:00"},
		{"an hour that comes twice", "Europe/Berlin", `["2026-10-25","2026-10-25"]`, "time:hour", 24, "2026-10-25 00:00:00", "2026-10-25 23:00:00"},
		{"half an hour that comes twice", "Australia/Lord_Howe", `["2026-04-05","2026-04-05"]`, "time:hour", 24, "2026-04-05 00:00:00", "2026-04-05 23:00:00"},
		{"a day that starts at one", "America/Havana", `["2026-03-08","2026-03-08"]`, "time:hour", 23, "2026-03-08 01:00:00", "2026-03-08 23:00:00"},
		{"minutes", "UTC", `["2026-11-20T10:00:30Z","2026-11-20T10:02:10Z"]`, "time:minute", 3, "2026-11-20 10:00:00", "2026-11-20 10:02:00"},
		{"hours cut at both ends", "UTC", `["2026-11-20T10:50:00Z","2026-11-20T12:10:00Z"]`, "time:hour", 3, "2026-11-20 10:00:00", "2026-11-20 12:00:00"},
		{"days over a change of clocks", "Europe/Berlin", `["2026-10-23","2026-10-27"]`, "time:day", 5, "2026-10-23", "2026-10-27"},
		{"weeks start on Monday", "UTC", `["2026-11-01","2026-11-30"]`, "time:week", 6, "2026-10-26", "2026-11-30"},
		{"months", "UTC", `["2026-09-30","2026-11-01"]`, "time:month", 3, "2026-09-01", "2026-11-01"},
		{"what suits a day", "UTC", `["2026-11-01","2026-11-01"]`, "time", 24, "2026-11-01 00:00:00", "2026-11-01 23:00:00"},
		{"what suits a month", "UTC", `["2026-11-01","2026-11-30"]`, "time", 30, "2026-11-01", "2026-11-30"},
		{"what suits a year", "UTC", `["2025-12-01","2026-11-30"]`, "time", 12, "2025-12-01", "2026-11-01"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			labels := timeLabels(t, ask(t, `{"site_id":"example.com","metrics":["visits"],"date_range":`+tt.dateRange+
				`,"dimensions":["`+tt.dimension+`"],"include":{"time_labels":true}}`, tt.zone, "2026-11-22T10:30:00Z"))
			if len(labels) != tt.count || labels[0] != tt.first || labels[len(labels)-1] != tt.last {
				t.Errorf("got %d labels %v", len(labels), labels)
			}
		})
	}
}

func TestTooManyBucketsAreRefused(t *testing.T) {
	r, err := statsapi.Parse([]byte(`{"site_id":"example.com","metrics":["visits"],"date_range":"30d","dimensions":["time:minute"]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.At(&event.Site{Zone: time.UTC}, moment(t, "2026-11-22T10:30:00Z"), 3); err == nil {
		t.Error("43,200 buckets were not refused")
	}
}

// TestComparedHours holds that an hour is compared with the same hour on the
// wall, also on days whose clock was changed.
func TestComparedHours(t *testing.T) {
	q := ask(t, `{"site_id":"example.com","metrics":["visits"],"date_range":["2026-10-25","2026-10-25"],
		"dimensions":["time:hour"],"include":{"compare":"previous_period"}}`, "Europe/Berlin", "2026-11-22T10:30:00Z")
	got := compared(t, q, hourRows("2026-10-25"), hourRows("2026-10-24"))
	for hour, value := range got {
		if value == nil || *value != float64(hour) {
			t.Errorf("hour %d is compared with %v", hour, value)
		}
	}
	if diff := cmp.Diff(24, len(got)); diff != "" {
		t.Error(diff)
	}

	// The day before had no hour from two to three.
	q = ask(t, `{"site_id":"example.com","metrics":["visits"],"date_range":["2026-03-30","2026-03-30"],
		"dimensions":["time:hour"],"include":{"compare":"previous_period"}}`, "Europe/Berlin", "2026-04-22T10:30:00Z")
	got = compared(t, q, hourRows("2026-03-30"), hourRows("2026-03-29"))
	if got[2] != nil || got[3] == nil || *got[3] != 3 {
		t.Errorf("hours two and three are compared with %v and %v", got[2], got[3])
	}
}
