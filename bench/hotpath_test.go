// Package bench_test measures what one event costs on its way from the
// request's bytes to the spool, step by step, with a realistic mix of beacons.
package bench_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"github.com/halfmask/halfmask/bench/workload"
	"github.com/halfmask/halfmask/collector/anonymize"
	"github.com/halfmask/halfmask/collector/beacon"
	"github.com/halfmask/halfmask/collector/consent"
	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest"
	"github.com/halfmask/halfmask/ingest/enrich"
	"github.com/halfmask/halfmask/ingest/record"
	"github.com/halfmask/halfmask/ingest/session"
	"github.com/halfmask/halfmask/ingest/spool"
)

var beacons = sync.OnceValue(workload.Realistic.Beacons)

// rooms are the steps of the way, wired as cmd wires them.
type rooms struct {
	site     *event.Site
	masker   *anonymize.Masker
	enricher *enrich.Enricher
	visits   *session.Table
	spool    *spool.Spool
	recorder *ingest.Recorder
}

func build(b *testing.B) *rooms {
	b.Helper()
	salts, err := anonymize.OpenKeeper("", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	salts.Ensure(time.UTC)
	r := &rooms{
		site:     &event.Site{ID: 1, Domain: workload.Site, Zone: time.UTC},
		masker:   anonymize.New(anonymize.Options{Salts: salts, Places: places(b)}),
		enricher: enrich.New(enrich.Options{}),
	}
	if r.visits, err = session.New(session.Options{}); err != nil {
		b.Fatal(err)
	}
	r.spool, err = spool.Open(spool.Options{Dir: filepath.Join(b.TempDir(), "spool")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = r.spool.Close() })
	r.recorder = ingest.New(ingest.Options{Enricher: r.enricher, Sessions: r.visits, Spool: draining{r.spool}})
	return r
}

// places is the database of `make geoip`, or none.
func places(b *testing.B) *anonymize.Places {
	p, err := anonymize.OpenPlaces(filepath.Join("..", ".cache", "geoip", "country.mmdb"), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		b.Log("measuring without a database of places: run `make geoip`")
		return nil
	}
	b.Cleanup(func() { _ = p.Close() })
	return p
}

// draining empties the spool when it is full, as the shipper would.
type draining struct{ *spool.Spool }

func (d draining) Append(payload []byte) (spool.Position, error) {
	for {
		p, err := d.Spool.Append(payload)
		if err != spool.ErrFull {
			return p, err
		}
		for {
			g, err := d.Next(canceled)
			if err != nil {
				break
			}
			if err := d.Settle(g.Seq); err != nil {
				return p, err
			}
		}
	}
}

// canceled makes Next answer at once.
var canceled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// hits are the workload as it is between the door and the recorder.
func (r *rooms) hits(b *testing.B) []event.Hit {
	b.Helper()
	hits := make([]event.Hit, len(beacons()))
	for i := range hits {
		var p beacon.Beacon
		if faults := p.ParseEvent(beacons()[i].Body); !faults.OK() {
			b.Fatal("the workload is not valid")
		}
		r.fill(&hits[i], &p, i)
	}
	return hits
}

func (r *rooms) fill(hit *event.Hit, p *beacon.Beacon, i int) {
	p.Fill(hit)
	hit.At = time.Now()
	hit.Site = r.site
	hit.UserAgent = event.UserAgent(beacons()[i].Agent)
	r.masker.Mask(hit, beacons()[i].Address)
}

// BenchmarkHotPath gives each step's share, and the whole.
func BenchmarkHotPath(b *testing.B) {
	r := build(b)
	all := beacons()
	hits := r.hits(b)
	for i := range hits { // every visitor is known: the steady state
		r.recorder.Record(&hits[i])
	}
	each := func(name string, f func(i int)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i = (i + 1) % len(all) {
				f(i)
			}
		})
	}
	var headers [256]fasthttp.RequestHeader
	for i := range headers {
		headers[i].Set("User-Agent", all[i].Agent)
		headers[i].Set("Accept-Language", "en-GB,en;q=0.9")
	}
	each("consent", func(i int) { consent.Decide(&headers[i%len(headers)]) })
	var p beacon.Beacon
	each("parse", func(i int) { p.ParseEvent(all[i].Body); p.Reset() })
	each("anonymise", func(i int) { r.masker.Mask(&hits[i], all[i].Address) })
	each("enrich", func(i int) {
		var o event.Origin
		r.enricher.Client(hits[i].UserAgent)
		r.enricher.Origin(&hits[i], &o)
	})
	var e event.Event
	each("sessionise", func(i int) {
		e = event.Event{At: hits[i].At, Site: r.site.ID, Kind: event.Pageview, Name: "pageview", Interactive: true, Path: hits[i].Path, Visitor: hits[i].Visitor}
		_, _ = r.visits.Apply(&e, 0, hits[i].Day, nowhere{})
	})
	var buffer []byte
	each("encode", func(i int) { e.Path = hits[i].Path; buffer = record.Append(buffer[:0], &e) })
	spooled := draining{r.spool}
	each("spool", func(int) {
		if _, err := spooled.Append(buffer); err != nil {
			b.Fatal(err)
		}
	})
	var hit event.Hit
	each("all", func(i int) {
		consent.Decide(&headers[i%len(headers)])
		p.ParseEvent(all[i].Body)
		r.fill(&hit, &p, i)
		if r.recorder.Record(&hit) != event.Accepted {
			b.Fatal("not accepted")
		}
		p.Reset()
	})
}

type nowhere struct{}

func (nowhere) Keep(*event.Event) error { return nil }
