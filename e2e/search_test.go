package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// search looks for what nothing may keep, in every form that it could take, in
// everything that Halfmask leaves behind. It is safe for concurrent use.
type search struct {
	folded patterns // compared with text in lower case
	exact  patterns
	bare   patterns // four bytes: in compressed files they are there by chance

	mu    sync.Mutex
	found map[string]bool // "WHERE holds WHAT as FORM"
}

// kinds of forms: many secrets would be found by chance in the shorter ones.
type formSet uint8

const (
	written   formSet = iota // as people and programs write it
	everyForm                // as bytes in both orders and in base64, too
)

func newSearch(forms formSet, secrets ...string) *search {
	s := &search{folded: patterns{}, exact: patterns{}, bare: patterns{}, found: map[string]bool{}}
	for _, secret := range secrets {
		s.folded.add(strings.ToLower(secret), secret, "text", true)
		if addr, err := netip.ParseAddr(secret); err == nil {
			s.address(addr, secret, forms)
		} else {
			s.folded.add(strings.ToLower(url.QueryEscape(secret)), secret, "escaped text", false)
			s.folded.add(hex.EncodeToString([]byte(secret)), secret, "hexadecimal", false)
		}
		if forms == everyForm {
			s.base64([]byte(secret), secret)
		}
	}
	return s
}

// address adds what an address is as text and numbers and, with everyForm, as
// bytes.
func (s *search) address(addr netip.Addr, secret string, forms formSet) {
	big := addr.AsSlice()
	little := slices.Clone(big)
	slices.Reverse(little)
	s.folded.add(addr.StringExpanded(), secret, "expanded text", true)
	s.folded.add(hex.EncodeToString(big), secret, "hexadecimal", false)
	s.folded.add(hex.EncodeToString(little), secret, "hexadecimal backwards", false)
	if addr.Is4() {
		mapped := addr.As16()
		s.folded.add(netip.AddrFrom16(mapped).String(), secret, "IPv6 text", false)
		s.folded.add(fmt.Sprintf("%x:%x", big[:2], big[2:]), secret, "IPv6 groups", true)
		for form, n := range map[string]uint32{"decimal": binary.BigEndian.Uint32(big), "decimal backwards": binary.LittleEndian.Uint32(big)} {
			s.folded.add(strconv.FormatUint(uint64(n), 10), secret, form, true)
			s.folded.add(strconv.FormatInt(int64(int32(n)), 10), secret, "signed "+form, true)
		}
		if forms == everyForm {
			s.bare.add(string(big), secret, "bytes", false)
			s.bare.add(string(little), secret, "bytes backwards", false)
			s.base64(mapped[:], secret)
		}
		return
	}
	for i, half := range [][]byte{big[:8], big[8:]} {
		if forms != everyForm || i == 1 && binary.BigEndian.Uint64(half) < 1<<32 {
			continue // the lower half is a small number
		}
		s.folded.add(strconv.FormatUint(binary.BigEndian.Uint64(half), 10), secret, "half in decimal", true)
		s.folded.add(hex.EncodeToString(half), secret, "half in hexadecimal", false)
		backwards := slices.Clone(half)
		slices.Reverse(backwards)
		s.exact.add(string(half), secret, "half in bytes", false)
		s.exact.add(string(backwards), secret, "half in bytes backwards", false)
	}
	if forms == everyForm {
		s.exact.add(string(big), secret, "bytes", false)
		s.exact.add(string(little), secret, "bytes backwards", false)
		s.base64(big, secret)
	}
}

// base64 adds what is the same in base64 wherever a secret begins within three
// bytes.
func (s *search) base64(secret []byte, of string) {
	for offset := range 3 {
		padded := append(make([]byte, offset), secret...)
		for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			encoded := alphabet.EncodeToString(padded)
			from, to := (offset*8+5)/6, len(padded)*8/6
			s.exact.add(encoded[from:to], of, "base64", false)
		}
	}
}

