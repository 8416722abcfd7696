package storage

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/halfmask/halfmask/event"
)

// checkBytes is how much of a table is read to look for damage: about a second's
// work. What was never merged is seldom more.
const checkBytes = 256 << 20

// freshPart is a part of events as an insert wrote it.
type freshPart struct {
	name  string
	day   event.Day
	bytes uint64
}

// Check reads the parts of these UTC days that no merge has touched, and detaches
// those that are damaged, so that Stored does not count their rows.
//
// A loss of power can leave such a part with the right number of rows and no
// contents; ClickHouse loads it without a word. It holds one day of one batch, so
// nothing else goes with it. Merged parts are synced before they replace others
// and hold many batches that no spool has any more: they are left alone. A
// cluster's replicas look after each other.
func (s *Store) Check(ctx context.Context, days []event.Day) error {
	if s.clustered() {
		return nil
	}
	parts, err := s.freshParts(ctx, days)
	if err != nil {
		return fmt.Errorf("cannot list what to check: %w", err)
	}
	left := uint64(checkBytes)
	for i, p := range parts {
		if p.bytes > left {
			s.log.Warn("some parts of events are not checked for damage, it would take too long: run CHECK TABLE events when there is time",
				"parts", len(parts)-i)
			return nil
		}
		left -= p.bytes
		if err := s.checkPart(ctx, p); err != nil && !gone(err) {
			return fmt.Errorf("cannot check part %s: %w", p.name, err)
		}
	}
	return nil
}

// freshParts lists the parts that no merge has touched, newest first.
func (s *Store) freshParts(ctx context.Context, days []event.Day) (parts []freshPart, err error) {
	err = s.selectRows(ctx, s.writer, statement{name: "Check", sql: sqlText("Check.parts")}, func(scan scanner) error {
		var p freshPart
		var day int32
		err := scan(&p.name, &day, &p.bytes)
		if p.day = event.Day(day); slices.Contains(days, p.day) {
			parts = append(parts, p)
		}
		return err
	})
	return parts, err
}

// partName is what ClickHouse calls a part. CHECK TABLE takes no parameters, so
// nothing else may become part of its text.
var partName = regexp.MustCompile(`^[0-9]+(_[0-9]+){3,4}$`)

func (s *Store) checkPart(ctx context.Context, p freshPart) error {
	if !partName.MatchString(p.name) {
		return errors.New("its name is not one")
	}
	sound := true
	sql := "CHECK TABLE events PART '" + p.name + "' SETTINGS check_query_single_value_result = 0"
	err := s.selectRows(ctx, s.writer, statement{name: "Check", sql: sql}, func(scan scanner) error {
		var part, message string
		var passed bool
		err := scan(&part, &passed, &message)
		sound = sound && passed
		return err
	})
	if err != nil || sound {
		return err
	}
	s.metrics.broken.Inc()
	s.log.Error("a part of events is damaged and detached; if the spool still has its events they are stored again",
		"part", p.name, "day", p.day.String(), "bytes", p.bytes)
	return s.exec(ctx, statement{name: "Check", sql: sqlText("Check.detach"), args: []any{clickhouse.Named("part", p.name)}})
}

// gone reports that a part is not there any more: it was merged or dropped.
func gone(err error) bool {
	const noSuchDataPart = 232
	var f *Failure
	return errors.As(err, &f) && f.Code == noSuchDataPart
}
