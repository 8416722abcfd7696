package anonymize

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/oschwald/maxminddb-golang/v2"
)

// The flat ranges must say of every address what the tree says.
func TestRangesAgreeWithTheTree(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		records := map[string]mmdbtype.Map{}
		for range random.IntN(300) {
			bits := 1 + random.IntN(32)
			addr := netip.AddrFrom4([4]byte{byte(random.Uint32()), byte(random.IntN(4)), byte(random.Uint32()), byte(random.Uint32())})
			prefix, _ := addr.Prefix(bits)
			records[prefix.String()] = country(fmt.Sprintf("%c%c", 'A'+random.IntN(26), 'A'+random.IntN(26)))
		}
		if round == 0 {
			records = map[string]mmdbtype.Map{"0.0.0.0/0": country("AA")}
		}
		checkRanges(t, database(t, "GeoLite2-Country", records), random, 3000)
	}
	real, err := os.ReadFile(filepath.Join("..", "..", ".cache", "geoip", "country.mmdb"))
	if err == nil {
		checkRanges(t, real, random, 200_000)
	}
}

func checkRanges(t *testing.T, data []byte, random *rand.Rand, addresses int) {
	t.Helper()
	reader, err := maxminddb.OpenBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	flat := layFlat(reader)
	if flat == nil {
		t.Fatal("the database cannot be laid flat")
	}
	if len(flat.first) != 1<<16+1 {
		t.Fatalf("%d upper halves", len(flat.first))
	}
	check := func(addr netip.Addr) {
		want := uint32(none)
		if found := reader.Lookup(addr); found.Found() {
			want = uint32(found.Offset())
		}
		if got := flat.find(addr.As4()); got != want {
			t.Errorf("%v: record %d, the tree has %d", addr, got, want)
		}
	}
	for range addresses {
		b := random.Uint32()
		check(netip.AddrFrom4([4]byte{byte(b >> 24), byte(b >> 16), byte(b >> 8), byte(b)}))
	}
	for found := range reader.NetworksWithin(netip.PrefixFrom(netip.IPv4Unspecified(), 0)) {
		if first := found.Prefix().Addr(); random.IntN(8) == 0 || addresses < 10_000 {
			check(first)
			if before := first.Prev(); before.IsValid() {
				check(before)
			}
		}
	}
	check(netip.AddrFrom4([4]byte{255, 255, 255, 255}))
	check(netip.AddrFrom4([4]byte{}))
}

func BenchmarkLayFlat(b *testing.B) {
	data, err := os.ReadFile(filepath.Join("..", "..", ".cache", "geoip", "country.mmdb"))
	if err != nil {
		b.Skip("no database: run `make geoip`")
	}
	reader, err := maxminddb.OpenBytes(data)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r := layFlat(reader)
		b.ReportMetric(float64(len(r.starts)), "ranges")
	}
}