// patterns are found by their first four bytes: one look at a map per byte of
// what is searched, whatever their number.
type patterns map[[4]byte][]pattern

type pattern struct {
	form         string
	secret, kind string
	alone        bool // not within a longer number or word
}

func (p patterns) add(form, secret, kind string, alone bool) {
	if len(form) < 4 {
		panic("too short to be looked for: " + kind)
	}
	key := [4]byte([]byte(form[:4]))
	p[key] = append(p[key], pattern{form, secret, kind, alone})
}

func (p patterns) in(text []byte, report func(pattern)) {
	if len(p) == 0 {
		return
	}
	var maybe [1 << 16]bool // a look at this is cheaper
	for key := range p {
		maybe[binary.LittleEndian.Uint16(key[:2])] = true
	}
	for i := range len(text) - 3 {
		if !maybe[binary.LittleEndian.Uint16(text[i:])] {
			continue
		}
		for _, each := range p[[4]byte(text[i:i+4])] {
			end := i + len(each.form)
			if end > len(text) || string(text[i:end]) != each.form {
				continue
			}
			if each.alone && (i > 0 && wordy(text[i-1]) && wordy(text[i]) || end < len(text) && wordy(text[end]) && wordy(text[end-1])) {
				continue
			}
			report(each)
		}
	}
}

func wordy(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

func (s *search) report(where string) func(pattern) {
	return func(p pattern) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.found[fmt.Sprintf("%s holds %s as %s", where, p.secret, p.kind)] = true
	}
}

// bytes searches what is not compressed.
func (s *search) bytes(where string, text []byte) {
	s.packed(where, text)
	s.bare.in(text, s.report(where))
}

// packed searches what may be compressed.
func (s *search) packed(where string, text []byte) {
	s.exact.in(text, s.report(where))
	s.folded.in(bytes.ToLower(text), s.report(where))
}

// folder searches every file below a folder, and its names; files of
// ClickHouse's columns unpacked as well. It returns how many bytes it saw.
func (s *search) folder(t *testing.T, dir string) (size int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) { // it was stored, or merged, meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		s.bytes("the name "+name, []byte(strings.TrimPrefix(name, dir)))
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			return nil
		}
		size += len(text)
		if !strings.Contains(name, "/store/") {
			s.bytes(name, text)
			return err
		}
		s.packed(name, text)
		unpack(text, func(block []byte) { s.bytes(name+", unpacked,", block) })
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// unpack calls do with the contents of each compressed block of a ClickHouse
// file (a checksum of 16 bytes, a method, the sizes packed and not). Codecs
// that it does not know, and files of other formats, are left out.
func unpack(file []byte, do func([]byte)) {
	for len(file) > 25 {
		size, unpacked := binary.LittleEndian.Uint32(file[17:]), binary.LittleEndian.Uint32(file[21:])
		if size < 9 || int(size) > len(file)-16 || unpacked > 64<<20 {
			return
		}
		if block := decode(file[16], file[25:16+size], int(unpacked)); block != nil {
			do(block)
		}
		file = file[16+size:]
	}
}

var unzstd, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))

func decode(method byte, packed []byte, size int) []byte {
	switch method {
	case 0x02:
		return packed
	case 0x82:
		block := make([]byte, size)
		if n, err := lz4.UncompressBlock(packed, block); err == nil {
			return block[:n]
		}
	case 0x90:
		if block, err := unzstd.DecodeAll(packed, nil); err == nil {
			return block
		}
	case 0x91: // several codecs, the last of which was applied last
		if len(packed) < 1 || len(packed) < 1+int(packed[0])+9 {
			return nil
		}
		inner := packed[1+packed[0]:]
		return decode(inner[0], inner[9:], int(binary.LittleEndian.Uint32(inner[5:])))
	}
	return nil
}

