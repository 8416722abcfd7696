package anonymize

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/halfmask/halfmask/event"
)

// database builds a place database of the given type.
func database(t testing.TB, kind string, records map[string]mmdbtype.Map) []byte {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: kind, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for network, record := range records {
		_, parsed, err := net.ParseCIDR(network)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(parsed, record); err != nil {
			t.Fatal(err)
		}
	}
	var data bytes.Buffer
	if _, err := tree.WriteTo(&data); err != nil {
		t.Fatal(err)
	}
	return data.Bytes()
}

func country(code string) mmdbtype.Map {
	return mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(code), "geoname_id": mmdbtype.Uint32(1)}}
}

func city(code, region, name string) mmdbtype.Map {
	m := country(code)
	m["subdivisions"] = mmdbtype.Slice{
		mmdbtype.Map{"iso_code": mmdbtype.String(region)},
		mmdbtype.Map{"iso_code": mmdbtype.String("OXF")},
	}
	m["city"] = mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(name), "de": mmdbtype.String("anders")}}
	return m
}

func openPlaces(t testing.TB, data []byte) (*Places, *prometheus.Registry) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "places.mmdb")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	p, err := OpenPlaces(path, quiet, registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p, registry
}

func TestPlaces(t *testing.T) {
	cities := database(t, "GeoLite2-City", map[string]mmdbtype.Map{
		"203.0.113.0/26":  city("DE", "BE", "Berlin"),
		"203.0.113.64/26": city("GB", "ENG", "Oxford"),
		"203.0.112.0/24":  country("FR"),
		"2001:db8::/48":   city("CH", "ZH", "Zürich"),
		"198.51.100.0/25": city("nonsense", "BE", "Nowhere"),
		"198.51.101.0/25": city("DE", "too long", "Berlin"),
	})
	countries := database(t, "DBIP-Country-Lite", map[string]mmdbtype.Map{"203.0.113.0/24": country("DE")})
	for _, c := range []struct {
		name, addr string
		data       []byte
		want       event.Place
	}{
		{"a city", "203.0.113.5", cities, event.Place{Country: "DE", Region: "DE-BE", City: "Berlin"}},
		{"mapped", "::ffff:203.0.113.5", cities, event.Place{Country: "DE", Region: "DE-BE", City: "Berlin"}},
		{"the other half of the /24", "203.0.113.77", cities, event.Place{Country: "GB", Region: "GB-ENG", City: "Oxford"}},
		{"country only", "203.0.112.5", cities, event.Place{Country: "FR"}},
		{"IPv6", "2001:db8::1", cities, event.Place{Country: "CH", Region: "CH-ZH", City: "Zürich"}},
		{"unknown", "192.0.2.1", cities, event.Place{}},
		{"malformed country", "198.51.100.1", cities, event.Place{City: "Nowhere"}},
		{"malformed region", "198.51.101.1", cities, event.Place{Country: "DE", City: "Berlin"}},
		{"country database", "203.0.113.5", countries, event.Place{Country: "DE"}},
		{"country database, IPv6", "2001:db8::1", countries, event.Place{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, _ := openPlaces(t, c.data)
			m := New(Options{Salts: openKeeper(t, ""), Places: p})
			for range 2 { // decoded, then remembered
				hit := hitAt(time.Now(), time.UTC)
				hit.Place.City = "left over"
				m.Mask(&hit, netip.MustParseAddr(c.addr))
				if hit.Place != c.want {
					t.Errorf("got %+v, want %+v", hit.Place, c.want)
				}
			}
		})
	}
}

func TestPlacesWithoutADatabase(t *testing.T) {
	hit := hitAt(time.Now(), time.UTC)
	hit.Place.City = "left over"
	New(Options{Salts: openKeeper(t, "")}).Mask(&hit, netip.MustParseAddr("203.0.113.5"))
	if hit.Place != (event.Place{}) {
		t.Errorf("got %+v", hit.Place)
	}
}

func TestOpenPlacesRefuses(t *testing.T) {
	for name, data := range map[string][]byte{
		"empty":          {},
		"text":           []byte("no database"),
		"cut short":      database(t, "GeoLite2-City", map[string]mmdbtype.Map{"203.0.113.0/24": country("DE")})[:200],
		"another matter": database(t, "GeoLite2-ASN", map[string]mmdbtype.Map{"203.0.113.0/24": {"autonomous_system_number": mmdbtype.Uint32(1)}}),
	} {
		path := filepath.Join(t.TempDir(), "places.mmdb")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenPlaces(path, quiet, prometheus.NewRegistry()); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	if _, err := OpenPlaces(filepath.Join(t.TempDir(), "none"), quiet, prometheus.NewRegistry()); err == nil {
		t.Error("a file that does not exist was opened")
	}
}

func TestPlacesReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kind := "GeoLite2-Country"
		old := database(t, kind, map[string]mmdbtype.Map{"203.0.113.0/24": country("DE")})
		fresh := database(t, kind, map[string]mmdbtype.Map{"203.0.113.0/24": country("FR"), "198.51.100.0/24": country("IT")})
		p, registry := openPlaces(t, old)
		addr := netip.MustParseAddr("203.0.113.5")
		var readers sync.WaitGroup
		stop := make(chan struct{})
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
					if c := p.find(addr).Country; c != "DE" && c != "FR" {
						t.Errorf("lookup during a reload gave %q", c)
					}
				}
			}
		})
		expect := func(country string) {
			t.Helper()
			time.Sleep(2*pollPlaces + time.Second)
			synctest.Wait()
			if got := p.find(addr).Country; got != country {
				t.Errorf("%s, want %s", got, country)
			}
		}
		write := func(data []byte) {
			t.Helper()
			if err := os.WriteFile(p.path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			// The bubble's clock stands far in the past of the file system's, so the
			// file's time is set by hand.
			if err := os.Chtimes(p.path, time.Time{}, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		expect("DE")
		write(fresh[:len(fresh)-10])
		expect("DE")
		if err := os.Remove(p.path); err != nil {
			t.Fatal(err)
		}
		expect("DE")
		write(fresh)
		expect("FR")
		for result, want := range map[string]float64{"ok": 1, "failed": 1} {
			if got := testutil.ToFloat64(p.reloads.WithLabelValues(result)); got != want {
				t.Errorf("%v reloads %s, want %v", got, result, want)
			}
		}
		if n, err := testutil.GatherAndCount(registry); err != nil || n != 3 {
			t.Errorf("%d metrics, error %v", n, err)
		}
		close(stop)
		readers.Wait()
		p.Close()
	})
}

func TestFindDoesNotAllocate(t *testing.T) {
	p, _ := openPlaces(t, database(t, "GeoLite2-City", map[string]mmdbtype.Map{"203.0.113.0/24": city("DE", "BE", "Berlin")}))
	addr := netip.MustParseAddr("203.0.113.5")
	p.find(addr)
	if n := testing.AllocsPerRun(100, func() { p.find(addr) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFind(b *testing.B) {
	p, _ := openPlaces(b, database(b, "GeoLite2-City", map[string]mmdbtype.Map{
		"203.0.113.0/24": city("DE", "BE", "Berlin"), "198.51.100.0/24": country("FR"), "192.0.2.0/24": country("IT")}))
	addr := netip.MustParseAddr("203.0.113.5")
	b.ReportAllocs()
	for b.Loop() {
		p.find(addr)
	}
}
