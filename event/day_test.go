package event

import (
	"testing"
	"time"
)

func TestDayStart(t *testing.T) {
	for _, c := range []struct{ zone, day, want string }{
		{"UTC", "2026-11-22", "2026-11-22T00:00:00Z"},
		{"America/New_York", "2026-03-08", "2026-03-08T00:00:00-05:00"},
		{"America/New_York", "2026-11-01", "2026-11-01T00:00:00-04:00"},
		{"Asia/Kolkata", "2026-01-01", "2026-01-01T00:00:00+05:30"},
		{"Pacific/Kiritimati", "2026-01-01", "2026-01-01T00:00:00+14:00"},
		{"Pacific/Niue", "2026-01-01", "2026-01-01T00:00:00-11:00"},
		// These have no midnight on the day their clocks go forward.
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T01:00:00-02:00"},
		{"Africa/Cairo", "2025-04-25", "2025-04-25T01:00:00+03:00"},
		{"Asia/Beirut", "2025-03-30", "2025-03-30T01:00:00+03:00"},
		{"America/Havana", "2025-03-09", "2025-03-09T01:00:00-04:00"},
		// Midnight comes twice: the first one counts.
		{"America/Havana", "2025-11-02", "2025-11-02T00:00:00-04:00"},
		// A day that never was.
		{"Pacific/Apia", "2011-12-30", "2011-12-31T00:00:00+14:00"},
		{"Pacific/Apia", "2011-12-31", "2011-12-31T00:00:00+14:00"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		date, err := time.Parse(time.DateOnly, c.day)
		if err != nil {
			t.Fatal(err)
		}
		day := Day(date.Unix() / 86400)
		start := day.Start(zone)
		if got := start.Format(time.RFC3339); got != c.want {
			t.Errorf("%s starts at %s in %s, want %s", c.day, got, c.zone, c.want)
		}
		if before := DayOf(start.Add(-time.Second), zone); before >= day {
			t.Errorf("%s: the second before %s's start is on day %s", c.zone, day, before)
		}
	}
}
