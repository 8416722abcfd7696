package storage

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/stats"
)

var seed = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of random events and questions")

// populated returns a store with a made-up world, and another site's events.
func populated(t *testing.T) (*Store, *world, *rand.Rand) {
	t.Helper()
	t.Logf("seed %d", *seed)
	r := rand.New(rand.NewPCG(*seed, 1))
	zone, err := time.LoadLocation(pick(r, "America/New_York", "Europe/Berlin", "Australia/Lord_Howe"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(r, 1<<63+5, zone)
	s := open(t)
	var events []*event.Event
	for _, f := range append(slices.Clone(w.rows), newWorld(r, 6, zone).rows...) {
		events = append(events, f.Event)
	}
	insert(t, s, batchOf(s, 1, "t", events...), nil)
	t.Logf("%d events of %d visits, days %v in %s", len(w.rows), len(w.visits), w.days, zone)
	return s, w, r
}

var plain = []stats.Metric{stats.Visitors, stats.Visits, stats.Pageviews, stats.Events, stats.ViewsPerVisit}

func everyMetric(dimensions int) []stats.Metric {
	metrics := append(slices.Clone(plain), stats.BounceRate, stats.VisitDuration)
	if dimensions > 0 {
		metrics = append(metrics, stats.Percentage)
	}
	return metrics
}

var everyDimension = append(slices.Sorted(maps.Keys(dimensions)), "event:props:plan", "event:props:it's")

// check asks storage and the plain reader and compares.
func check(t *testing.T, s *Store, w *world, q *stats.Query) {
	t.Helper()
	got, err := s.Query(t.Context(), q)
	if err != nil {
		t.Fatalf("%+v: %v", *q, err)
	}
	want := w.answer(q)
	if len(got.Rows) != len(want) {
		t.Errorf("%+v: %d rows, want %d", *q, len(got.Rows), len(want))
	}
	for _, row := range got.Rows {
		key := strings.Join(row.Dimensions, "|")
		if !same(row.Metrics, want[key]) {
			t.Errorf("%+v:\n%q has %v, want %v", *q, key, numbers(row.Metrics), want[key])
		}
	}
}

func same(got []*float64, want []float64) bool {
	return slices.EqualFunc(got, want, func(a *float64, b float64) bool {
		return a == nil && math.IsNaN(b) || a != nil && *a == b
	})
}

func numbers(metrics []*float64) (all []any) {
	for _, m := range metrics {
		if m == nil {
			all = append(all, nil)
		} else {
			all = append(all, *m)
		}
	}
	return all
}

// ranges are of whole days, from midnight to some hour, and from any hour.
func (w *world) ranges() map[string][2]time.Time {
	first, last := w.days[0].Start(w.zone), (w.days[len(w.days)-1] + 1).Start(w.zone)
	return map[string][2]time.Time{
		"three days":          {first, last},
		"the day of 25 hours": {w.days[1].Start(w.zone), w.days[2].Start(w.zone)},
		"from ten to ten":     {first.Add(10*time.Hour + 7*time.Minute), first.Add(34 * time.Hour)},
	}
}

func TestEveryMetricByEveryDimension(t *testing.T) {
	s, w, _ := populated(t)
	for name, span := range w.ranges() {
		t.Run(name, func(t *testing.T) {
			q := stats.Query{Site: w.site, Zone: w.zone, From: span[0], To: span[1]}
			for _, metrics := range [][]stats.Metric{everyMetric(0), plain} {
				q.Metrics = metrics
				check(t, s, w, &q)
			}
			for _, d := range everyDimension {
				q.Dimensions = []stats.Dimension{d}
				for _, metrics := range [][]stats.Metric{everyMetric(1), plain} {
					q.Metrics = metrics
					check(t, s, w, &q)
				}
			}
		})
	}
}

func TestRandomQuestions(t *testing.T) {
	s, w, r := populated(t)
	spans := slices.SortedFunc(maps.Values(w.ranges()), func(a, b [2]time.Time) int { return cmp.Or(a[0].Compare(b[0]), a[1].Compare(b[1])) })
	for range 150 {
		span := spans[r.IntN(len(spans))]
		q := stats.Query{Site: w.site, Zone: w.zone, From: span[0], To: span[1]}
		for range r.IntN(3) {
			if d := everyDimension[r.IntN(len(everyDimension))]; !slices.Contains(q.Dimensions, d) {
				q.Dimensions = append(q.Dimensions, d)
			}
		}
		q.Metrics = everyMetric(len(q.Dimensions))
		r.Shuffle(len(q.Metrics), func(i, j int) { q.Metrics[i], q.Metrics[j] = q.Metrics[j], q.Metrics[i] })
		q.Metrics = q.Metrics[:1+r.IntN(len(q.Metrics))]
		for range r.IntN(3) {
			q.Filters = append(q.Filters, w.randomFilter(r, 2))
		}
		check(t, s, w, &q)
	}
}

func (w *world) randomFilter(r *rand.Rand, depth int) stats.Filter {
	if depth > 0 && r.IntN(3) == 0 {
		f := stats.Filter{Op: stats.Op(pick(r, "and", "or", "not")), Filters: []stats.Filter{w.randomFilter(r, depth-1)}}
		if f.Op != stats.Not {
			f.Filters = append(f.Filters, w.randomFilter(r, depth-1))
		}
		return f
	}
	f := stats.Filter{IgnoreCase: r.IntN(2) == 0}
	for f.Dimension == "" || strings.HasPrefix(string(f.Dimension), "time:") {
		f.Dimension = everyDimension[r.IntN(len(everyDimension))]
	}
	f.Op = stats.Op(pick(r, "is", "is_not", "contains", "contains_not", "matches", "matches_not"))
	for range 1 + r.IntN(2) {
		v := w.rows[r.IntN(len(w.rows))].shown(f.Dimension, w.zone)
		switch {
		case strings.HasPrefix(string(f.Op), "matches"):
			v = pick(r, "^"+regexp.QuoteMeta(v)+"$", ".", "o+", "^[A-Z]", "ü")
		case strings.HasPrefix(string(f.Op), "contains"):
			v = pick(r, v, v[:1], "O", "Ü")
		case f.IgnoreCase:
			v = strings.ToUpper(v)
		}
		f.Values = append(f.Values, v)
	}
	return f
}

func TestOrderLimitOffsetAndTotal(t *testing.T) {
	s := open(t)
	var events []*event.Event
	for page := range 20 {
		for i := range 1 + page/2 { // pairs of pages with as many views
			e := pageview(noon())
			e.Path, e.Visitor, e.Visit = fmt.Sprintf("/%02d", page), event.VisitorID(i+1), event.VisitID(i+1)
			events = append(events, e)
		}
	}
	insert(t, s, batchOf(s, 1, "t", events...), nil)
	pages := func(change func(*stats.Query)) ([]string, int) {
		t.Helper()
		q := &stats.Query{
			Site: 1, Zone: time.UTC, From: noon().Add(-time.Hour), To: noon().Add(time.Hour), TotalRows: true,
			Metrics: []stats.Metric{stats.Pageviews}, Dimensions: []stats.Dimension{stats.EventPage}, Limit: 3,
		}
		change(q)
		result, err := s.Query(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, row := range result.Rows {
			names = append(names, row.Dimensions[0])
		}
		return names, result.Total
	}
	for name, c := range map[string]struct {
		change func(*stats.Query)
		want   string
	}{
		"largest first, equals by name": {func(*stats.Query) {}, "/18 /19 /16"},
		"the next page":                 {func(q *stats.Query) { q.Offset = 3 }, "/17 /14 /15"},
		"smallest first":                {func(q *stats.Query) { q.OrderBy = []stats.Order{{By: "pageviews"}} }, "/00 /01 /02"},
		"by name from the end":          {func(q *stats.Query) { q.OrderBy = []stats.Order{{By: "event:page", Descending: true}} }, "/19 /18 /17"},
		"behind the end":                {func(q *stats.Query) { q.Offset = 100 }, ""},
	} {
		got, total := pages(c.change)
		if strings.Join(got, " ") != c.want || total != 20 {
			t.Errorf("%s: %v of %d, want %s of 20", name, got, total, c.want)
		}
	}
	if got, _ := pages(func(q *stats.Query) { q.Limit = 0 }); len(got) != 20 {
		t.Errorf("without a limit there are %d of 20 rows", len(got))
	}
}

func TestTimeBucketsAreInOrder(t *testing.T) {
	s, w, _ := populated(t)
	result, err := s.Query(t.Context(), &stats.Query{
		Site: w.site, Zone: w.zone, From: w.days[0].Start(w.zone), To: (w.days[2] + 1).Start(w.zone),
		Metrics: []stats.Metric{stats.Pageviews}, Dimensions: []stats.Dimension{stats.TimeHour},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(result.Rows, func(a, b stats.Row) int { return cmp.Compare(a.Dimensions[0], b.Dimensions[0]) }) {
		t.Error("hours are not in order")
	}
}

// A visit that goes on past midnight: its second half has a new pseudonym, but
// is no new visit.
func TestAVisitPastMidnight(t *testing.T) {
	s := open(t)
	midnight := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -1)
	before, after := pageview(midnight.Add(-10*time.Minute)), pageview(midnight.Add(10*time.Minute))
	before.Facts = event.Facts{NewVisitor: 1, NewVisit: 1, Bounce: 1}
	after.Facts = event.Facts{NewVisitor: 1, Bounce: -1, Duration: 1200, PreviousPath: "/"}
	after.Visitor = 2
	before.Origin.EntryPath, after.Origin.EntryPath = "/", "/"
	insert(t, s, batchOf(s, 1, "t", before, after), nil)
	metrics := []stats.Metric{stats.Visitors, stats.Visits, stats.Pageviews, stats.BounceRate, stats.VisitDuration}
	for name, c := range map[string]struct {
		from, to time.Duration // from midnight
		want     []float64
	}{
		"both days":         {-24 * time.Hour, 24 * time.Hour, []float64{2, 1, 2, 0, 1200}},
		"the second day":    {0, 24 * time.Hour, []float64{1, 0, 1, math.NaN(), math.NaN()}},
		"an hour around":    {-time.Hour / 2, time.Hour / 2, []float64{2, 1, 2, 0, 1200}},
		"only its end":      {5 * time.Minute, time.Hour, []float64{1, 1, 1, 0, 1200}},
		"nothing happening": {time.Hour, 2 * time.Hour, []float64{0, 0, 0, math.NaN(), math.NaN()}},
	} {
		result, err := s.Query(t.Context(), &stats.Query{Site: 1, Zone: time.UTC, From: midnight.Add(c.from), To: midnight.Add(c.to), Metrics: metrics})
		if err != nil {
			t.Fatal(err)
		}
		if len(result.Rows) != 1 || !same(result.Rows[0].Metrics, c.want) {
			t.Errorf("%s: %v, want %v", name, numbers(result.Rows[0].Metrics), c.want)
		}
	}
}

func TestNothingTooOldIsShown(t *testing.T) {
	s := open(t)
	do(t, s, "SYSTEM STOP TTL MERGES events")
	now := time.Now().UTC()
	old := pageview(now.AddDate(0, -3, -2))
	insert(t, s, batchOf(s, 1, "t", old, pageview(now)), nil)
	s.reader = s.writer // a user without the row filter of the local engine's
	result, err := s.Query(t.Context(), &stats.Query{
		Site: 1, Zone: time.UTC, From: now.AddDate(-1, 0, 0), To: now.AddDate(0, 0, 1), Metrics: []stats.Metric{stats.Pageviews},
	})
	if err != nil || *result.Rows[0].Metrics[0] != 1 {
		t.Errorf("a year's pageviews are %v (%v), want today's alone", numbers(result.Rows[0].Metrics), err)
	}
}

func TestLive(t *testing.T) {
	s := open(t)
	now := time.Now()
	var events []*event.Event
	for i, ago := range []time.Duration{time.Second, 2 * time.Minute, 2 * time.Minute, 6 * time.Minute} {
		e := pageview(now.Add(-ago))
		e.Visitor = event.VisitorID(i/2 + 1)
		events = append(events, e)
	}
	other := pageview(now)
	other.Site, other.Visitor = 2, 99
	insert(t, s, batchOf(s, 1, "t", append(events, other)...), nil)
	if n, err := s.Live(t.Context(), 1); err != nil || n != 2 {
		t.Errorf("%d visitors are there (%v), want 2", n, err)
	}
}
