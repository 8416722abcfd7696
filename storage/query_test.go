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

// world is some days of a site, made up, with what a plain reader of its events
// knows of every visit.
type world struct {
	site   event.SiteID
	zone   *time.Location
	days   []event.Day
	rows   []*fact
	visits map[event.VisitID]*visit
}

// fact is an event and the visit it belongs to.
type fact struct {
	*event.Event
	visit *visit
}

type visit struct {
	first, last  time.Time
	entry, exit  string
	pageviews    int
	interactions int
}

func (v *visit) bounced() bool { return v.pageviews == 1 && v.interactions == 0 }

// clockChange returns the next day on which clocks are set back in a zone.
func clockChange(zone *time.Location) event.Day {
	for day := event.DayOf(time.Now(), zone) + 2; ; day++ {
		if (day + 1).Start(zone).Sub(day.Start(zone)) > 24*time.Hour {
			return day
		}
	}
}

// newWorld makes up visits around the hour that comes twice.
func newWorld(r *rand.Rand, site event.SiteID, zone *time.Location) *world {
	w := &world{site: site, zone: zone, visits: map[event.VisitID]*visit{}}
	change := clockChange(zone)
	for day := change - 1; day <= change+1; day++ {
		w.days = append(w.days, day)
		for person := range 12 {
			at := day.Start(zone).Add(time.Duration(r.IntN(7200)) * time.Second)
			for first := true; at.Before((day + 1).Start(zone).Add(-3 * time.Hour)); first = false {
				at = w.addVisit(r, person, day, at, first)
				at = at.Add(30*time.Minute + time.Duration(r.IntN(8*3600))*time.Second)
			}
		}
	}
	r.Shuffle(len(w.rows), func(i, j int) { w.rows[i], w.rows[j] = w.rows[j], w.rows[i] })
	return w
}

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }

// addVisit makes one visit up and returns when it ended.
func (w *world) addVisit(r *rand.Rand, person int, day event.Day, at time.Time, firstOfDay bool) time.Time {
	who := rand.New(rand.NewPCG(uint64(person), 7)) // the same person looks the same
	base := event.Event{
		Site: w.site, Interactive: true, Scroll: event.NoScroll,
		Visitor: event.VisitorID(uint64(day)*1000 + uint64(person) + 1), Visit: event.VisitID(r.Uint64() | 1),
		Place:  event.Place{Country: pick(who, "DE", "FR", ""), Region: pick(who, "DE-BE", ""), City: pick(who, "Berlin", "")},
		Client: event.Client{Device: pick(who, "Desktop", "Mobile"), Browser: pick(who, "Firefox", "Chrome"), BrowserVersion: pick(who, "1", "2"), OS: pick(who, "Linux", ""), OSVersion: ""},
		Origin: event.Origin{Source: pick(r, "", "Google", "Hacker News"), Channel: pick(r, "Direct", "Organic Search"), Referrer: pick(r, "", "google.com"),
			Campaign: event.Campaign{Source: pick(r, "", "news"), Medium: pick(r, "", "mail"), Campaign: pick(r, "", "c1", "c2"), Content: pick(r, "", "x"), Term: pick(r, "", "y")}},
	}
	v := &visit{first: at}
	w.visits[base.Visit] = v
	bouncing, page := false, ""
	for i := range 1 + r.IntN(6) {
		e := base
		if i > 0 {
			gap := r.IntN(20 * 60)
			if r.IntN(4) == 0 {
				gap = 0 // two events in one second
			}
			at = at.Add(time.Duration(gap) * time.Second)
			e.Facts.Duration = uint32(gap)
		} else {
			e.Facts.NewVisit = 1
			if firstOfDay {
				e.Facts.NewVisitor = 1
			}
		}
		e.At = at
		e.Hostname = pick(r, "example.com", "blog.example.com")
		e.Path = pick(r, "/", "/a", "/b/ü", "/Über?")
		if r.IntN(2) == 0 {
			e.Props = []event.Prop{{Key: "plan", Value: pick(r, "pro", "free", "")}}
		}
		switch kind := r.IntN(10); {
		case kind < 6 || i == 0 && kind > 7:
			e.Kind, e.Name = event.Pageview, "pageview"
			e.Facts.PreviousPath = page
			v.exit, page = e.Path, e.Path
			if v.pageviews++; v.pageviews == 1 {
				// An interaction before the first pageview counts too.
				if bouncing = v.interactions == 0; bouncing {
					e.Facts.Bounce = 1
				}
			} else if bouncing {
				e.Facts.Bounce, bouncing = -1, false
			}
		case kind < 8:
			e.Kind, e.Name, e.Interactive = event.Custom, pick(r, "Signup", "Download"), r.IntN(2) == 0
			if e.Interactive {
				if v.interactions++; bouncing {
					e.Facts.Bounce, bouncing = -1, false
				}
			}
		default:
			e.Kind, e.Name = event.Engagement, "engagement"
		}
		if i == 0 {
			v.entry = e.Path
		}
		base.Origin.EntryPath, e.Origin.EntryPath = v.entry, v.entry
		v.last = at
		w.rows = append(w.rows, &fact{&e, v})
	}
	return at
}

