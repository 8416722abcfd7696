package anonymize

import (
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync/atomic"
	"time"

	"github.com/halfmask/halfmask/event"
)

const (
	// grace is how long after midnight yesterday's pseudonym is tried: a visit
	// that lived before midnight has its next event within 30 minutes or is over.
	grace = 30 * time.Minute
	// ahead is how long before midnight tomorrow's salt is made: long enough for
	// several collectors to agree on one though storage is away for hours, and no
	// longer, because a salt that does not exist cannot be stolen.
	ahead = 6 * time.Hour
	// setBack is by how many days a clock may be set back so that the newest salt
	// goes on being used where the day's own is gone. Further than that the clock
	// was wrong before, and staying with that salt would stop the rotation.
	setBack = 2
)

// salt is a Salt that can be destroyed while others read it.
type salt struct {
	day     event.Day
	created time.Time
	agreed  bool // the store says that it counts; guarded by Keeper.mu
	k0, k1  atomic.Uint64
	dead    atomic.Bool
}

func newSalt(from Salt) *salt {
	s := &salt{day: from.Day, created: from.Created}
	s.k0.Store(binary.LittleEndian.Uint64(from.Key[:8]))
	s.k1.Store(binary.LittleEndian.Uint64(from.Key[8:]))
	return s
}

// key returns the salt's key unless the salt was destroyed. dead is set before
// the key is overwritten and read after the key was, so half a key is never
// mistaken for one.
func (s *salt) key() (key, bool) {
	k := s.secret()
	return k, !s.dead.Load()
}

func (s *salt) secret() key { return key{s.k0.Load(), s.k1.Load()} }

func (s *salt) destroy() {
	s.dead.Store(true)
	s.k0.Store(0)
	s.k1.Store(0)
}

// export returns the salt as it leaves for the store or the snapshot. Whoever
// gets it clears it.
func (s *salt) export(zone string) Salt {
	out := Salt{Zone: zone, Day: s.day, Created: s.created}
	k := s.secret()
	binary.LittleEndian.PutUint64(out.Key[:8], k.k0)
	binary.LittleEndian.PutUint64(out.Key[8:], k.k1)
	return out
}

// zone is a time zone and its salts.
type zone struct {
	name string
	turn atomic.Pointer[turn]

	// Guarded by Keeper.mu:
	loc     *time.Location
	wanted  bool      // a site lives here; else its salts are only waiting for their end
	salts   []*salt   // by day
	newest  event.Day // the newest day that has begun with a salt
	begun   bool      // newest means something
	dropped event.Day // the store has none before this day any more
}

// turn is what hits need during a span of one day with one offset from UTC. It
// is immutable.
type turn struct {
	from, until int64 // Unix seconds
	grace       int64 // yesterday's pseudonym is tried before this second
	day         event.Day
	current     *salt
	previous    *salt // nil if there is none
}

// turnAt works out the turn at an instant and makes the day's salt if it must.
func (z *zone) turnAt(at time.Time) (t *turn, made bool) {
	day, from, until := span(at, z.loc)
	start := day.Start(z.loc)
	t = &turn{from: from, until: until, grace: start.Add(grace).Unix(), day: day}
	t.current, made = z.pick(day)
	if s := z.salt(dayBefore(day, z.loc)); s != t.current {
		t.previous = s
	}
	return t, made
}

// span returns the day that at falls on and the Unix seconds around it during
// which neither the day nor the offset from UTC changes.
func span(at time.Time, loc *time.Location) (day event.Day, from, until int64) {
	at = at.In(loc)
	day = event.DayOf(at, loc)
	_, offset := at.Zone()
	from = int64(day)*86400 - int64(offset)
	until = from + 86400
	start, end := at.ZoneBounds()
	if !start.IsZero() {
		from = max(from, start.Unix())
	}
	if !end.IsZero() {
		until = min(until, end.Unix())
	}
	return day, from, until
}

// dayBefore is yesterday, which is not always the date before: a zone that
// moves across the date line skips one.
func dayBefore(day event.Day, loc *time.Location) event.Day {
	return event.DayOf(day.Start(loc).Add(-time.Second), loc)
}

// pick returns the salt to use on a day and makes it if it never was. A salt
// that was destroyed is not made again: where the clock was set back the newest
// one goes on.
func (z *zone) pick(day event.Day) (s *salt, made bool) {
	s = z.salt(day)
	if s == nil && z.begun && day < z.newest && z.newest-day <= setBack {
		if s = z.salt(z.newest); s != nil {
			return s, false
		}
	}
	if s == nil {
		s, made = z.create(day), true
	}
	if !z.begun || day > z.newest || z.newest-day > setBack {
		z.newest, z.begun = day, true
	}
	return s, made
}

// tend makes tomorrow's salt when it is time and destroys what is older than
// yesterday or further away than tomorrow.
func (z *zone) tend(now time.Time) (made, destroyed bool) {
	today := event.DayOf(now, z.loc)
	if z.wanted {
		_, made = z.pick(today)
		if tomorrow := today + 1; z.salt(tomorrow) == nil && !now.Before(tomorrow.Start(z.loc).Add(-ahead)) {
			z.create(tomorrow)
			made = true
		}
	}
	first, last := dayBefore(today, z.loc), today+1
	if z.begun {
		first, last = min(first, z.newest), max(last, z.newest+1)
	}
	z.salts = slices.DeleteFunc(z.salts, func(s *salt) bool {
		if s.day >= first && s.day <= last {
			return false
		}
		s.destroy()
		destroyed = true
		return true
	})
	if destroyed {
		z.turn.Store(nil)
	}
	return made, destroyed
}

func (z *zone) create(day event.Day) *salt {
	fresh := Salt{Zone: z.name, Day: day, Created: time.Now()}
	_, _ = rand.Read(fresh.Key[:]) // never fails, says its documentation
	s := newSalt(fresh)
	z.insert(s)
	return s
}

func (z *zone) insert(s *salt) {
	i, _ := slices.BinarySearchFunc(z.salts, s.day, func(s *salt, day event.Day) int { return int(s.day - day) })
	z.salts = slices.Insert(z.salts, i, s)
}

func (z *zone) salt(day event.Day) *salt {
	for _, s := range z.salts {
		if s.day == day {
			return s
		}
	}
	return nil
}
