package statsapi

import (
	"slices"
	"time"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/stats"
)

// suits returns the time bucket that fits a period on a chart.
func suits(p period) stats.Dimension {
	switch length := p.to.Sub(p.from); {
	case length <= 50*time.Hour: // two days, and an hour put back on each
		return stats.TimeHour
	case length <= 200*24*time.Hour:
		return stats.TimeDay
	default:
		return stats.TimeMonth
	}
}

// buckets returns the labels of the period's time buckets, ascending, each
// once: where a clock is put back, the hour that comes twice is one bucket.
func buckets(d stats.Dimension, p period) ([]string, error) {
	var labels []string
	add := func(label string) {
		if len(labels) == 0 || labels[len(labels)-1] < label {
			labels = append(labels, label)
		}
	}
	switch d {
	case stats.TimeMinute, stats.TimeHour:
		step, layout := time.Minute, "2006-01-02 15:04:00"
		if d == stats.TimeHour {
			step, layout = time.Hour, "2006-01-02 15:00:00"
		}
		if p.to.Sub(p.from) > MaxRows*step {
			return nil, faultf("%s makes more than %d buckets over this date_range. Use a coarser time dimension or a shorter range.", d, MaxRows)
		}
		for t := p.from; t.Before(p.to); t = t.Add(step) {
			add(t.Format(layout))
		}
		add(p.to.Add(-time.Second).Format(layout)) // the last bucket of a range that starts within one
	default:
		last := event.DayOf(p.to.Add(-time.Second), p.zone)
		for day := event.DayOf(p.from, p.zone); day <= last; day++ {
			add(dayLabel(d, day))
		}
	}
	return labels, nil
}

// dayLabel returns the label of the bucket that a day falls in.
func dayLabel(d stats.Dimension, day event.Day) string {
	t := time.Unix(int64(day)*86400, 0).UTC()
	switch d {
	case stats.TimeWeek:
		t = t.AddDate(0, 0, -(int(t.Weekday())+6)%7)
	case stats.TimeMonth:
		t = t.AddDate(0, 0, 1-t.Day())
	}
	return t.Format(time.DateOnly)
}

// partners maps the label of each bucket of a period to that of the bucket as
// far into the previous one, where there is one.
func partners(d stats.Dimension, now, before period, labels, previous []string) map[string]string {
	pairs := make(map[string]string, len(labels))
	if now.days == 0 || d == stats.TimeWeek || d == stats.TimeMonth {
		for i := range min(len(labels), len(previous)) {
			pairs[labels[i]] = previous[i]
		}
		return pairs
	}
	// By the clock on the wall, so that an hour put forward or back does not shift the rest.
	apart := int(event.DayOf(now.from, now.zone) - event.DayOf(before.from, now.zone))
	for _, label := range labels {
		layout := time.DateTime[:len(label)]
		t, err := time.Parse(layout, label)
		if err != nil {
			continue
		}
		partner := t.AddDate(0, 0, -apart).Format(layout)
		if _, found := slices.BinarySearch(previous, partner); found {
			pairs[label] = partner
		}
	}
	return pairs
}
