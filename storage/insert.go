package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/batch"
)

// Insert stores the batch's events as one block: those of the UTC days in
// only, or all if only is nil. It is acknowledged as a whole.
//
// One block, one token: the server recognises a repetition by token, day and
// the block's number, so a batch cut in two and repeated in one piece would
// lose rows. When ctx ends first the outcome is unknown and the block may yet
// arrive. An error that wraps batch.ErrBadData will come back every time; any
// other is worth another try.
func (s *Store) Insert(ctx context.Context, b batch.Batch, only map[event.Day]bool) error {
	if err := s.insert(ctx, b, only); err != nil {
		var f *Failure
		if errors.As(err, &f) && f.Class == Data {
			return fmt.Errorf("cannot insert batch %d: %w: %w", b.Seq, batch.ErrBadData, err)
		}
		return fmt.Errorf("cannot insert batch %d: %w", b.Seq, err)
	}
	return nil
}

// errRestarted is why a batch is not sent although ClickHouse answers.
var errRestarted = errors.New("ClickHouse was restarted since the batch's token was made")

func (s *Store) insert(ctx context.Context, b batch.Batch, only map[event.Day]bool) error {
	block := newBlock(b.Count)
	for e := range b.Events {
		if only != nil && !only[event.DayOf(e.At, time.UTC)] {
			continue
		}
		if err := block.add(e, b.Spool, b.Seq); err != nil {
			return err
		}
	}
	if block.rows() == 0 {
		return nil
	}
	prepared, err := s.prepare(ctx, "Insert", insertEvents, b.Token)
	if err != nil {
		return err
	}
	// The block must not reach a later run of the server than its token was made
	// for: the repetition would then carry another token, and both would count.
	// This connection is one run's; if the run that answers now is the token's,
	// it is this one.
	if epoch, err := s.Epoch(ctx); err != nil || !strings.HasSuffix(b.Token, "-"+epoch) {
		_ = prepared.Abort()
		return cmp.Or(err, errRestarted)
	}
	// Filling costs no round trip, so nobody needs to be able to leave.
	if err := block.fill(prepared); err != nil {
		_ = prepared.Abort()
		return s.observe("Insert.fill", time.Now(), err)
	}
	if err := s.send(ctx, "Insert", prepared); err != nil {
		return err
	}
	s.metrics.rows.Add(float64(block.rows()))
	return nil
}

// prepare opens an INSERT. Whatever a repetition must not do twice carries a
// token; without one the block's content is its own.
func (s *Store) prepare(ctx context.Context, name, into, token string) (driver.Batch, error) {
	return wait(ctx, s, name+".prepare", func(ctx context.Context) (driver.Batch, error) {
		settings := clickhouse.Settings{"async_insert": 0}
		if token != "" {
			setting, value, err := s.deduplication(ctx)
			if err != nil {
				return nil, err
			}
			settings[setting], settings["insert_deduplication_token"] = value, token
		}
		return s.writer.PrepareBatch(clickhouse.Context(ctx, clickhouse.WithQueryID(newQueryID()), clickhouse.WithSettings(settings)), into)
	}, func(b driver.Batch) { _ = b.Abort() })
}

// deduplication names the setting that makes the server heed tokens whatever
// its profile says. Servers before 26.2 know it by its old name.
func (s *Store) deduplication(ctx context.Context) (setting string, value any, err error) {
	known := s.dedup.Load()
	if known == nil {
		var modern bool
		if err := s.writer.QueryRow(ctx, sqlText("Insert.deduplication")).Scan(&modern); err != nil {
			return "", nil, err
		}
		known = &modern
		s.dedup.Store(known)
	}
	if *known {
		return "deduplicate_insert", "enable", nil
	}
	return "insert_deduplicate", 1, nil
}

func (s *Store) send(ctx context.Context, name string, b driver.Batch) error {
	_, err := wait(ctx, s, name, func(context.Context) (struct{}, error) { return struct{}{}, b.Send() }, nil)
	return err
}

// row is one row for one of the small tables.
type row struct {
	name   string // the method: a metric label
	into   string // INSERT INTO table (columns)
	token  string // makes a repetition harmless, if set
	values []any
}

func (s *Store) insertRow(ctx context.Context, r row) error {
	b, err := s.prepare(ctx, r.name, r.into, r.token)
	if err != nil {
		return err
	}
	if err := b.Append(r.values...); err != nil {
		_ = b.Abort()
		return s.observe(r.name, time.Now(), err)
	}
	return s.send(ctx, r.name, b)
}

const insertEvents = `INSERT INTO events (ts, site, kind, name, interactive, hostname, path, entry_path, previous_path,
visitor, visit, new_visitor, new_visit, bounce, duration, scroll, engaged,
source, channel, referrer, utm_source, utm_medium, utm_campaign, utm_content, utm_term,
country, region, city, device, browser, browser_version, os, os_version, network, props, spool, batch)`

// block is the columns of one INSERT, in the order of insertEvents. Strings
// are kept once each: an event's borrow memory that the driver's dictionaries
// would outlive, and most repeat.
type block struct {
	ts            []int64
	site          []uint64
	kind          []int8
	interactive   []bool
	visitor       []uint64
	visit         []uint64
	newVisitor    []uint8
	newVisit      []uint8
	bounce        []int8
	duration      []uint32
	scroll        []uint8
	engaged       []uint32
	texts         [texts][]string
	props         []map[string]string
	spool, batch  []uint64
	interned      map[string]string
	networkBuffer [32]byte
}

