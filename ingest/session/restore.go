package session

import (
	"unique"

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
	s.forgo(now, 2)
	s.remember(day, e.Visitor, now)

	old := s.recall(here, now)
	if old == none && before != here {
		if old = from.recall(before, now); old != none && from.visits[old].id != e.Visit {
			return
		}
	} else {
		from = s
	}
	var v visit
	switch {
	case old == none:
	case from.visits[old].last > now:
		return // what came later is known
	case from.visits[old].id == e.Visit:
		v = from.visits[old]
	case from.visits[old].last == now:
		return // Apply has opened another visit meanwhile
	}
	v.key, v.day, v.last = here, day, now
	v.replay(e)
	if old != none {
		delete(x.keys, from.visits[old].id)
		from.remove(old)
	}
	s.insert(v)
	x.keys[v.id] = here
}

// recall is find for an event of the past. What lies ahead of that is later, not
// from a clock that was wrong, and stays.
func (s *shard) recall(k key, now int64) uint32 {
	i, ok := s.byKey[k]
	if !ok {
		return none
	}
	if now-s.visits[i].last >= timeout {
		s.remove(i)
		return none
	}
	return i
}

// forgo is expire for an event of the past, likewise.
func (s *shard) forgo(now int64, limit int) {
	for ; limit > 0 && s.oldest != none && now-s.visits[s.oldest].last >= timeout; limit-- {
		s.remove(s.oldest)
	}
}

// RestoreVisitor takes a visitor that was counted on a day before a restart.
func (t *Table) RestoreVisitor(site event.SiteID, visitor event.VisitorID, day event.Day) {
	s := t.shard(key{site, visitor})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remember(day, visitor, int64(day)*86400)
}

func (t *Table) index() *index {
	for {
		if x := t.known.Load(); x != nil {
			return x
		}
		t.known.CompareAndSwap(nil, &index{keys: make(map[event.VisitID]key)})
	}
}

// replay brings a visit to where it was after e; v is zero but for its key and
// times if e is the first of its events to be seen.
func (v *visit) replay(e *event.Event) {
	seen := v.id == e.Visit
	v.id = e.Visit
	v.origin = unique.Make(e.Origin)
	switch {
	case e.Kind == event.Pageview:
		v.page = unique.Make(e.Path)
	case seen:
	case e.Facts.NewVisit > 0:
		v.page = noPage
	default:
		v.page = unique.Make(e.Origin.EntryPath) // the best guess
	}
	switch {
	case e.Facts.Bounce > 0:
		v.bounce = max(v.bounce, bouncing)
	case e.Facts.Bounce < 0, e.Interactive && e.Kind != event.Engagement:
		v.bounce = engaged
	case !seen && e.Facts.NewVisit == 0:
		v.bounce = engaged
	}
}