// shown is a row's value of a dimension, as people see it; "" for what is not
// there.
func (f *fact) value(d stats.Dimension, zone *time.Location) string {
	local := f.At.In(zone)
	switch d {
	case stats.EventGoal, stats.EventName:
		return f.Name
	case stats.EventPage:
		return f.Path
	case stats.EventHostname:
		return f.Hostname
	case stats.EntryPage:
		return f.visit.entry
	case stats.ExitPage:
		return f.visit.exit
	case stats.Source:
		return f.Origin.Source
	case stats.Channel:
		return f.Origin.Channel
	case stats.Referrer:
		return f.Origin.Referrer
	case stats.UTMSource:
		return f.Origin.Campaign.Source
	case stats.UTMMedium:
		return f.Origin.Campaign.Medium
	case stats.UTMCampaign:
		return f.Origin.Campaign.Campaign
	case stats.UTMContent:
		return f.Origin.Campaign.Content
	case stats.UTMTerm:
		return f.Origin.Campaign.Term
	case stats.Device:
		return f.Client.Device
	case stats.Browser:
		return f.Client.Browser
	case stats.BrowserVersion:
		return f.Client.BrowserVersion
	case stats.OS:
		return f.Client.OS
	case stats.OSVersion:
		return f.Client.OSVersion
	case stats.Country:
		return f.Place.Country
	case stats.Region:
		return f.Place.Region
	case stats.City:
		return f.Place.City
	case stats.TimeMinute:
		return local.Format("2006-01-02 15:04:00")
	case stats.TimeHour:
		return local.Format("2006-01-02 15:00:00")
	case stats.TimeDay:
		return local.Format(time.DateOnly)
	case stats.TimeWeek:
		for local.Weekday() != time.Monday {
			local = local.AddDate(0, 0, -1)
		}
		return local.Format(time.DateOnly)
	case stats.TimeMonth:
		return local.Format("2006-01") + "-01"
	}
	for _, p := range f.Props {
		if string(d) == stats.PropsPrefix+p.Key {
			return p.Value
		}
	}
	return ""
}

func (f *fact) shown(d stats.Dimension, zone *time.Location) string {
	if v := f.value(d, zone); v != "" {
		return v
	}
	if d == stats.Source {
		return "Direct / None"
	}
	return "(not set)"
}

// holds decides a filter for one event.
func (f *fact) holds(c stats.Filter, zone *time.Location) bool {
	anyOf := func(test func(string) bool) bool {
		return (c.Dimension != stats.EventGoal || f.Kind == event.Custom) && slices.ContainsFunc(c.Values, test)
	}
	fold := func(s string) string {
		if c.IgnoreCase {
			return strings.ToLower(s)
		}
		return s
	}
	value := f.value(c.Dimension, zone)
	switch c.Op {
	case stats.And:
		return !slices.ContainsFunc(c.Filters, func(below stats.Filter) bool { return !f.holds(below, zone) })
	case stats.Or:
		return slices.ContainsFunc(c.Filters, func(below stats.Filter) bool { return f.holds(below, zone) })
	case stats.Not:
		return !f.holds(c.Filters[0], zone)
	case stats.IsNot, stats.ContainsNot, stats.MatchesNot:
		c.Op = stats.Op(strings.TrimSuffix(string(c.Op), "_not"))
		return !f.holds(c, zone)
	case stats.Is:
		return anyOf(func(v string) bool { return fold(v) == fold(f.shown(c.Dimension, zone)) })
	case stats.Contains:
		return value != "" && anyOf(func(v string) bool { return strings.Contains(fold(value), fold(v)) })
	}
	return value != "" && anyOf(func(v string) bool {
		if c.IgnoreCase {
			v = "(?i)" + v
		}
		return regexp.MustCompile(v).MatchString(value)
	})
}

