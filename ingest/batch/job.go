package batch

import (
	"errors"
	"iter"
	"time"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/record"
	"github.com/halfmask/halfmask/ingest/spool"
)

// job is a segment on its way from the source to storage.
type job struct {
	segment *spool.Segment
	days    map[event.Day]uint64 // events by UTC day
	count   int
	skip    map[int]bool         // events left out because storage refuses them, by place; never written to
	unread  int                  // records that do not decode
	short   int                  // events of days of which storage holds some and not all
	part    map[event.Day]uint64 // how many it holds of those

	verify   bool       // ask what is stored before the next insert
	answered string     // the run of the server that said yes to a repetition
	spent    int        // tokens under which it did, without holding the rows
	spentIn  string     // the run of the server that they are of
	tries    int        // failed attempts since it was last acknowledged
	bad      int        // of all attempts, those refused as bad data
	sift     bool       // look for the events that are refused
	inflight *attempt   // the insert that is waited for
	given    []*attempt // inserts no longer waited for that may still run
	epoch    string     // the run of the server that acknowledged it
	stored   bool       // counted as stored
}

// attempt is one call of Sink.Insert.
type attempt struct {
	epoch   string
	repeats bool // the token, or its rows, may have come to storage before
	days    int  // that the insert repeats after asking what is stored
	started time.Time
	done    chan struct{}
	err     error // once done is closed
}

func (a *attempt) running() bool {
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}

// read walks a segment once to learn which days it holds and what of it does
// not decode.
func (s *Shipper) read(g *spool.Segment) *job {
	j := &job{segment: g, days: map[event.Day]uint64{}, verify: g.Found}
	var e event.Event
	for payload := range g.Records() {
		if err := s.opts.Decode(payload, &e); err != nil {
			s.metrics.undecodable.WithLabelValues(undecodable(err)).Inc()
			j.unread++
			continue
		}
		j.count++
		j.days[dayOf(&e)]++
	}
	if j.unread > 0 {
		s.log.Error("a spool segment holds records that this version cannot read; the others are stored, the segment is kept in quarantine",
			"segment", g.Seq, "unreadable", j.unread, "readable", j.count)
	}
	return j
}

func undecodable(err error) string {
	if errors.Is(err, record.ErrVersion) {
		return "version"
	}
	return "malformed"
}

// dayOf returns the day under which storage files an event.
func dayOf(e *event.Event) event.Day { return event.DayOf(e.At, time.UTC) }

// events walks a segment's events, without those that do not decode and those
// to be left out.
func (s *Shipper) events(g *spool.Segment, skip map[int]bool) iter.Seq[*event.Event] {
	return func(yield func(*event.Event) bool) {
		var e event.Event
		place := -1
		for payload := range g.Records() {
			if s.opts.Decode(payload, &e) != nil {
				continue
			}
			if place++; !skip[place] && !yield(&e) {
				return
			}
		}
	}
}

// missing returns the job's days that storage lacks, also those so old that
// storage has dropped them by now, or is about to. Leaving them out would lose
// events for good where only a wrong clock calls them old; storage, which does
// not trust a clock that jumped, drops them again within the hour and never
// shows them.
//
// A day of which storage holds some events and not all is not among them:
// inserting it again would double what is there. A day of a batch is stored as a
// whole or not at all, so an earlier version could not read the others, or
// storage refused them, or lost them. They are short, which keeps their segment
// from being deleted.
func (s *Shipper) missing(j *job, stored map[event.Day]uint64) map[event.Day]bool {
	missing := map[event.Day]bool{}
	j.short, j.part = 0, map[event.Day]uint64{}
	for day, count := range j.days {
		n := stored[day]
		if n == 0 && count > 0 {
			missing[day] = true
		}
		if n == 0 || n == count {
			continue
		}
		if n < count {
			j.short += int(count - n)
			j.part[day] = n
		}
		s.metrics.failures.WithLabelValues(failMismatch).Inc()
		s.log.Error("storage holds another number of a batch's events than were sent; they are left as they are, and a segment with more is kept in quarantine",
			"batch", j.segment.Seq, "day", day.String(), "sent", count, "stored", n)
	}
	return missing
}
