package anonymize

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dchest/siphash"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/halfmask/halfmask/event"
)

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0"

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func openKeeper(t testing.TB, path string) *Keeper {
	t.Helper()
	k, err := OpenKeeper(path, quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func location(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func hitAt(at time.Time, loc *time.Location) event.Hit {
	return event.Hit{At: at, Site: &event.Site{ID: 7, Zone: loc}, UserAgent: firefox}
}

func TestMaskKeepsHalf(t *testing.T) {
	m := New(Options{Salts: openKeeper(t, "")})
	for _, c := range []struct{ addr, network string }{
		{"203.0.113.77", "203.0.x.x"},
		{"::ffff:203.0.113.77", "203.0.x.x"},
		{"0.0.0.0", "0.0.x.x"},
		{"2001:db8:1234:5678:9abc:def0:1234:5678", "2001:db8:x"},
		{"fe80::1%eth0", "fe80:0:x"},
		{"::1", "0:0:x"},
		{"2002:cb00:714d::1", "2002:cb00:x"}, // 6to4 carries an IPv4 address: its /16 remains here too
	} {
		hit := hitAt(time.Now(), time.UTC)
		if !m.Mask(&hit, netip.MustParseAddr(c.addr)) {
			t.Errorf("%s was not masked", c.addr)
		}
		if got := hit.Network.String(); got != c.network {
			t.Errorf("%s became %s, want %s", c.addr, got, c.network)
		}
		if hit.Visitor == 0 {
			t.Errorf("%s has no visitor", c.addr)
		}
	}
}

func TestMaskRefusesNoAddress(t *testing.T) {
	m := New(Options{Salts: openKeeper(t, "")})
	hit := hitAt(time.Now(), time.UTC)
	if m.Mask(&hit, netip.Addr{}) {
		t.Error("a hit without an address was masked")
	}
	if hit.Visitor != 0 || hit.Network != (event.Network{}) {
		t.Error("a hit without an address was given a visitor or a network")
	}
}

func TestVisitor(t *testing.T) {
	m := New(Options{Salts: openKeeper(t, "")})
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	mask := func(change func(*event.Hit), addr string) event.VisitorID {
		hit := hitAt(now, time.UTC)
		if change != nil {
			change(&hit)
		}
		if !m.Mask(&hit, netip.MustParseAddr(addr)) {
			t.Fatal("not masked")
		}
		return hit.Visitor
	}
	me := mask(nil, "203.0.113.77")
	same := map[string]event.VisitorID{
		"again":            mask(nil, "203.0.113.77"),
		"mapped":           mask(nil, "::ffff:203.0.113.77"),
		"later on the day": mask(func(h *event.Hit) { h.At = h.At.Add(11*time.Hour + 59*time.Minute) }, "203.0.113.77"),
	}
	for name, v := range same {
		if v != me {
			t.Errorf("%s: another visitor", name)
		}
	}
	other := map[string]event.VisitorID{
		"neighbour":    mask(nil, "203.0.113.78"),
		"other site":   mask(func(h *event.Hit) { h.Site = &event.Site{ID: 8, Zone: time.UTC} }, "203.0.113.77"),
		"other agent":  mask(func(h *event.Hit) { h.UserAgent += " " }, "203.0.113.77"),
		"no agent":     mask(func(h *event.Hit) { h.UserAgent = "" }, "203.0.113.77"),
		"next day":     mask(func(h *event.Hit) { h.At = h.At.Add(24 * time.Hour) }, "203.0.113.77"),
		"other zone":   mask(func(h *event.Hit) { h.Site = &event.Site{ID: 7, Zone: location(t, "Asia/Tokyo")} }, "203.0.113.77"),
		"IPv6 neigbor": mask(nil, "2001:db8::1"),
	}
	seen := map[event.VisitorID]string{me: "me"}
	for name, v := range other {
		if who, ok := seen[v]; ok {
			t.Errorf("%s and %s are one visitor", name, who)
		}
		seen[v] = name
	}
}

// The hash is SipHash-2-4 of the concatenation: an independent implementation
// says the same at every length.
func TestVisitorIsSipHash(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 100 {
		k := key{r.Uint64(), r.Uint64()}
		who := identity{r.Uint64(), r.Uint64(), r.Uint64()}
		agent := make([]byte, n)
		for i := range agent {
			agent[i] = byte(r.Uint32())
		}
		message := binary.LittleEndian.AppendUint64(nil, who.site)
		message = binary.LittleEndian.AppendUint64(message, who.high)
		message = binary.LittleEndian.AppendUint64(message, who.low)
		message = append(message, agent...)
		if got, want := uint64(who.visitor(k, string(agent))), siphash.Hash(k.k0, k.k1, message); got != want {
			t.Errorf("user agent of %d bytes: %x, want %x", n, got, want)
		}
	}
}

// canary fails if any form of the address shows in what the hit prints.
func canary(t testing.TB, hit *event.Hit, addr netip.Addr) {
	t.Helper()
	encoded, err := json.Marshal(hit)
	if err != nil {
		t.Fatal(err)
	}
	site := *hit.Site
	text := strings.ToLower(fmt.Sprintf("%+v %#v %+v %v %s", *hit, *hit, site, hit.Network, encoded))
	forms := []string{addr.String(), addr.Unmap().String(), addr.StringExpanded(), string(hit.UserAgent)}
	if a := addr.Unmap(); a.Is4() {
		b := a.As4()
		forms = append(forms, hex.EncodeToString(b[:]), fmt.Sprint(b), fmt.Sprint(b[:]), fmt.Sprintf("%d.%d.%d", b[0], b[1], b[2]),
			strconv.FormatUint(uint64(binary.BigEndian.Uint32(b[:])), 10))
	} else {
		b := a.As16()
		forms = append(forms, hex.EncodeToString(b[:]), fmt.Sprint(b), hex.EncodeToString(b[8:]), fmt.Sprintf("%x:%x", binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint16(b[4:])))
	}
	for _, form := range forms {
		if form != "" && strings.Contains(text, strings.ToLower(form)) {
			t.Errorf("%s shows %q", addr, form)
		}
	}
}

func TestNothingShowsTheAddress(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	m := New(Options{Salts: openKeeper(t, "")})
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for i := range 10_000 {
		var addr netip.Addr
		var b [16]byte
		binary.BigEndian.PutUint64(b[:8], r.Uint64())
		binary.BigEndian.PutUint64(b[8:], r.Uint64())
		if i%2 == 0 {
			// Three digits an octet: "1.2.3" shows by chance in a time.
			addr = netip.AddrFrom4([4]byte{b[0] | 128, b[1] | 128, b[2] | 128, b[3] | 128})
		} else {
			b[0], b[2], b[4] = 0x20, b[2]|0x10, b[4]|0x10
			addr = netip.AddrFrom16(b)
		}
		hit := hitAt(now, time.UTC)
		if !m.Mask(&hit, addr) {
			t.Fatalf("%s was not masked", addr)
		}
		canary(t, &hit, addr)
		family, prefix := hit.Network.Bytes()
		whole := addr.AsSlice()
		kept := 2
		if family == 6 {
			kept = 4
		}
		if string(prefix[:kept]) != string(whole[:kept]) || strings.Trim(string(prefix[kept:]), "\x00") != "" {
			t.Fatalf("%s became %x", addr, prefix)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add([]byte{203, 0, 113, 77}, firefox, int64(1795348800))
	f.Add([]byte{0x20, 1, 0xd, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, "", int64(0))
	f.Add([]byte{}, "\xff\x00", int64(-1))
	m := New(Options{Salts: openKeeper(f, "")})
	zone := location(f, "America/New_York")
	f.Fuzz(func(t *testing.T, b []byte, agent string, at int64) {
		addr, ok := netip.AddrFromSlice(b)
		hit := hitAt(time.Unix(at%(1<<40), 0), zone)
		hit.UserAgent = event.UserAgent(agent)
		if m.Mask(&hit, addr) != ok {
			t.Fatalf("masked: %v, valid: %v", !ok, ok)
		}
		if !ok {
			return
		}
		if hit.Visitor == 0 {
			t.Error("no visitor")
		}
		if hit.Day != event.DayOf(hit.At, zone) {
			t.Error("the wrong day")
		}
	})
}

func TestMaskDoesNotAllocate(t *testing.T) {
	m := New(Options{Salts: openKeeper(t, "")})
	hit := hitAt(time.Now(), location(t, "Europe/Berlin"))
	addr := netip.MustParseAddr("2001:db8::1%eth0")
	if n := testing.AllocsPerRun(100, func() { m.Mask(&hit, addr) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMask(b *testing.B) {
	m := New(Options{Salts: openKeeper(b, "")})
	zone := location(b, "Europe/Berlin")
	addr := netip.MustParseAddr("203.0.113.77")
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		hit := hitAt(now, zone)
		for pb.Next() {
			m.Mask(&hit, addr)
		}
	})
}
