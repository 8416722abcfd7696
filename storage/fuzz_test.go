package storage_test

import (
	"net"
	"strings"
	"testing"

	"github.com/halfmask/halfmask/storage"
)

// FuzzDSN: what is refused is refused without a word of it, and what is taken
// names a host and a port.
func FuzzDSN(f *testing.F) {
	for _, s := range []string{
		"clickhouse://user:sEcReTsEcReT@host:9000/db?secure=true&skip_verify=true&reader=r&reader_password=sEcReTsEcReT", "clickhouse://h", "clickhouse://[::1]", "clickhouse://[::1]:1/",
		"clickhouse://u:p%40@h1,h2/db", "http://sEcReTsEcReT", "clickhouse://%zzsEcReTsEcReT", "clickhouse://h?sEcReTsEcReT=1", "clickhouse://h:sEcReTsEcReT", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		o, err := storage.ParseDSN(dsn, "")
		if err != nil {
			for i := 0; i+12 <= len(dsn); i++ {
				if part := dsn[i : i+12]; strings.Contains(err.Error(), part) && !strings.Contains("clickhouse://user:password@host:9000/database?secure=true, skip_verify, reader and reader_password needs reader", part) {
					t.Errorf("the error repeats %q of the DSN: %v", part, err)
				}
			}
			return
		}
		for _, addr := range o.Addr {
			if _, _, err := net.SplitHostPort(addr); err != nil {
				t.Errorf("%q is taken for an address: %v", addr, err)
			}
		}
	})
}
