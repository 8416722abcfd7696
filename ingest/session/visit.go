package session

import (
	"unique"

	"github.com/halfmask/halfmask/event"
)

// key finds a visit. A pseudonym is made from the site's id too, so the site
// here only guards against a collision.
type key struct {
	site    event.SiteID
	visitor event.VisitorID
}

// visit is what the next event of a visit needs to know: 72 bytes, and the
// strings that it shares with others.
type visit struct {
	key    key
	id     event.VisitID
	last   int64 // Unix seconds of the last event
	origin origin
	page   path // of the last pageview; "" before the first

	day          event.Day // of the last event
	newer, older uint32    // neighbours in the order of the last event
	bounce       bounce
}

// bounce is how far a visit has come; it only grows.
type bounce uint8

const (
	unseen   bounce = iota // no pageview yet, and nothing interactive
	bouncing               // one pageview; counted as a bounce for now
	engaged                // will never be a bounce (again)
)

// begin opens a visit with e, whose visit, origin and facts it sets.
// NewVisitor is left to the caller.
func begin(e *event.Event) visit {
	v := visit{id: newVisitID()}
	e.Visit = v.id
	e.Facts = event.Facts{NewVisit: 1}
	// Whatever the event is: it happened on a page, and an entry page that came
	// only later would part the visit's sums.
	e.Origin.EntryPath = e.Path
	v.origin = unique.Make(e.Origin)
	e.Origin = v.origin.Value()
	v.advance(e)
	v.see(e)
	return v
}

// resume continues the visit with e, likewise.
func (v *visit) resume(e *event.Event) {
	e.Visit = v.id
	e.Facts = event.Facts{}
	if gap := e.At.Unix() - v.last; gap > 0 {
		e.Facts.Duration = uint32(gap)
	}
	e.Origin = v.origin.Value()
	if e.Kind == event.Pageview {
		e.Facts.PreviousPath = v.page.Value()
	}
	v.advance(e)
	v.see(e)
}

// advance tells what e does to the bounce.
func (v *visit) advance(e *event.Event) {
	switch {
	case e.Kind == event.Engagement:
	case e.Kind == event.Pageview && v.bounce == unseen:
		v.bounce = bouncing
		e.Facts.Bounce = 1
	case !e.Interactive:
	case v.bounce == bouncing:
		v.bounce = engaged
		e.Facts.Bounce = -1
	default:
		v.bounce = engaged
	}
}

// see remembers the page.
func (v *visit) see(e *event.Event) {
	if e.Kind == event.Pageview {
		v.page = unique.Make(e.Path)
	} else if v.page == (path{}) {
		v.page = noPage
	}
}

var noPage = unique.Make("")

// strings counts the bytes of the visit's strings, as if it shared none.
func (v *visit) strings() int {
	o := v.origin.Value()
	c := &o.Campaign
	return len(o.EntryPath) + len(o.Source) + len(o.Channel) + len(o.Referrer) +
		len(c.Source) + len(c.Medium) + len(c.Campaign) + len(c.Content) + len(c.Term) +
		len(v.page.Value())
}