// The text columns of a block.
const (
	textName = iota
	textHostname
	textPath
	textEntryPath
	textPreviousPath
	textSource
	textChannel
	textReferrer
	textUTMSource
	textUTMMedium
	textUTMCampaign
	textUTMContent
	textUTMTerm
	textCountry
	textRegion
	textCity
	textDevice
	textBrowser
	textBrowserVersion
	textOS
	textOSVersion
	textNetwork
	texts
)

func newBlock(rows int) *block {
	rows = min(max(rows, 0), 1<<20) // a hint, not to be believed beyond reason
	b := &block{interned: make(map[string]string, 256)}
	b.ts = make([]int64, 0, rows)
	b.site = make([]uint64, 0, rows)
	b.visitor = make([]uint64, 0, rows)
	b.visit = make([]uint64, 0, rows)
	b.props = make([]map[string]string, 0, rows)
	for i := range b.texts {
		b.texts[i] = make([]string, 0, rows)
	}
	return b
}

func (b *block) rows() int { return len(b.ts) }

func (b *block) intern(s []byte) string {
	if known, ok := b.interned[string(s)]; ok {
		return known
	}
	own := string(s)
	b.interned[own] = own
	return own
}

func (b *block) text(column int, s string) {
	own, ok := b.interned[s]
	if !ok {
		own = string([]byte(s))
		b.interned[own] = own
	}
	b.texts[column] = append(b.texts[column], own)
}

// add takes one event. It refuses a time that the column would wrap round.
func (b *block) add(e *event.Event, spool, batch uint64) error {
	at := e.At.Unix()
	if at < 0 || at > math.MaxUint32 {
		return &Failure{Class: Data, hint: "an event's time is before 1970 or after 2106"}
	}
	b.ts = append(b.ts, at)
	b.site = append(b.site, uint64(e.Site))
	b.kind = append(b.kind, int8(e.Kind))
	b.interactive = append(b.interactive, e.Interactive)
	b.visitor = append(b.visitor, uint64(e.Visitor))
	b.visit = append(b.visit, uint64(e.Visit))
	b.newVisitor = append(b.newVisitor, e.Facts.NewVisitor)
	b.newVisit = append(b.newVisit, e.Facts.NewVisit)
	b.bounce = append(b.bounce, e.Facts.Bounce)
	b.duration = append(b.duration, e.Facts.Duration)
	b.scroll = append(b.scroll, e.Scroll)
	b.engaged = append(b.engaged, e.Engaged)
	b.spool = append(b.spool, spool)
	b.batch = append(b.batch, batch)

	b.text(textName, e.Name)
	b.text(textHostname, e.Hostname)
	b.text(textPath, e.Path)
	b.text(textEntryPath, e.Origin.EntryPath)
	b.text(textPreviousPath, e.Facts.PreviousPath)
	b.text(textSource, e.Origin.Source)
	b.text(textChannel, e.Origin.Channel)
	b.text(textReferrer, e.Origin.Referrer)
	b.text(textUTMSource, e.Origin.Campaign.Source)
	b.text(textUTMMedium, e.Origin.Campaign.Medium)
	b.text(textUTMCampaign, e.Origin.Campaign.Campaign)
	b.text(textUTMContent, e.Origin.Campaign.Content)
	b.text(textUTMTerm, e.Origin.Campaign.Term)
	b.text(textCountry, e.Place.Country)
	b.text(textRegion, e.Place.Region)
	b.text(textCity, e.Place.City)
	b.text(textDevice, e.Client.Device)
	b.text(textBrowser, e.Client.Browser)
	b.text(textBrowserVersion, e.Client.BrowserVersion)
	b.text(textOS, e.Client.OS)
	b.text(textOSVersion, e.Client.OSVersion)
	b.texts[textNetwork] = append(b.texts[textNetwork], b.intern(e.Network.AppendText(b.networkBuffer[:0])))

	var props map[string]string
	if len(e.Props) > 0 {
		props = make(map[string]string, len(e.Props))
		for _, p := range e.Props {
			props[b.intern([]byte(p.Key))] = b.intern([]byte(p.Value))
		}
	}
	b.props = append(b.props, props)
	return nil
}

// fill hands the columns over, in the order of insertEvents.
func (b *block) fill(to driver.Batch) error {
	t := &b.texts
	columns := []any{
		b.ts, b.site, b.kind, t[textName], b.interactive, t[textHostname], t[textPath], t[textEntryPath], t[textPreviousPath],
		b.visitor, b.visit, b.newVisitor, b.newVisit, b.bounce, b.duration, b.scroll, b.engaged,
		t[textSource], t[textChannel], t[textReferrer], t[textUTMSource], t[textUTMMedium], t[textUTMCampaign], t[textUTMContent], t[textUTMTerm],
		t[textCountry], t[textRegion], t[textCity], t[textDevice], t[textBrowser], t[textBrowserVersion], t[textOS], t[textOSVersion], t[textNetwork],
		b.props, b.spool, b.batch,
	}
	for i, c := range columns {
		if err := to.Column(i).Append(c); err != nil {
			return err
		}
	}
	return nil
}
