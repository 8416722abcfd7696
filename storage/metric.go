package storage

import (
	"strings"

	"github.com/halfmask/halfmask/stats"
)

// What the numbers mean. A question's range, site and filters choose events; a
// group is the chosen events with the same values of the dimensions.
//
//   - visitors: pseudonyms with a chosen event. A pseudonym ends at the site's
//     midnight, so somebody who comes on three days counts three times; within a
//     day once. Engagement counts: somebody who only reads on is there.
//   - visits: visits with a chosen event. Where the range starts with a day, and
//     neither filters nor dimensions part the events of one visit, the visits that
//     began in the range: one that goes on past midnight counts on the day it began.
//   - pageviews: chosen pageviews. events: chosen pageviews and custom events.
//   - views_per_visit: pageviews / visits.
//   - bounce_rate: the percentage of the visits with one pageview and no
//     interaction. visit_duration: the mean time from a visit's first to its last
//     event. Both are the whole visit's, whatever part of it was chosen; grouped by
//     event:page they are those of the visits that began on that page. Only where
//     visits are sums does midnight part them: what a visit does after it, to its
//     bounce and its time, counts on the next day, so that days add up.
//   - percentage: visitors, of those in all groups together. Its sum can exceed
//     100, because one visitor can be in many groups.
//
// Visitors and visits that do not come from sums are counted by uniq: exactly up
// to some ten thousand in a group, above that within about half a percent. The
// headline numbers, and those by country, region, city, device, browser, system
// or day, are sums and exact; sums of visits by source, campaign or entry page too.

// metricExpressions compute metrics from what base returns. Halves round up, as
// people expect; ClickHouse's round goes to even.
var metricExpressions = map[stats.Metric]string{
	stats.Visitors:      "n_visitors",
	stats.Visits:        "n_visits",
	stats.Pageviews:     "n_pageviews",
	stats.Events:        "n_events",
	stats.ViewsPerVisit: "if(n_visits = 0, NULL, floor(100 * n_pageviews / n_visits + 0.5) / 100)",
	stats.BounceRate:    "if(n_started = 0, NULL, floor(100 * greatest(0, least(n_bounces, n_started)) / n_started + 0.5))",
	stats.VisitDuration: "if(n_started = 0, NULL, floor(n_seconds / n_started + 0.5))",
	stats.Percentage:    "if(all_visitors = 0, NULL, floor(1000 * least(n_visitors, all_visitors) / all_visitors + 0.5) / 10)",
}

// counts are what base computes, each only if a metric needs it.
var counts = []struct {
	name    string
	metrics []stats.Metric
}{
	{"n_visitors", []stats.Metric{stats.Visitors, stats.Percentage}},
	{"n_visits", []stats.Metric{stats.Visits, stats.ViewsPerVisit}},
	{"n_pageviews", []stats.Metric{stats.Pageviews, stats.ViewsPerVisit}},
	{"n_events", []stats.Metric{stats.Events}},
	{"n_started", []stats.Metric{stats.BounceRate, stats.VisitDuration}},
	{"n_bounces", []stats.Metric{stats.BounceRate}},
	{"n_seconds", []stats.Metric{stats.VisitDuration}},
}

// base returns the SELECT that groups: keys k0, k1, ... and counts.
func (b *builder) base() string {
	expressions := b.rowCounts()
	switch b.shape {
	case shapePages:
		expressions = pageCounts
	case shapeVisits:
		expressions = b.visitCounts()
	}
	var selected, keys []string
	for i, d := range b.groups {
		keys = append(keys, key(i))
		if b.shape == shapeVisits {
			selected = append(selected, key(i))
		} else {
			selected = append(selected, b.group(d)+" AS "+key(i))
		}
	}
	for _, c := range counts {
		if b.needs(c.metrics) {
			selected = append(selected, expressions[c.name]+" AS "+c.name)
		}
	}
	sql := "SELECT " + strings.Join(selected, ", ")
	switch b.shape {
	case shapeRows:
		sql += " FROM " + b.source() + " WHERE " + b.where
	case shapePages:
		sql += " FROM " + b.source() + " ARRAY JOIN [1, 2] AS side WHERE " + b.where
	case shapeVisits:
		sql += " FROM (" + b.perVisit(keys) + ")"
	}
	if len(keys) > 0 {
		sql += " GROUP BY " + strings.Join(keys, ", ")
		if b.shape == shapePages {
			sql += " HAVING countIf(side = 1) > 0" // entry pages with nothing chosen on them
		}
	}
	return sql
}

func (b *builder) needs(metrics []stats.Metric) bool {
	for _, m := range metrics {
		for _, asked := range b.query.Metrics {
			if m == asked {
				return true
			}
		}
	}
	return false
}

func (b *builder) rowCounts() map[string]string {
	c := map[string]string{
		"n_visitors":  "uniq(visitor)",
		"n_visits":    "uniq(visit)",
		"n_pageviews": "countIf(kind = 'pageview')",
		"n_events":    "countIf(kind != 'engagement')",
		"n_started":   "sum(new_visit)",
		"n_bounces":   "sum(bounce)",
		"n_seconds":   "sum(duration)",
	}
	if b.visitorsAddUp() {
		c["n_visitors"] = "sum(new_visitor)"
	}
	if b.visitsAddUp() {
		c["n_visits"] = "sum(new_visit)"
	}
	return c
}

// pageCounts reads the row's own page on side 1, its visit's entry page on side 2.
var pageCounts = map[string]string{
	"n_visitors":  "uniqIf(visitor, side = 1)",
	"n_visits":    "uniqIf(visit, side = 1)",
	"n_pageviews": "countIf(side = 1 AND kind = 'pageview')",
	"n_events":    "countIf(side = 1 AND kind != 'engagement')",
	"n_started":   "sumIf(new_visit, side = 2)",
	"n_bounces":   "sumIf(bounce, side = 2)",
	"n_seconds":   "sumIf(duration, side = 2)",
}

// perVisit returns the SELECT with a row for each visit in each group. began says
// that the visit counts for bounces and times of the group.
func (b *builder) perVisit(keys []string) string {
	began := "1"
	if b.byPage() {
		began = "max(path = entry_path)"
	}
	selected := []string{
		"visit", "uniqState(visitor) AS v_visitors",
		"countIf(kind = 'pageview') AS v_pageviews", "countIf(kind != 'engagement') AS v_events",
		"any(visit_bounces) AS v_bounces", "any(visit_seconds) AS v_seconds", began + " AS v_began",
	}
	for i, d := range b.groups {
		selected = append(selected, b.group(d)+" AS "+key(i))
	}
	return "SELECT " + strings.Join(selected, ", ") + " FROM " + b.source() + " WHERE " + b.where +
		" GROUP BY " + strings.Join(append(keys, "visit"), ", ")
}

func (b *builder) visitCounts() map[string]string {
	return map[string]string{
		"n_visitors":  "uniqMerge(v_visitors)",
		"n_visits":    "count()",
		"n_pageviews": "sum(v_pageviews)",
		"n_events":    "sum(v_events)",
		"n_started":   "countIf(v_began)",
		"n_bounces":   "sumIf(v_bounces, v_began)",
		"n_seconds":   "sumIf(v_seconds, v_began)",
	}
}
