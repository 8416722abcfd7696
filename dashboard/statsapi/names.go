package statsapi

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/halfmask/halfmask/stats"
)

// timeAuto is the dimension "time": the bucket that suits the range.
const timeAuto stats.Dimension = "time"

// maxPropName is the longest name of a custom property, in bytes, that the
// door accepts.
const maxPropName = 300

// metrics lists every metric that can be asked for.
var metrics = []stats.Metric{
	stats.Visitors, stats.Visits, stats.Pageviews, stats.ViewsPerVisit,
	stats.BounceRate, stats.VisitDuration, stats.Events, stats.Percentage,
}

// dimensions lists every dimension that can be asked for, custom properties
// aside.
var dimensions = []stats.Dimension{
	stats.EventGoal, stats.EventName, stats.EventPage, stats.EventHostname,
	stats.EntryPage, stats.ExitPage, stats.Source, stats.Channel, stats.Referrer,
	stats.UTMSource, stats.UTMMedium, stats.UTMCampaign, stats.UTMContent, stats.UTMTerm,
	stats.Device, stats.Browser, stats.BrowserVersion, stats.OS, stats.OSVersion,
	stats.Country, stats.Region, stats.City,
	timeAuto, stats.TimeMinute, stats.TimeHour, stats.TimeDay, stats.TimeWeek, stats.TimeMonth,
}

func isTime(d stats.Dimension) bool {
	return d == timeAuto || strings.HasPrefix(string(d), "time:")
}

// isRatio reports whether a metric is a quotient: nothing counted makes it
// null, not 0.
func isRatio(m stats.Metric) bool {
	switch m {
	case stats.ViewsPerVisit, stats.BounceRate, stats.VisitDuration, stats.Percentage:
		return true
	}
	return false
}

func names[T ~string](all []T) string {
	s := make([]string, len(all))
	for i, name := range all {
		s[i] = string(name)
	}
	return strings.Join(s, ", ")
}

func (r *Request) readMetrics(raw json.RawMessage) error {
	items, err := list(raw, "metrics", maxList)
	if err != nil {
		return err
	}
	if len(items) == 0 {
		return faultf("metrics must name at least one of %s.", names(metrics))
	}
	for _, item := range items {
		name, ok := stringIn(item)
		if !ok {
			return faultf("metrics must be a list of names, such as [\"visitors\"].")
		}
		m := stats.Metric(name)
		if !slices.Contains(metrics, m) {
			return faultf("There is no metric %s. Ask for %s.", quote(name), names(metrics))
		}
		if slices.Contains(r.Metrics, m) {
			return faultf("The metric %s is asked for twice. Name it once.", m)
		}
		if m == stats.Percentage && len(r.Dimensions) == 0 {
			return faultf("The metric percentage needs a dimension to be a percentage of the whole.")
		}
		r.Metrics = append(r.Metrics, m)
	}
	return nil
}

func (r *Request) readDimensions(raw json.RawMessage) error {
	items, err := list(raw, "dimensions", maxList)
	if err != nil {
		return err
	}
	for _, item := range items {
		name, ok := stringIn(item)
		if !ok {
			return faultf("dimensions must be a list of names, such as [\"event:page\"].")
		}
		d, err := dimension(name)
		if err != nil {
			return err
		}
		if slices.Contains(r.Dimensions, d) {
			return faultf("The dimension %s is asked for twice. Name it once.", quote(name))
		}
		if isTime(d) && r.timeDimension() >= 0 {
			return faultf("A query can have one time dimension.")
		}
		r.Dimensions = append(r.Dimensions, d)
	}
	return nil
}

// dimension checks a dimension's name.
func dimension(name string) (stats.Dimension, error) {
	if prop, ok := strings.CutPrefix(name, stats.PropsPrefix); ok {
		if prop == "" || len(prop) > maxPropName {
			return "", faultf("The name of a property has 1 to %d bytes, as in event:props:plan.", maxPropName)
		}
		return stats.Dimension(name), nil
	}
	d := stats.Dimension(name)
	if !slices.Contains(dimensions, d) {
		return "", faultf("There is no dimension %s. Use %s or event:props:NAME.", quote(name), names(dimensions))
	}
	return d, nil
}

func (r *Request) readOrder(raw json.RawMessage) error {
	items, err := list(raw, "order_by", maxList)
	if err != nil {
		return err
	}
	for _, item := range items {
		var pair []string
		if json.Unmarshal(item, &pair) != nil || len(pair) != 2 || (pair[1] != "asc" && pair[1] != "desc") {
			return faultf(`order_by must be a list of pairs such as ["visitors", "desc"].`)
		}
		by := pair[0]
		if !slices.Contains(r.Metrics, stats.Metric(by)) && !slices.Contains(r.Dimensions, stats.Dimension(by)) {
			return faultf("order_by names %s, which is neither among the query's metrics nor its dimensions.", quote(by))
		}
		if slices.ContainsFunc(r.OrderBy, func(o stats.Order) bool { return o.By == by }) {
			return faultf("order_by names %s twice. Name it once.", quote(by))
		}
		r.OrderBy = append(r.OrderBy, stats.Order{By: by, Descending: pair[1] == "desc"})
	}
	return nil
}
