package storage

import (
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/stats"
)

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
	var track track
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
		track.kind(r, v, &e, i == 0)
		if i == 0 {
			v.entry = e.Path
		}
		base.Origin.EntryPath, e.Origin.EntryPath = v.entry, v.entry
		v.last = at
		w.rows = append(w.rows, &fact{&e, v})
	}
	return at
}

// track is what a session table knows of a visit while it goes on.
type track struct {
	bouncing bool
	page     string
}

// kind makes e one of the three kinds, with the facts that follow.
func (k *track) kind(r *rand.Rand, v *visit, e *event.Event, first bool) {
	switch kind := r.IntN(10); {
	case kind < 6 || first && kind > 7:
		e.Kind, e.Name = event.Pageview, "pageview"
		e.Facts.PreviousPath = k.page
		v.exit, k.page = e.Path, e.Path
		if v.pageviews++; v.pageviews > 1 {
			k.interact(e)
		} else if k.bouncing = v.interactions == 0; k.bouncing { // one before the first pageview counts too
			e.Facts.Bounce = 1
		}
	case kind < 8:
		e.Kind, e.Name, e.Interactive = event.Custom, pick(r, "Signup", "Download"), r.IntN(2) == 0
		if e.Interactive {
			v.interactions++
			k.interact(e)
		}
	default:
		e.Kind, e.Name = event.Engagement, "engagement"
	}
}

// interact ends a bounce.
func (k *track) interact(e *event.Event) {
	if k.bouncing {
		e.Facts.Bounce, k.bouncing = -1, false
	}
}

// value is a row's value of a dimension, "" for what is not there.
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

// shown is the value as people see it.
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
