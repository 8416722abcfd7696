package storage

import (
	"errors"
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