// mentions reports whether a question has a dimension for which test is true.
func mentions(q *stats.Query, test func(stats.Dimension) bool) bool {
	var below func(fs []stats.Filter) bool
	below = func(fs []stats.Filter) bool {
		return slices.ContainsFunc(fs, func(f stats.Filter) bool { return f.Dimension != "" && test(f.Dimension) || below(f.Filters) })
	}
	return slices.ContainsFunc(q.Dimensions, test) || below(q.Filters)
}

// group is what the plain reader counts.
type group struct {
	visitors          map[event.VisitorID]bool
	visits, began     map[*visit]bool // with a chosen event; that count for bounces and times
	started           map[*visit]bool // with their first event among the chosen
	pageviews, events int
}

func newGroup() *group {
	return &group{visitors: map[event.VisitorID]bool{}, visits: map[*visit]bool{}, began: map[*visit]bool{}, started: map[*visit]bool{}}
}

func (g *group) add(f *fact, byPage bool) {
	g.visitors[f.Visitor] = true
	g.visits[f.visit] = true
	if !byPage || f.Path == f.visit.entry {
		g.began[f.visit] = true
	}
	if f.Facts.NewVisit == 1 {
		g.started[f.visit] = true
	}
	switch f.Kind {
	case event.Pageview:
		g.pageviews++
		g.events++
	case event.Custom:
		g.events++
	}
}

// answer is what storage should say, computed event by event.
func (w *world) answer(q *stats.Query) map[string][]float64 {
	named := mentions(q, func(d stats.Dimension) bool { return d == stats.EventName || d == stats.EventGoal })
	groups := map[string]*group{}
	total := newGroup()
	byPage := slices.Contains(q.Dimensions, stats.EventPage)
	for _, f := range w.rows {
		out := f.At.Before(q.From) || !f.At.Before(q.To) || named && f.Kind == event.Engagement ||
			slices.Contains(q.Dimensions, stats.EventGoal) && f.Kind != event.Custom ||
			slices.ContainsFunc(q.Filters, func(c stats.Filter) bool { return !f.holds(c, q.Zone) })
		if out {
			continue
		}
		var keys []string
		for _, d := range q.Dimensions {
			keys = append(keys, f.shown(d, q.Zone))
		}
		key := strings.Join(keys, "|")
		if groups[key] == nil {
			groups[key] = newGroup()
		}
		groups[key].add(f, byPage)
		total.add(f, byPage)
	}
	if len(q.Dimensions) == 0 {
		groups = map[string]*group{"": total}
	}
	// Where nothing parts the events of a visit, visits are those that began.
	parted := mentions(q, func(d stats.Dimension) bool {
		return strings.HasPrefix(string(d), "event:") || d == stats.TimeHour || d == stats.TimeMinute
	})
	midnight := event.DayOf(q.From, q.Zone).Start(q.Zone).Equal(q.From)
	answer := map[string][]float64{}
	for key, g := range groups {
		if midnight && !parted {
			g.visits, g.began = g.started, g.started
		}
		answer[key] = g.metrics(q, len(total.visitors))
	}
	return answer
}

func (g *group) metrics(q *stats.Query, total int) []float64 {
	var bounces, seconds float64
	for v := range g.began {
		if v.bounced() {
			bounces++
		}
		seconds += v.last.Sub(v.first).Seconds()
	}
	ratio := func(a, b float64, decimals int) float64 {
		if b == 0 {
			return math.NaN() // stands for nil
		}
		scale := math.Pow10(decimals)
		return math.Floor(a*scale/b+0.5) / scale
	}
	var all []float64
	for _, m := range q.Metrics {
		all = append(all, map[stats.Metric]float64{
			stats.Visitors:      float64(len(g.visitors)),
			stats.Visits:        float64(len(g.visits)),
			stats.Pageviews:     float64(g.pageviews),
			stats.Events:        float64(g.events),
			stats.ViewsPerVisit: ratio(float64(g.pageviews), float64(len(g.visits)), 2),
			stats.BounceRate:    ratio(100*bounces, float64(len(g.began)), 0),
			stats.VisitDuration: ratio(seconds, float64(len(g.began)), 0),
			stats.Percentage:    ratio(100*float64(len(g.visitors)), float64(total), 1),
		}[m])
	}
	return all
}

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
