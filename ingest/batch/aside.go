package batch

import (
	"context"
	"fmt"
	"maps"

	"github.com/halfmask/halfmask/event"
)

var errTooManyBad = fmt.Errorf("storage refuses more than %d of its events", siftEvents)

// sift finds out which events of a batch storage refuses, if it refused the
// batch for its events several times, and leaves them out from now on. It
// reports whether there are so many of them that the batch was put aside.
//
// The batch keeps its token: storage tells by it and the day what it has
// already, so of a batch with and one without them it takes one, whatever is
// still on its way. The segment is kept in quarantine in the end.
func (s *Shipper) sift(ctx context.Context, j *job) (done bool, err error) {
	if !j.sift {
		return false, nil
	}
	j.sift = false // once for each refusal
	bad, err := s.refused(ctx, j)
	if err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		// The batch is tried as it is: it must not wait for this.
		s.failed(err, 1, "the events for which storage refuses a batch cannot be found", "batch", j.segment.Seq)
		return false, nil
	}
	if len(j.skip)+len(bad) > siftEvents {
		return true, s.quarantine(j, errTooManyBad)
	}
	if len(bad) > 0 {
		s.leaveOut(j, bad)
		s.log.Error("storage refuses some of a batch's events; the others are stored, the segment is kept in quarantine",
			"batch", j.segment.Seq, "refused", len(j.skip), "others", j.count)
	}
	return false, nil
}

// refused returns the places of the events that storage refuses, among those
// not left out yet. What is stored is not refused, and not asked about.
func (s *Shipper) refused(ctx context.Context, j *job) ([]int, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.InsertTimeout)
	defer cancel()
	stored, err := s.opts.Sink.Stored(ctx, s.opts.Source.ID(), j.segment.Seq)
	if err != nil {
		return nil, &failure{failStored, err}
	}
	lacking := map[event.Day]bool{}
	for day := range j.days {
		if stored[day] == 0 {
			lacking[day] = true
		}
	}
	b := Batch{Spool: s.opts.Source.ID(), Seq: j.segment.Seq, Events: s.events(j.segment, j.skip), Count: j.count}
	bad, err := s.opts.Sink.Refused(ctx, b, lacking, siftEvents)
	if err != nil {
		return nil, &failure{failSift, err}
	}
	return bad, nil
}

// leaveOut takes the events at these places, among those not left out yet, out
// of a job.
func (s *Shipper) leaveOut(j *job, bad []int) {
	out := make(map[int]bool, len(bad))
	for _, place := range bad {
		out[place] = true
	}
	skip, days := maps.Clone(j.skip), maps.Clone(j.days)
	if skip == nil {
		skip = map[int]bool{}
	}
	place, left := -1, -1
	for e := range s.events(j.segment, nil) {
		if place++; j.skip[place] {
			continue
		}
		if left++; out[left] {
			skip[place] = true
			days[dayOf(e)]--
			j.count--
		}
	}
	j.skip, j.days = skip, days
}

func (s *Shipper) quarantine(j *job, why error) error {
	seq := j.segment.Seq
	all := uint64(j.count + len(j.skip) + j.unread)
	if err := s.opts.Books.Quarantined(seq, all, func() error { return s.opts.Source.Quarantine(seq) }); err != nil {
		j.bad = badTries - 1
		return &failure{failSettle, err}
	}
	j.short = 0 // of those that are all counted now
	s.putAside(j)
	s.metrics.quarantined.WithLabelValues(asideBatch).Add(float64(j.count))
	s.log.Error("storage keeps refusing a batch's events; its segment is in quarantine and the rest goes on",
		"batch", j.segment.Seq, "events", j.count, "attempts", j.bad, "error", why)
	return nil
}

// leave takes a finished segment out of the source. One that holds more than
// storage has is kept in quarantine and never deleted: records that do not
// decode, for a version that can read them, events that storage refuses, and
// those that did not come to be stored with the others of their day.
func (s *Shipper) leave(j *job) error {
	seq, away := j.segment.Seq, s.opts.Source.Settle
	aside := j.unread + len(j.skip) + j.short
	if aside > 0 {
		away = s.opts.Source.Quarantine
	}
	held := maps.Clone(j.days)
	maps.Copy(held, j.part)
	if err := s.opts.Books.Settled(seq, held, uint64(aside), func() error { return away(seq) }); err != nil {
		return &failure{failSettle, err}
	}
	s.putAside(j)
	return nil
}

// putAside counts what of a job was put aside, but for its batch.
func (s *Shipper) putAside(j *job) {
	for reason, n := range map[string]int{asideUnreadable: j.unread, asideRefused: len(j.skip), asideIncomplete: j.short} {
		s.metrics.quarantined.WithLabelValues(reason).Add(float64(n))
	}
}
