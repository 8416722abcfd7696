package anonymize

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/oschwald/geoip2-golang/v2"
	"github.com/oschwald/maxminddb-golang/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/halfmask/halfmask/event"
)

const (
	// pollPlaces is how often the file's size and time are looked at.
	pollPlaces = 10 * time.Second
	// spots is how many decoded records are remembered: a record that is asked
	// for again costs a third of decoding it, and 65,536 of them take 8 MB.
	spots = 1 << 16
	// longestCity bounds a name in bytes; the longest in GeoLite2 has 60.
	longestCity = 100
)

// Places tells where an address is from a database in GeoIP2 form (City,
// Country or Enterprise; GeoLite2 and DB-IP's free ones have it too). It loads
// the file anew when it changes and keeps the old one if the new is broken. It
// is safe for concurrent use.
//
// The file is held in memory, not mapped: a database that is overwritten in
// place would take the process down through a mapping.
type Places struct {
	path   string
	logger *slog.Logger
	atlas  atomic.Pointer[atlas]
	stop   chan struct{}
	once   sync.Once
	done   chan struct{}

	reloads *prometheus.CounterVec
}

// OpenPlaces loads the database at path and watches it until Close.
func OpenPlaces(path string, logger *slog.Logger, registerer prometheus.Registerer) (*Places, error) {
	p := &Places{
		path:   path,
		logger: logger,
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "halfmask_anonymize_places_reloads_total",
			Help: "Times the place database changed on disk and was loaded anew.",
		}, []string{"result"}),
	}
	p.reloads.WithLabelValues("ok")
	p.reloads.WithLabelValues("failed")
	built := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "halfmask_anonymize_places_built_timestamp_seconds",
		Help: "When the place database in use was built, by its own word.",
	}, func() float64 { return float64(p.atlas.Load().built.Unix()) })

	state, err := p.look()
	if err != nil {
		return nil, fmt.Errorf("cannot open the place database: %w", err)
	}
	a, err := p.load()
	if err != nil {
		return nil, err
	}
	p.atlas.Store(a)
	if err := errors.Join(registerer.Register(p.reloads), registerer.Register(built)); err != nil {
		return nil, fmt.Errorf("cannot register the place database's metrics: %w", err)
	}
	go p.watch(state)
	return p, nil
}

// Close stops watching the file. Lookups go on answering from what was loaded.
func (p *Places) Close() error {
	p.once.Do(func() { close(p.stop) })
	<-p.done
	return nil
}

// state is what tells that a file changed.
type state struct {
	modified time.Time
	size     int64
}

func (p *Places) look() (state, error) {
	info, err := os.Stat(p.path)
	if err != nil {
		return state{}, err
	}
	return state{info.ModTime(), info.Size()}, nil
}

// watch loads the file once it differs from what is loaded and has been still
// for one interval, so that half a copy is not taken for a broken file.
func (p *Places) watch(loaded state) {
	defer close(p.done)
	ticker := time.NewTicker(pollPlaces)
	defer ticker.Stop()
	last := loaded
	for {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
		}
		now, err := p.look()
		if err != nil || now == loaded {
			last = loaded // gone for a moment while it is replaced, or nothing new
			continue
		}
		if now != last {
			last = now
			continue
		}
		loaded = now
		a, err := p.load()
		if err != nil {
			p.reloads.WithLabelValues("failed").Inc()
			p.logger.Error("the changed place database is not used; the one before stays", "error", err)
			continue
		}
		p.atlas.Store(a)
		p.reloads.WithLabelValues("ok").Inc()
		p.logger.Info("the place database was loaded anew", "type", a.kind, "built", a.built)
	}
}

func (p *Places) load() (*atlas, error) {
	data, err := os.ReadFile(p.path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the place database: %w", err)
	}
	a, err := newAtlas(data)
	if err != nil {
		return nil, fmt.Errorf("cannot use the place database %s: %w; give a GeoIP2 or GeoLite2 City or Country file (.mmdb)", p.path, err)
	}
	return a, nil
}

// find returns the place of a whole address.
func (p *Places) find(addr netip.Addr) event.Place { return p.atlas.Load().find(addr) }

// atlas is one loaded database with the records decoded so far.
type atlas struct {
	reader *maxminddb.Reader
	flat   atomic.Pointer[ranges] // its IPv4 part; nil: ask the reader
	kind   string
	built  time.Time
	spots  []atomic.Pointer[spot]
}

// spot is a decoded record, found again by its place in the file.
type spot struct {
	offset uintptr
	place  event.Place
}

func newAtlas(data []byte) (*atlas, error) {
	reader, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, err
	}
	kind := reader.Metadata.DatabaseType
	for _, known := range []string{"City", "Country", "Enterprise"} {
		if strings.Contains(kind, known) {
			a := &atlas{reader: reader, kind: kind, built: reader.Metadata.BuildTime(), spots: make([]atomic.Pointer[spot], spots)}
			// It takes up to a second, for which the door does not wait.
			go func() { a.flat.Store(layFlat(reader)) }()
			return a, nil
		}
	}
	return nil, fmt.Errorf("its type %q holds no places", kind)
}

func (a *atlas) find(addr netip.Addr) event.Place {
	var offset uintptr
	if flat := a.flat.Load(); flat != nil && addr.Is4() {
		record := flat.find(addr.As4())
		if record == none {
			return event.Place{}
		}
		offset = uintptr(record)
	} else {
		found := a.reader.Lookup(addr)
		if !found.Found() {
			return event.Place{}
		}
		offset = found.Offset()
	}
	slot := &a.spots[uint64(offset)*0x9e3779b97f4a7c15>>48] // Fibonacci hashing to 16 bits
	if s := slot.Load(); s != nil && s.offset == offset {
		return s.place
	}
	s := &spot{offset: offset, place: decodePlace(a.reader.LookupOffset(offset))}
	slot.Store(s)
	return s.place
}

// decodePlace reads a record, once: the hot path looks records up by their
// offset. What is malformed in it counts as unknown.
func decodePlace(found maxminddb.Result) (place event.Place) {
	var record geoip2.City // a Country database fills the part of it that it has
	if err := found.Decode(&record); err != nil {
		return event.Place{}
	}
	if country := record.Country.ISOCode; len(country) == 2 && alphanumeric(country) {
		place.Country = shared(country)
		if len(record.Subdivisions) > 0 {
			// ISO 3166-2: the country and up to three letters or digits.
			if part := record.Subdivisions[0].ISOCode; part != "" && len(part) <= 3 && alphanumeric(part) {
				place.Region = shared(country + "-" + part)
			}
		}
	}
	if city := record.City.Names.English; len(city) <= longestCity {
		place.City = shared(city)
	}
	return place
}

func alphanumeric(code string) bool {
	for _, c := range []byte(code) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// shared returns the one copy of s in the process.
func shared(s string) string { return unique.Make(s).Value() }
