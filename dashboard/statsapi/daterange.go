package statsapi

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/halfmask/halfmask/event"
)

const (
	maxDays   = 5000
	maxMonths = 100
)

// Range is a date_range as written. What it covers depends on a time zone and
// a moment.
type Range struct {
	unit     unit
	count    int          // of units, for days and months
	days     [2]event.Day // both inclusive, for dates
	instants [2]time.Time // both inclusive, for times
}

type unit uint8

const (
	days    unit = iota + 1 // today and the days before it
	months                  // this month and those before it
	year                    // since the first of January
	rolling                 // the last 24 hours
	all                     // everything that is kept
	dates                   // from a date to a date
	times                   // from an instant to an instant
)

const rangeHelp = `Use "day", "24h", "7d", "28d", "30d", "91d", "month", "6mo", "12mo", "year", "all", any "Nd" or "Nmo", or two dates such as ["2026-01-01", "2026-01-31"].`

func (r *Request) readRange(raw json.RawMessage) error {
	var err error
	if name, ok := stringIn(raw); ok {
		r.Range, err = namedRange(name)
		return err
	}
	var ends []string
	if json.Unmarshal(raw, &ends) != nil || len(ends) != 2 {
		return faultf("date_range is not understood. %s", rangeHelp)
	}
	r.Range, err = givenRange(ends[0], ends[1])
	return err
}

func namedRange(name string) (Range, error) {
	switch name {
	case "day":
		return Range{unit: days, count: 1}, nil
	case "24h":
		return Range{unit: rolling}, nil
	case "month":
		return Range{unit: months, count: 1}, nil
	case "year":
		return Range{unit: year}, nil
	case "all":
		return Range{unit: all}, nil
	}
	if n, ok := countBefore(name, "mo"); ok {
		if n < 1 || n > maxMonths {
			return Range{}, faultf("date_range can be 1 to %d months.", maxMonths)
		}
		return Range{unit: months, count: n}, nil
	}
	if n, ok := countBefore(name, "d"); ok {
		if n < 1 || n > maxDays {
			return Range{}, faultf("date_range can be 1 to %d days.", maxDays)
		}
		return Range{unit: days, count: n}, nil
	}
	return Range{}, faultf("There is no date_range %s. %s", quote(name), rangeHelp)
}

// countBefore reads "30" from "30d".
func countBefore(name, suffix string) (int, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

func givenRange(from, to string) (Range, error) {
	first, err1 := time.Parse(time.DateOnly, from)
	last, err2 := time.Parse(time.DateOnly, to)
	if err1 == nil && err2 == nil {
		r := Range{unit: dates, days: [2]event.Day{event.DayOf(first, time.UTC), event.DayOf(last, time.UTC)}}
		return r, checkEnds(first, last)
	}
	first, err1 = time.Parse(time.RFC3339, from)
	last, err2 = time.Parse(time.RFC3339, to)
	if err1 != nil || err2 != nil {
		return Range{}, faultf(`date_range needs two dates such as "2026-01-31" or two date-times with an offset such as "2026-01-31T12:00:00+01:00".`)
	}
	r := Range{unit: times, instants: [2]time.Time{first.Truncate(time.Second), last.Truncate(time.Second)}}
	return r, checkEnds(first, last)
}

func checkEnds(first, last time.Time) error {
	if last.Before(first) {
		return faultf("date_range ends before it starts. Write the earlier end first.")
	}
	if first.Year() < 1970 || last.Year() > 2199 {
		return faultf("date_range must lie between the years 1970 and 2199.")
	}
	if last.Sub(first) > maxDays*24*time.Hour {
		return faultf("date_range can be %d days long at most.", maxDays)
	}
	return nil
}

// period is a Range at a moment in a zone: [from, to).
type period struct {
	from, to time.Time
	zone     *time.Location
	months   int // whole calendar months from from; 0: counted in days or seconds
	days     int // whole days; 0: counted in seconds
}

// keptFrom is the first instant of what is kept for a number of months.
func keptFrom(now time.Time, zone *time.Location, months int) time.Time {
	t := now.In(zone)
	first := time.Date(t.Year(), t.Month()-time.Month(months), 1, 0, 0, 0, 0, time.UTC)
	last := first.AddDate(0, 1, -1).Day()
	return event.DayOf(first.AddDate(0, 0, min(t.Day(), last)-1), time.UTC).Start(zone)
}

func (r Range) at(now time.Time, zone *time.Location, keptMonths int) period {
	now = now.In(zone).Truncate(time.Second)
	today := event.DayOf(now, zone)
	switch r.unit {
	case rolling:
		return period{from: now.Add(time.Second - 24*time.Hour), to: now.Add(time.Second), zone: zone}
	case times:
		return period{from: r.instants[0].In(zone), to: r.instants[1].Add(time.Second).In(zone), zone: zone}
	case months:
		first := event.DayOf(time.Date(now.Year(), now.Month()-time.Month(r.count-1), 1, 0, 0, 0, 0, time.UTC), time.UTC)
		return wholeDays(first, today, zone, r.count)
	case year:
		first := event.DayOf(time.Date(now.Year(), 1, 1, 0, 0, 0, 0, time.UTC), time.UTC)
		return wholeDays(first, today, zone, 12)
	case all:
		return wholeDays(event.DayOf(keptFrom(now, zone, keptMonths), zone), today, zone, 0)
	case dates:
		return wholeDays(r.days[0], r.days[1], zone, 0)
	default:
		return wholeDays(today-event.Day(r.count-1), today, zone, 0)
	}
}

func wholeDays(first, last event.Day, zone *time.Location, months int) period {
	return period{
		from: first.Start(zone), to: (last + 1).Start(zone), zone: zone,
		months: months, days: int(last-first) + 1,
	}
}

// previous is the period before p, never longer than p. If cut, it ends as
// far in as now is into p.
func (p period) previous(now time.Time, cut bool) period {
	now = now.In(p.zone).Truncate(time.Second)
	running := cut && now.After(p.from) && now.Add(time.Second).Before(p.to)
	if p.days == 0 {
		length := p.to.Sub(p.from)
		q := period{from: p.from.Add(-length), to: p.from, zone: p.zone}
		if running {
			q.to = q.from.Add(now.Sub(p.from))
		}
		return q
	}
	start := event.DayOf(p.from, p.zone)
	first := start - event.Day(p.days)
	if p.months > 0 {
		y, m, _ := p.from.Date()
		first = event.DayOf(time.Date(y, m-time.Month(p.months), 1, 0, 0, 0, 0, time.UTC), time.UTC)
	}
	q := wholeDays(first, min(first+event.Day(p.days), start)-1, p.zone, p.months)
	if running {
		shift := int(event.DayOf(now, p.zone)) - int(start) + int(first)
		day := time.Unix(int64(shift)*86400, 0).UTC()
		at := time.Date(day.Year(), day.Month(), day.Day(), now.Hour(), now.Minute(), now.Second(), 0, p.zone)
		if at.Before(q.to) && at.After(q.from) {
			q.to = at
		}
	}
	return q
}

// stamps returns the period's ends as an answer shows them: both inclusive,
// to the second, in the site's zone.
func (p period) stamps() *[2]string {
	return &[2]string{p.from.Format(time.RFC3339), p.to.Add(-time.Second).Format(time.RFC3339)}
}
