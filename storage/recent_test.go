package storage

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/halfmask/halfmask/event"
)

func TestRecentGivesBackWhatASessionNeeds(t *testing.T) {
	s := open(t)
	first := &event.Event{
		At: noon(), Site: 3, Kind: event.Pageview, Name: "pageview", Interactive: true, Hostname: "h", Path: "/a", Scroll: event.NoScroll,
		Network: event.NetworkV6(0x20, 0x01, 0x0d, 0xb8), Visitor: 5, Visit: 6,
		Place:  event.Place{Country: "DE", Region: "DE-BE", City: "Berlin"},
		Client: event.Client{Device: "Mobile", Browser: "Firefox", BrowserVersion: "1", OS: "Android", OSVersion: "15"},
		Origin: event.Origin{EntryPath: "/a", Source: "Google", Channel: "c", Referrer: "r", Campaign: event.Campaign{Source: "1", Medium: "2", Campaign: "3", Content: "4", Term: "5"}},
		Facts:  event.Facts{NewVisitor: 1, NewVisit: 1, Bounce: 1},
	}
	second := *first
	second.Path, second.Facts = "/b", event.Facts{Bounce: -1, Duration: 7, PreviousPath: "/a"}
	second.Network = event.NetworkV4(203, 0)
	old := *first
	old.At, old.Visit = noon().Add(-time.Hour), 7
	insert(t, s, batchOf(s, 1, "t", &second, first, &old), nil) // both in one second, out of order
	var got []*event.Event
	err := s.Recent(t.Context(), noon(), func(e *event.Event) error { got = append(got, e); return nil })
	if err != nil || len(got) != 2 {
		t.Fatalf("got %d events (%v), want 2", len(got), err)
	}
	for i, want := range []*event.Event{first, &second} {
		if !got[i].At.Equal(want.At) {
			t.Errorf("event %d at %v, want %v", i, got[i].At, want.At)
		}
		got[i].At = want.At
		if !equal(got[i], want) {
			t.Errorf("event %d is\n%+v, want\n%+v", i, got[i], want)
		}
	}
	stop := errors.New("enough")
	calls := 0
	if err := s.Recent(t.Context(), noon(), func(*event.Event) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
		t.Errorf("a yield that failed was called %d times and gave %v", calls, err)
	}
}

func TestRecentGivesVisitsWhole(t *testing.T) {
	s := open(t)
	now := time.Now().UTC().Truncate(time.Second)
	var events []*event.Event
	visit := func(id event.VisitID, site event.SiteID, minutesAgo ...int) {
		for _, ago := range minutesAgo {
			events = append(events, &event.Event{
				At: now.Add(-time.Duration(ago) * time.Minute), Site: site, Kind: event.Pageview, Name: "pageview", Path: "/",
				Visitor: event.VisitorID(id), Visit: id,
			})
		}
	}
	visit(1, 1, 3, 25, 54, 83, 112) // goes on
	visit(2, 2, 20, 45)             // goes on, at another site
	visit(3, 1, 31, 40)             // over
	visit(4, 1, 5)                  // went on before and after midnight, as somebody else meanwhile
	visit(4, 1, 29)
	events[len(events)-1].Visitor = 99
	visit(5, 2, 10, 23*60, 25*60) // longer than anybody looks back
	slices.Reverse(events)
	for i, half := range [][]*event.Event{events[:7], events[7:]} {
		insert(t, s, batchOf(s, uint64(2-i), fmt.Sprint("t", i), half...), nil)
	}
	var got []string
	err := s.Recent(t.Context(), now.Add(-30*time.Minute), func(e *event.Event) error {
		got = append(got, fmt.Sprintf("%d:%d", e.Visit, int(now.Sub(e.At).Minutes())))
		return nil
	})
	// Visit by visit, the one that was silent longest first.
	want := []string{"2:45", "2:20", "5:1380", "5:10", "4:29", "4:5", "1:112", "1:83", "1:54", "1:25", "1:3"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("visits and minutes ago are\n%v (%v), want\n%v", got, err, want)
	}
}
