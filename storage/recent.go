package storage

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/halfmask/halfmask/event"
)

// Recent calls yield for each event of the visits that had an event since then,
// from their beginning on but at most a day further back. It gives what a session
// table is rebuilt from: everything but properties, scroll depth and engaged
// time. Visits come one by one, in the order of their last events; a visit's
// events in the order of time, within one second its first event first. The
// event and its strings are yield's to keep. An error of yield's ends it and is
// returned.
func (s *Store) Recent(ctx context.Context, since time.Time, yield func(*event.Event) error) error {
	var failed error
	err := s.selectRows(ctx, s.writer, statement{
		name: "Recent", sql: sqlText("Recent"), args: []any{clickhouse.Named("since", since.Unix())},
	}, func(scan scanner) error {
		e, err := scanEvent(scan)
		if err != nil {
			return err
		}
		failed = yield(e)
		return failed
	})
	if err != nil && failed == nil {
		return fmt.Errorf("cannot read recent events: %w", err)
	}
	return err
}

func scanEvent(scan scanner) (*event.Event, error) {
	e := new(event.Event)
	var site, visitor, visit uint64
	var kind int8
	var network string
	err := scan(
		&e.At, &site, &kind, &e.Name, &e.Interactive, &e.Hostname, &e.Path,
		&e.Origin.EntryPath, &e.Facts.PreviousPath, &visitor, &visit,
		&e.Facts.NewVisitor, &e.Facts.NewVisit, &e.Facts.Bounce, &e.Facts.Duration,
		&e.Origin.Source, &e.Origin.Channel, &e.Origin.Referrer,
		&e.Origin.Campaign.Source, &e.Origin.Campaign.Medium, &e.Origin.Campaign.Campaign,
		&e.Origin.Campaign.Content, &e.Origin.Campaign.Term,
		&e.Place.Country, &e.Place.Region, &e.Place.City,
		&e.Client.Device, &e.Client.Browser, &e.Client.BrowserVersion, &e.Client.OS, &e.Client.OSVersion,
		&network,
	)
	e.Site, e.Visitor, e.Visit = event.SiteID(site), event.VisitorID(visitor), event.VisitID(visit)
	e.Kind = event.Kind(kind)
	e.Scroll = event.NoScroll
	e.Network = parseNetwork(network)
	return e, err
}

// parseNetwork reads what event.Network.String wrote; anything else is unknown.
func parseNetwork(s string) event.Network {
	if rest, ok := strings.CutSuffix(s, ".x.x"); ok {
		first, second, _ := strings.Cut(rest, ".")
		a, err := strconv.ParseUint(first, 10, 8)
		b, err2 := strconv.ParseUint(second, 10, 8)
		if err == nil && err2 == nil {
			return event.NetworkV4(uint8(a), uint8(b))
		}
	}
	if rest, ok := strings.CutSuffix(s, ":x"); ok {
		first, second, _ := strings.Cut(rest, ":")
		a, err := strconv.ParseUint(first, 16, 16)
		b, err2 := strconv.ParseUint(second, 16, 16)
		if err == nil && err2 == nil {
			return event.NetworkV6(uint8(a>>8), uint8(a), uint8(b>>8), uint8(b))
		}
	}
	return event.Network{}
}

// VisitorsSince calls yield once for each pseudonym that a site has seen since
// then, in no order. An error of yield's ends it and is returned.
func (s *Store) VisitorsSince(ctx context.Context, site event.SiteID, since time.Time, yield func(event.VisitorID) error) error {
	var failed error
	err := s.selectRows(ctx, s.writer, statement{
		name: "VisitorsSince", sql: sqlText("VisitorsSince"),
		args: []any{clickhouse.Named("site", uint64(site)), clickhouse.Named("since", since.Unix())},
	}, func(scan scanner) error {
		var visitor uint64
		if err := scan(&visitor); err != nil {
			return err
		}
		failed = yield(event.VisitorID(visitor))
		return failed
	})
	if err != nil && failed == nil {
		return fmt.Errorf("cannot read recent visitors: %w", err)
	}
	return err
}
