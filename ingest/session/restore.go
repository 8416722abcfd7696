package session

import (
	"strings"

	"github.com/halfmask/halfmask/event"
)

// Restore takes an event that was decided before a restart, from storage or
// from the spool, so that the table knows what it knew then. day is the site's
// day at e.At. The events of a visit come in the order of time and from its
// beginning on: where that is missing, a bounce in doubt counts as ended. Those
// that come again change nothing. It is best done before the first Apply; where
// the door opened earlier, what Apply decided stands, and the visits that it
// has not touched are restored all the same.
func (t *Table) Restore(e *event.Event, day event.Day) {
	now := e.At.Unix()
	here := key{e.Site, e.Visitor}
	x := t.index()
	x.mu.Lock()
	defer x.mu.Unlock()
	before, moved := x.keys[e.Visit]
	if !moved {
		before = here
	}
	s, from := t.lock(here, before)
	defer unlock(s, from)
	if s.closed {
		return
	}
	s.begin(from)
	s.latest = max(s.latest, now)
	s.expire(s.latest, 2)
	s.remember(day, e.Visitor, now)

	old := s.recall(here, now)
	if old == none && before != here {
		if old = from.recall(before, now); old != none && from.pool.visit(old).id != e.Visit {
			return
		}
	} else {
		from = s
	}
	var f course
	if old != none {
		switch v := from.pool.visit(old); {
		case v.last > now:
			return // what came later is known
		case v.id == e.Visit:
			f = course{id: v.id, bounce: v.bounce, page: from.string(v.page)}
		case v.last == now:
			return // Apply has opened another visit meanwhile
		}
	}
	f.day, f.last = day, now
	f.replay(e)
	f.entry, f.origin = e.Origin.EntryPath, s.pack(&e.Origin)
	if old != none {
		delete(x.keys, from.pool.visit(old).id)
		// Its text may go with the visit.
		f.page = strings.Clone(f.page)
		from.remove(old)
	}
	s.insert(here, &f, s.latest, none)
	x.keys[f.id] = here
}

// recall is find for an event of the past. What lies ahead of that is later, not
// from a clock that was wrong, and stays.
func (s *shard) recall(k key, now int64) uint32 {
	i := s.locate(k)
	if i != none && now-s.pool.visit(i).last >= timeout {
		s.remove(i)
		return none
	}
	return i
}

// RestoreVisitor takes a visitor that was counted on a day before a restart.
func (t *Table) RestoreVisitor(site event.SiteID, visitor event.VisitorID, day event.Day) {
	s := t.shard(key{site, visitor})
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.remember(day, visitor, int64(day)*86400)
	}
}

func (t *Table) index() *moved {
	for {
		if x := t.known.Load(); x != nil {
			return x
		}
		t.known.CompareAndSwap(nil, &moved{keys: make(map[event.VisitID]key)})
	}
}

// replay brings a visit to where it was after e; f is zero but for its times if
// e is the first of its events to be seen.
func (f *course) replay(e *event.Event) {
	seen := f.id == e.Visit
	f.id = e.Visit
	switch {
	case e.Kind == event.Pageview:
		f.page = e.Path
	case !seen && e.Facts.NewVisit == 0:
		f.page = e.Origin.EntryPath // the best guess
	}
	switch {
	case e.Facts.Bounce > 0:
		f.bounce = max(f.bounce, bouncing)
	case e.Facts.Bounce < 0, e.Interactive && e.Kind != event.Engagement:
		f.bounce = engaged
	case !seen && e.Facts.NewVisit == 0:
		f.bounce = engaged
	}
}
