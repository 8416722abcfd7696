package batch

import (
	"context"

	"github.com/halfmask/halfmask/event"
)

// doubt is what the shipper knows of the days that a crash may have damaged.
type doubt struct {
	epoch   string             // the present run of the server
	crashed bool               // there was an earlier one in this process's time
	checked map[event.Day]bool // in the present run
	failed  int                // checks in a row
}

// meet notes the present run of the server.
func (d *doubt) meet(epoch string) {
	if d.epoch != epoch {
		*d = doubt{epoch: epoch, crashed: d.epoch != "", checked: map[event.Day]bool{}}
	}
}

// check has storage look for damage in a batch's days, once for each run of the
// server, before it is believed what it says of a batch that was sent to an
// earlier run: it counts rows without reading them. If it cannot look, shipping
// goes on: it must not wait for long.
func (s *Shipper) check(ctx context.Context, j *job) error {
	d := &s.doubt
	if !j.segment.Found && !d.crashed {
		return nil
	}
	var days []event.Day
	for day := range j.days {
		if !d.checked[day] {
			days = append(days, day)
		}
	}
	if len(days) == 0 {
		return nil
	}
	if err := s.opts.Sink.Check(ctx, days); err != nil {
		if d.failed++; d.failed < checkTries {
			return &failure{failCheck, err}
		}
		s.failed(&failure{failCheck, err}, 1, "storage cannot be checked for damage after a restart; what it says it holds is believed", "days", len(days))
	}
	d.failed = 0
	for _, day := range days {
		d.checked[day] = true
	}
	return nil
}