// tables searches every value of every table, and what ClickHouse remembers of
// errors and statements. It returns how many rows each has.
func (s *search) tables(t *testing.T, dial func(context.Context) (net.Conn, error), user, password string) (rows map[string]int) {
	t.Helper()
	ctx := context.Background()
	conn, err := clickhouse.Open(&clickhouse.Options{
		Addr:        []string{"engine"},
		Auth:        clickhouse.Auth{Username: user, Password: password},
		DialContext: func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	type named struct {
		Name string `ch:"name"`
	}
	var tables []named
	if err := conn.Select(ctx, &tables, "SELECT concat('halfmask.', name) AS name FROM system.tables WHERE database = 'halfmask'"); err != nil {
		t.Fatal(err)
	}
	for _, system := range []string{"errors", "processes", "warnings", "settings"} {
		tables = append(tables, named{"system." + system})
	}
	rows = map[string]int{}
	for _, table := range tables {
		var values []struct {
			Row string `ch:"row"`
		}
		if err := conn.Select(ctx, &values, "SELECT toString(tuple(*)) AS row FROM "+table.Name); err != nil {
			t.Fatalf("cannot look into %s: %v", table.Name, err)
		}
		rows[table.Name] = len(values)
		for _, v := range values {
			s.bytes("the table "+table.Name, []byte(v.Row))
		}
	}
	return rows
}

// nothing fails the test if something was found.
func (s *search) nothing(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for what := range s.found {
		t.Error(what)
	}
}

// TestTheSearchFindsWhatIsPlanted is the test of the tests that search.
func TestTheSearchFindsWhatIsPlanted(t *testing.T) {
	const four, six, text = "203.0.113.77", "2001:db8:dead:beef:1234:5678:9abc:77", "CanaryMail@example.org"
	addr4, addr6 := netip.MustParseAddr(four).As4(), netip.MustParseAddr(six).As16()
	forms := map[string]string{
		"dotted": four, "number": "3405803853", "number backwards": "1299251403", "signed number": "-889163443", "hexadecimal": "cb00714d", "HEXADECIMAL": "CB00714D",
		"backwards": "4d7100cb", "bytes": string(addr4[:]), "bytes backwards": "\x4d\x71\x00\xcb", "mapped": "::ffff:203.0.113.77", "groups": "::ffff:cb00:714d",
		"a word of a stack": "0xffffcb00714d", "base64": base64.StdEncoding.EncodeToString([]byte("ip=" + four + ";")), "base64, shifted": base64.URLEncoding.EncodeToString([]byte("x" + four)),
		"IPv6": six, "IPv6 in capitals": strings.ToUpper(six), "IPv6 bytes": string(addr6[:]), "IPv6 hexadecimal": hex.EncodeToString(addr6[:]),
		"IPv6 half": strconv.FormatUint(binary.BigEndian.Uint64(addr6[:8]), 10), "IPv6 base64": base64.StdEncoding.EncodeToString(addr6[:]),
		"text": text, "text in lower case": strings.ToLower(text), "escaped": "canarymail%40example.org", "text in hexadecimal": hex.EncodeToString([]byte(text)),
		"text in base64": base64.StdEncoding.EncodeToString([]byte("to " + text)),
	}
	r := rand.New(rand.NewPCG(1, 1))
	for name, form := range forms {
		s := newSearch(everyForm, four, six, text)
		noise := make([]byte, 4096)
		for i := range noise {
			noise[i] = byte(' ' + r.IntN(15)) // no letters or digits
		}
		s.bytes("noise", noise)
		s.nothing(t)
		dir := t.TempDir()
		at := r.IntN(len(noise))
		if err := os.WriteFile(filepath.Join(dir, "1.seg"), slices.Concat(noise[:at], []byte(form), noise[at:]), 0o600); err != nil {
			t.Fatal(err)
		}
		if s.folder(t, dir); len(s.found) == 0 {
			t.Errorf("%s: %q was not found", name, form)
		}
	}
	s := newSearch(everyForm, four)
	s.bytes("others", []byte("1203.0.113.77 203.0.113.775 13405803853 34058038530 203.0.113.78"))
	s.nothing(t)
}
