// Command geoip turns the country database that `make geoip` fetches, whose
// records are a bare country code, into the form of a GeoLite2-Country database,
// so that one reader serves it, MaxMind's own and every other of that form:
//
//	geoip IN OUT
//
// It promises that OUT is complete or not there. The data is not MaxMind's: only
// the form is, and the file says so in its description.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/oschwald/maxminddb-golang/v2"
	"golang.org/x/text/language"
	"golang.org/x/text/language/display"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: geoip IN OUT")
		os.Exit(2)
	}
	networks, err := convert(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%d networks in %s\n", networks, os.Args[2])
}

// convert reads the flat database in and writes out. It returns how many networks it
// took over.
func convert(in, out string) (networks int, err error) {
	source, err := maxminddb.Open(in)
	if err != nil {
		return 0, fmt.Errorf("cannot open %s: %w", in, err)
	}
	defer source.Close()
	tree, err := mmdbwriter.New(mmdbwriter.Options{
		// Readers choose how to decode by this name, and refuse what they do not know.
		DatabaseType: "GeoLite2-Country",
		Description:  map[string]string{"en": "Countries from ip-location-db geo-whois-asn-country (NRO, CC BY 4.0), not a MaxMind product"},
		Languages:    []string{"en"},
		BuildEpoch:   int64(source.Metadata.BuildEpoch),
		RecordSize:   24,
	})
	if err != nil {
		return 0, fmt.Errorf("cannot make a database: %w", err)
	}
	records := map[string]mmdbtype.Map{}
	for result := range source.Networks() {
		var flat struct {
			Code string `maxminddb:"country_code"`
		}
		if err := result.Decode(&flat); err != nil {
			return 0, fmt.Errorf("cannot read %s: %w", in, err)
		}
		record, ok := records[flat.Code]
		if !ok {
			if record, err = country(flat.Code); err != nil {
				return 0, fmt.Errorf("cannot read %s: %w", in, err)
			}
			records[flat.Code] = record
		}
		prefix := result.Prefix()
		address := prefix.Addr()
		network := &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(prefix.Bits(), address.BitLen())}
		if err := tree.Insert(network, record); err != nil {
			var reserved *mmdbwriter.ReservedNetworkError
			var aliased *mmdbwriter.AliasedNetworkError
			if errors.As(err, &reserved) || errors.As(err, &aliased) {
				// Private and test networks are in no country; what is tunnelled over IPv4
				// is looked up as that.
				continue
			}
			return 0, fmt.Errorf("cannot add %s: %w", network, err)
		}
		networks++
	}
	if networks == 0 {
		return 0, fmt.Errorf("%s holds no networks", in)
	}
	return networks, write(tree, out)
}

// country makes the record of one country.
func country(code string) (mmdbtype.Map, error) {
	region, err := language.ParseRegion(code)
	if err != nil || len(code) != 2 {
		return nil, fmt.Errorf("%q is no country code", code)
	}
	name := display.English.Regions().Name(region)
	if name == "" {
		name = code
	}
	return mmdbtype.Map{"country": mmdbtype.Map{
		"iso_code": mmdbtype.String(code),
		"names":    mmdbtype.Map{"en": mmdbtype.String(name)},
	}}, nil
}

func write(tree *mmdbwriter.Tree, out string) error {
	file, err := os.CreateTemp(filepath.Dir(out), filepath.Base(out)+".*.tmp")
	if err != nil {
		return fmt.Errorf("cannot write the database: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = tree.WriteTo(file)
	if err = errors.Join(err, file.Chmod(0o644), file.Close()); err != nil {
		return fmt.Errorf("cannot write the database: %w", err)
	}
	if err := os.Rename(file.Name(), out); err != nil {
		return fmt.Errorf("cannot put the database in place: %w", err)
	}
	return nil
}
