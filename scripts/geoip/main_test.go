package main

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/oschwald/geoip2-golang/v2"
)

// flat writes a database as the fetched one is: a country code for each network.
func flat(t *testing.T, codes map[string]string) string {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "country ipvAll", BuildEpoch: 1_700_000_000})
	if err != nil {
		t.Fatal(err)
	}
	for cidr, code := range codes {
		_, network, err := net.ParseCIDR(cidr)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(network, mmdbtype.Map{"country_code": mmdbtype.String(code)}); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "flat.mmdb")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := tree.WriteTo(file); err != nil {
		t.Fatal(err)
	}
	return path
}

func lookUp(t *testing.T, path string, addresses map[string][2]string) {
	t.Helper()
	db, err := geoip2.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for address, want := range addresses {
		got, err := db.Country(netip.MustParseAddr(address))
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		if got.Country.ISOCode != want[0] || got.Country.Names.English != want[1] {
			t.Errorf("%s is in %q (%q), want %q (%q)", address, got.Country.ISOCode, got.Country.Names.English, want[0], want[1])
		}
	}
}

func TestConvert(t *testing.T) {
	in := flat(t, map[string]string{
		"1.0.0.0/24": "AU", "1.0.1.0/24": "CN", "84.128.0.0/10": "DE", "2003::/19": "DE", "2400:1234::/32": "JP",
	})
	out := filepath.Join(t.TempDir(), "country.mmdb")
	networks, err := convert(in, out)
	if err != nil || networks != 5 {
		t.Fatalf("%d networks, %v", networks, err)
	}
	lookUp(t, out, map[string][2]string{
		"1.0.0.1":               {"AU", "Australia"},
		"1.0.1.255":             {"CN", "China"},
		"::ffff:84.130.1.1":     {"DE", "Germany"},
		"2003:e1::1":            {"DE", "Germany"},
		"2400:1234:ffff::1":     {"JP", "Japan"},
		"9.9.9.9":               {"", ""},
		"10.0.0.1":              {"", ""},
		"2001:db8::1":           {"", ""},
		"2002:5482:0101::":      {"DE", "Germany"}, // 6to4 of 84.130.1.1
		"fe80::1":               {"", ""},
		"2400:1235::":           {"", ""},
		"::ffff:192.168.178.20": {"", ""},
	})
}

func TestConvertRefuses(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.mmdb")
	if err := os.WriteFile(broken, []byte("not a database"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ in, want string }{
		"missing":   {filepath.Join(t.TempDir(), "none.mmdb"), "cannot open"},
		"broken":    {broken, "cannot open"},
		"empty":     {flat(t, nil), "no networks"},
		"odd codes": {flat(t, map[string]string{"1.0.0.0/24": "<script>"}), "no country code"},
	} {
		out := filepath.Join(t.TempDir(), "country.mmdb")
		if _, err := convert(c.in, out); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v does not say %q", name, err, c.want)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(out), "*")); len(left) != 0 {
			t.Errorf("%s: left %v behind", name, left)
		}
	}
}

// TestFetched looks into what `make geoip` made.
func TestFetched(t *testing.T) {
	path := filepath.Join("..", "..", ".cache", "geoip", "country.mmdb")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run `make geoip`", err)
	}
	lookUp(t, path, map[string][2]string{
		"8.8.8.8":           {"US", "United States"},
		"193.0.6.139":       {"NL", "Netherlands"},
		"133.11.0.1":        {"JP", "Japan"},
		"84.130.1.1":        {"DE", "Germany"},
		"2003:e1::1":        {"DE", "Germany"},
		"2001:240::1":       {"JP", "Japan"},
		"10.0.0.1":          {"", ""},
		"127.0.0.1":         {"", ""},
		"::1":               {"", ""},
		"2001:db8:1::1":     {"", ""},
		"::ffff:200.17.0.1": {"BR", "Brazil"},
	})
}
