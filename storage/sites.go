package storage

import (
	"context"
	"fmt"
	"strings"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/halfmask/halfmask/event"
)

const insertSites = "INSERT INTO sites (domain, id, zone, created, version, deleted)"

// siteRecord is the newest row of a domain.
type siteRecord struct {
	domain  string
	id      uint64
	zone    string
	created time.Time
	version uint64
	deleted bool
}

func (r siteRecord) values() []any {
	return []any{r.domain, r.id, r.zone, r.created, r.version, r.deleted}
}

// AddSite adds a site by its domain, which is lower-cased and loses "www.". zone
// is an IANA time zone; "" means UTC. A domain that is there already is
// ErrExists. A site that was removed and is added again gets a new ID.
func (s *Store) AddSite(ctx context.Context, domain, zone string) (*event.Site, error) {
	name, err := cleanDomain(domain)
	if err != nil {
		return nil, fmt.Errorf("cannot add site: %w", err)
	}
	location, err := s.zone(ctx, zone)
	if err != nil {
		return nil, fmt.Errorf("cannot add site %s: %w", name, err)
	}
	before, ok, err := s.site(ctx, name)
	if err == nil && ok && !before.deleted {
		err = ErrExists
	}
	if err != nil {
		return nil, fmt.Errorf("cannot add site %s: %w", name, err)
	}
	site := siteRecord{domain: name, id: newID(), zone: location.String(), created: time.Now(), version: nextVersion(before.version)}
	counts, err := insertOnce(ctx, s, row{
		name: "AddSite", into: insertSites, values: site.values(),
		token: fmt.Sprintf("site-%s-%d", name, before.version),
	}, func(ctx context.Context) (siteRecord, bool, error) {
		r, ok, err := s.site(ctx, name)
		return r, ok && !r.deleted, err
	})
	if err == nil && counts.id != site.id {
		err = ErrExists
	}
	if err != nil {
		return nil, fmt.Errorf("cannot add site %s: %w", name, err)
	}
	return &event.Site{ID: event.SiteID(site.id), Domain: name, Zone: location}, nil
}

// RemoveSite removes a site and deletes its events, of which it returns the
// number. It returns when no question can see them any more; their bytes leave
// the disk within about a minute. Events of the site that are still on their
// way are stored, but never shown, and leave with their day.
func (s *Store) RemoveSite(ctx context.Context, domain string) (events uint64, err error) {
	name, err := cleanDomain(domain)
	if err != nil {
		return 0, fmt.Errorf("cannot remove site: %w", err)
	}
	if events, err = s.removeSite(ctx, name); err != nil {
		return 0, fmt.Errorf("cannot remove site %s: %w", name, err)
	}
	return events, nil
}

func (s *Store) removeSite(ctx context.Context, name string) (events uint64, err error) {
	site, ok, err := s.site(ctx, name)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, ErrNotFound
	}
	id := clickhouse.Named("site", site.id)
	if _, err := s.one(ctx, statement{name: "RemoveSite", sql: sqlText("RemoveSite.count"), args: []any{id}}, &events); err != nil {
		return 0, err
	}
	if site.deleted && events == 0 {
		return 0, ErrNotFound
	}
	// The site goes first: interrupted here, it can be removed again for the
	// events that are left, and nobody sees them meanwhile.
	site.deleted, site.version = true, nextVersion(site.version)
	if err := s.insertRow(ctx, row{name: "RemoveSite", into: insertSites, values: site.values()}); err != nil {
		return 0, err
	}
	if events == 0 {
		return 0, nil
	}
	if err := s.exec(ctx, statement{name: "RemoveSite", sql: sqlText("RemoveSite"), args: []any{id}}); err != nil {
		return 0, err
	}
	// Parts that ClickHouse put aside may hold the site's events too.
	return events, s.each(ctx, func(ctx context.Context, one *Store) error {
		return one.exec(ctx, statement{name: "RemoveSite", sql: sqlText("RemoveSite.detached")})
	})
}

// Sites returns every site, by domain.
func (s *Store) Sites(ctx context.Context) ([]*event.Site, error) {
	var all []*event.Site
	err := s.selectRows(ctx, s.writer, statement{name: "Sites", sql: sqlText("Sites")}, func(scan scanner) error {
		var id uint64
		var domain, zone string
		if err := scan(&id, &domain, &zone); err != nil {
			return err
		}
		location, err := time.LoadLocation(zone)
		if err != nil {
			return fmt.Errorf("the time zone of %s is not known here: install tzdata: %w", domain, err)
		}
		all = append(all, &event.Site{ID: event.SiteID(id), Domain: domain, Zone: location})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list sites: %w", err)
	}
	return all, nil
}

func (s *Store) site(ctx context.Context, domain string) (r siteRecord, ok bool, err error) {
	ok, err = s.one(ctx, statement{
		name: "Sites", sql: sqlText("Sites.one"), args: []any{clickhouse.Named("domain", domain)},
	}, &r.domain, &r.id, &r.zone, &r.created, &r.version, &r.deleted)
	return r, ok, err
}

// zone loads a time zone that ClickHouse knows too.
func (s *Store) zone(ctx context.Context, name string) (*time.Location, error) {
	if name == "" {
		name = "UTC"
	}
	location, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("time zone %q is not known: want an IANA name such as Europe/Berlin", name)
	}
	known, err := s.one(ctx, statement{
		name: "AddSite", sql: sqlText("AddSite.zone"), args: []any{clickhouse.Named("zone", name)},
	}, new(string))
	if err != nil {
		return nil, err
	}
	if !known {
		return nil, fmt.Errorf("time zone %q is not known to ClickHouse", name)
	}
	return location, nil
}

// cleanDomain returns a host name as collectors look it up: lower case, without
// "www.". Browsers tell names in other scripts in their ASCII form, so that form
// is wanted here too.
func cleanDomain(domain string) (string, error) {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-_."
	name := strings.ToLower(strings.TrimSuffix(strings.TrimSpace(domain), "."))
	name = strings.TrimPrefix(name, "www.")
	ok := name != "" && len(name) <= 253 && !strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(letters, r) })
	for label := range strings.SplitSeq(name, ".") {
		ok = ok && label != "" && len(label) <= 63
	}
	if !ok {
		return "", fmt.Errorf("%q is no domain: want a host name such as example.com (xn--... for other scripts), without scheme, port or path", domain)
	}
	return name, nil
}
