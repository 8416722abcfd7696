package storage

import (
	"cmp"
	"errors"
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
	"unicode/utf8"

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

func TestHostileTextIsOnlyText(t *testing.T) {
	s := open(t)
	at := noon()
	var events []*event.Event
	for i, text := range hostile {
		events = append(events, &event.Event{
			At: at, Site: 1, Kind: event.Custom, Name: text, Path: text, Hostname: text, Visitor: event.VisitorID(i + 1), Visit: event.VisitID(i + 1),
			Origin: event.Origin{Source: text, Campaign: event.Campaign{Source: text}}, Place: event.Place{City: text},
			Props: []event.Prop{{Key: text, Value: text}}, Facts: event.Facts{NewVisitor: 1, NewVisit: 1},
		})
	}
	insert(t, s, batchOf(s, 1, "t", events...), nil)
	q := func() *stats.Query {
		return &stats.Query{Site: 1, Zone: time.UTC, From: at.Add(-time.Hour), To: at.Add(time.Hour), Metrics: []stats.Metric{stats.Events, stats.Visitors}}
	}
	for _, text := range hostile {
		for _, d := range []stats.Dimension{stats.EventPage, stats.EventName, stats.EventHostname, stats.Source, stats.UTMSource, stats.City, stats.Dimension(stats.PropsPrefix + text)} {
			for _, f := range []stats.Filter{
				{Op: stats.Is, Dimension: d, Values: []string{text}},
				{Op: stats.Matches, Dimension: d, Values: []string{"^" + regexp.QuoteMeta(text) + "$"}},
			} {
				if f.Op == stats.Matches && (strings.Contains(text, "\x00") || !utf8.ValidString(text)) {
					continue // RE2 wants text
				}
				query := q()
				query.Filters = []stats.Filter{f}
				query.Dimensions = []stats.Dimension{d}
				result, err := s.Query(t.Context(), query)
				if err != nil {
					t.Fatalf("%s of %s %q: %v", f.Op, d, text, err)
				}
				if len(result.Rows) != 1 || result.Rows[0].Dimensions[0] != text || *result.Rows[0].Metrics[0] != 1 {
					t.Errorf("%s of %s %q found %+v", f.Op, d, text, result.Rows)
				}
			}
			query := q()
			query.Filters = []stats.Filter{{Op: stats.Contains, Dimension: d, Values: []string{text}}}
			result, err := s.Query(t.Context(), query)
			want := 0.0
			for _, other := range hostile {
				holds := strings.Contains(other, text)
				if strings.HasPrefix(string(d), stats.PropsPrefix) {
					holds = other == text // only its own event has the property
				}
				if holds {
					want++
				}
			}
			if err != nil || *result.Rows[0].Metrics[0] != want {
				t.Errorf("contains of %s %q: %v, want %v (%v)", d, text, numbers(result.Rows[0].Metrics), want, err)
			}
		}
	}
}

func TestQuestionsThatMakeNoSense(t *testing.T) {
	s := open(t)
	for name, change := range map[string]func(*stats.Query){
		"no site":           func(q *stats.Query) { q.Site = 0 },
		"no zone":           func(q *stats.Query) { q.Zone = nil },
		"empty range":       func(q *stats.Query) { q.To = q.From },
		"no metric":         func(q *stats.Query) { q.Metrics = nil },
		"unknown metric":    func(q *stats.Query) { q.Metrics = []stats.Metric{"sum(1)"} },
		"unknown dimension": func(q *stats.Query) { q.Dimensions = []stats.Dimension{"spool"} },
		"unnamed property":  func(q *stats.Query) { q.Dimensions = []stats.Dimension{stats.PropsPrefix} },
		"percentage of all": func(q *stats.Query) { q.Metrics = []stats.Metric{stats.Percentage} },
		"foreign order": func(q *stats.Query) {
			q.Dimensions = []stats.Dimension{stats.City}
			q.OrderBy = []stats.Order{{By: "1; DROP"}}
		},
		"unknown operator": func(q *stats.Query) {
			q.Filters = []stats.Filter{{Op: "= 1 OR", Dimension: stats.City, Values: []string{"x"}}}
		},
		"filter by time": func(q *stats.Query) {
			q.Filters = []stats.Filter{{Op: stats.Is, Dimension: stats.TimeDay, Values: []string{"x"}}}
		},
		"filter of nothing": func(q *stats.Query) { q.Filters = []stats.Filter{{Op: stats.Is, Dimension: stats.City}} },
		"empty not":         func(q *stats.Query) { q.Filters = []stats.Filter{{Op: stats.Not}} },
		"broken expression": func(q *stats.Query) {
			q.Filters = []stats.Filter{{Op: stats.Matches, Dimension: stats.City, Values: []string{"("}}}
		},
		"endless nesting": func(q *stats.Query) { q.Filters = []stats.Filter{nested(100)} },
		"filter by nonsense": func(q *stats.Query) {
			q.Filters = []stats.Filter{{Op: stats.Is, Dimension: "1=1", Values: []string{"x"}}}
		},
	} {
		q := &stats.Query{Site: 1, Zone: time.UTC, From: noon(), To: noon().Add(time.Hour), Metrics: []stats.Metric{stats.Visitors}}
		change(q)
		if _, err := s.Query(t.Context(), q); !errors.Is(err, stats.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func nested(depth int) stats.Filter {
	f := stats.Filter{Op: stats.Is, Dimension: stats.City, Values: []string{"x"}}
	for range depth {
		f = stats.Filter{Op: stats.Not, Filters: []stats.Filter{f}}
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

// Whatever is asked, each SELECT is bounded to the site and the time, and no
// value is part of the text.
func TestEverySelectIsBoundedAndConstant(t *testing.T) {
	s := open(t)
	t.Logf("seed %d", *seed)
	r := rand.New(rand.NewPCG(*seed, 2))
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(r, 1, berlin)
	for range 300 {
		q := stats.Query{Site: 1, Zone: time.UTC, From: noon().Add(-time.Duration(r.IntN(2)) * 12 * time.Hour), To: noon().Add(time.Hour), TotalRows: true}
		for range r.IntN(3) {
			if d := everyDimension[r.IntN(len(everyDimension))]; !slices.Contains(q.Dimensions, d) {
				q.Dimensions = append(q.Dimensions, d)
			}
		}
		q.Metrics = everyMetric(len(q.Dimensions))[r.IntN(4):]
		for range r.IntN(3) {
			q.Filters = append(q.Filters, w.randomFilter(r, 2))
		}
		first, err := s.build(&q)
		if err != nil {
			t.Fatal(err)
		}
		tables, bounded := strings.Count(first.sql, "FROM events"), strings.Count(first.sql, "site = {site:UInt64} AND ts >= ")
		if tables == 0 || tables != bounded {
			t.Errorf("%d of %d SELECTs are bounded: %s", bounded, tables, first.sql)
		}
		q.Site, q.Zone, q.From, q.Limit, q.Offset = 77, time.FixedZone("' OR 1 --", 0), q.From.AddDate(0, 0, -1), 5, 6
		overwrite(q.Filters)
		for i, d := range q.Dimensions {
			if strings.HasPrefix(string(d), stats.PropsPrefix) {
				q.Dimensions[i] = d + "' OR 1=1"
			}
		}
		if second, err := s.build(&q); err != nil || second.sql != first.sql {
			t.Errorf("other values make other text (%v):\n%s\n%s", err, first.sql, second.sql)
		}
	}
}

// overwrite replaces every value below fs.
func overwrite(fs []stats.Filter) {
	for i := range fs {
		for j := range fs[i].Values {
			fs[i].Values[j] = "') UNION ALL SELECT 1 --"
			if strings.HasPrefix(string(fs[i].Op), "matches") {
				fs[i].Values[j] = "' OR"
			}
		}
		if strings.HasPrefix(string(fs[i].Dimension), stats.PropsPrefix) {
			fs[i].Dimension += "']"
		}
		overwrite(fs[i].Filters)
	}
}
