package session

import "github.com/halfmask/halfmask/event"

// bounce is how far a visit has come; it only grows.
type bounce uint8

const (
	unseen   bounce = iota // no pageview yet, and nothing interactive
	bouncing               // one pageview; counted as a bounce for now
	engaged                // will never be a bounce (again)
)

// begin opens a visit with e, whose visit, origin and facts it sets, and
// returns what becomes of its bounce. NewVisitor is left to the caller.
func begin(e *event.Event) bounce {
	e.Visit = newVisitID()
	e.Facts = event.Facts{NewVisit: 1}
	// Whatever the event is: it happened on a page, and an entry page that came
	// only later would part the visit's sums.
	e.Origin.EntryPath = e.Path
	return unseen.advance(e)
}

// resume continues visit i with e, likewise.
func (s *shard) resume(i uint32, e *event.Event) bounce {
	v := s.pool.visit(i)
	e.Visit = v.id
	e.Facts = event.Facts{}
	if gap := e.At.Unix() - v.last; gap > 0 {
		e.Facts.Duration = uint32(gap)
	}
	s.recallOrigin(v, &e.Origin)
	if e.Kind == event.Pageview {
		e.Facts.PreviousPath = s.string(v.page)
	}
	return v.bounce.advance(e)
}

// recallOrigin gives a visit's origin.
func (s *shard) recallOrigin(v *visit, o *event.Origin) {
	o.EntryPath = s.string(v.entry)
	if !unpack(s.string(v.origin), o) {
		*o = event.Origin{EntryPath: o.EntryPath}
	}
}

// advance tells what e does to the bounce.
func (b bounce) advance(e *event.Event) bounce {
	switch {
	case e.Kind == event.Engagement:
	case e.Kind == event.Pageview && b == unseen:
		e.Facts.Bounce = 1
		return bouncing
	case !e.Interactive:
	case b == bouncing:
		e.Facts.Bounce = -1
		return engaged
	default:
		return engaged
	}
	return b
}

// pagePath returns the path of a pageview, else "".
func pagePath(e *event.Event) string {
	if e.Kind == event.Pageview {
		return e.Path
	}
	return ""
}
