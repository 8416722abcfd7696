package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfmask/halfmask/event"
)

func typical() event.Event {
	return event.Event{
		At:          time.UnixMilli(1_790_000_000_123).UTC(),
		Site:        0xfeedface12345678,
		Kind:        event.Custom,
		Name:        "Signup",
		Interactive: true,
		Hostname:    "example.com",
		Path:        "/blog/äöü",
		Props:       []event.Prop{{Key: "plan", Value: "pro"}, {Key: "", Value: ""}},
		Scroll:      73,
		Engaged:     12_345,
		Network:     event.NetworkV6(0x20, 0x01, 0x0d, 0xb8),
		Place:       event.Place{Country: "DE", Region: "DE-BE", City: "Berlin"},
		Client:      event.Client{Device: "Desktop", Browser: "Firefox", BrowserVersion: "146.0", OS: "Windows", OSVersion: "11"},
		Visitor:     1<<64 - 1,
		Visit:       7,
		Origin: event.Origin{
			EntryPath: "/", Source: "Google", Channel: "Organic Search", Referrer: "google.com/search",
			Campaign: event.Campaign{Source: "s", Medium: "m", Campaign: "c", Content: "k", Term: "t"},
		},
		Facts: event.Facts{NewVisitor: 1, NewVisit: 1, Bounce: -1, Duration: 1799, PreviousPath: "/before"},
	}
}

var equal = cmp.Comparer(func(a, b event.Network) bool { return a == b })

func TestRoundTrip(t *testing.T) {
	cases := map[string]func(*event.Event){
		"typical":        func(*event.Event) {},
		"no properties":  func(e *event.Event) { e.Props = nil },
		"IPv4":           func(e *event.Event) { e.Network = event.NetworkV4(203, 0) },
		"no network":     func(e *event.Event) { e.Network = event.Network{} },
		"not engaging":   func(e *event.Event) { e.Interactive = false },
		"before 1970":    func(e *event.Event) { e.At = time.UnixMilli(-1).UTC() },
		"long path":      func(e *event.Event) { e.Path = strings.Repeat("x", 2000) },
		"not UTF-8":      func(e *event.Event) { e.Path = "/\xff\x00" },
		"scroll unknown": func(e *event.Event) { e.Scroll = event.NoScroll },
		"thirty full properties": func(e *event.Event) {
			e.Props = nil
			for range 30 {
				e.Props = append(e.Props, event.Prop{Key: strings.Repeat("k", 300), Value: strings.Repeat("v", 2000)})
			}
		},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			want := typical()
			change(&want)
			got := event.Event{Props: make([]event.Prop, 3, 40), Name: "left over"}
			if err := Decode(Append(nil, &want), &got); err != nil {
				t.Fatal(err)
			}
			if len(want.Props) == 0 {
				want.Props = got.Props // both empty; nil or not does not matter
			}
			if d := cmp.Diff(want, got, equal); d != "" {
				t.Error(d)
			}
		})
	}
}

// A field added to Event and forgotten here would vanish on its way through
// the spool. So every field is set in turn, found by reflection.
func TestEveryFieldSurvives(t *testing.T) {
	var e event.Event
	fill(t, reflect.ValueOf(&e).Elem(), "Event", new(int))
	e.Kind = event.Engagement // closed set
	e.At = e.At.Truncate(time.Millisecond)
	var got event.Event
	if err := Decode(Append(nil, &e), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(e, got, equal); d != "" {
		t.Error(d)
	}
}

func fill(t *testing.T, v reflect.Value, path string, n *int) {
	*n++
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.UnixMilli(1_700_000_000_000).UTC()))
	case v.Type() == reflect.TypeFor[event.Network]():
		v.Set(reflect.ValueOf(event.NetworkV6(1, 2, 3, 4)))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), path+"."+v.Type().Field(i).Name, n)
		}
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, v.Index(0), path, n)
		fill(t, v.Index(1), path, n)
	case v.Kind() == reflect.String:
		v.SetString(path)
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(int64(*n))
	case v.CanUint():
		v.SetUint(uint64(*n))
	default:
		t.Fatalf("no value for %s", path)
	}
}

func TestDecodeRejects(t *testing.T) {
	e := typical()
	good := Append(nil, &e)
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	v4 := e
	v4.Network = event.NetworkV4(203, 0)
	wholeAddress := Append(nil, &v4)
	wholeAddress[47], wholeAddress[48] = 113, 77
	bare := event.Event{Kind: event.Pageview}
	manyProps := Append(nil, &bare)
	manyProps = append(manyProps[:len(manyProps)-1], binary.AppendUvarint(nil, 1<<62)...)
	cases := map[string][]byte{
		"kind 0":               change(1, 0),
		"kind unknown":         change(1, 4),
		"unknown flag":         change(2, 3),
		"family unknown":       change(44, 5),
		"no family, a prefix":  change(44, 0),
		"whole IPv4 address":   wholeAddress,
		"text beyond the end":  change(fixed, 0x7f),
		"bytes after the end":  append(bytes.Clone(good), 0),
		"2^62 properties":      manyProps,
		"length in two bytes":  append(append(bytes.Clone(good[:fixed]), 0x86, 0x00), good[fixed+1:]...),
		"length without end":   append(bytes.Clone(good[:fixed]), 0x80),
		"length over 64 bits":  append(bytes.Clone(good[:fixed]), bytes.Repeat([]byte{0xff}, 11)...),
		"nothing":              nil,
		"version and no more":  {version},
		"only the fixed part":  good[:fixed],
		"cut by a single byte": good[:len(good)-1],
	}
	for name, b := range cases {
		t.Run(name, func(t *testing.T) {
			var got event.Event
			if err := Decode(b, &got); !errors.Is(err, ErrMalformed) {
				t.Errorf("got %v, want ErrMalformed", err)
			}
		})
	}
	for n := range good {
		if Decode(good[:n], new(event.Event)) == nil {
			t.Errorf("the first %d of %d bytes decode", n, len(good))
		}
	}
	for _, v := range []byte{0, 2, 255} {
		if err := Decode(change(0, v), new(event.Event)); !errors.Is(err, ErrVersion) {
			t.Errorf("version %d: got %v, want ErrVersion", v, err)
		}
	}
}

func TestAllocations(t *testing.T) {
	e := typical()
	buf := Append(nil, &e)
	if n := testing.AllocsPerRun(100, func() { buf = Append(buf[:0], &e) }); n != 0 {
		t.Errorf("Append allocates %v times", n)
	}
	got := event.Event{Props: make([]event.Prop, 0, 4)}
	if n := testing.AllocsPerRun(100, func() { _ = Decode(buf, &got) }); n != 0 {
		t.Errorf("Decode allocates %v times", n)
	}
}

// What decodes is exactly what Append writes, so that nothing can hide in an
// encoding's slack.
func FuzzDecode(f *testing.F) {
	e := typical()
	f.Add(Append(nil, &e))
	f.Add(Append(nil, &event.Event{Kind: event.Pageview}))
	f.Add([]byte{version})
	f.Fuzz(func(t *testing.T, b []byte) {
		var got event.Event
		if Decode(b, &got) != nil {
			return
		}
		if again := Append(nil, &got); !bytes.Equal(again, b) {
			t.Errorf("decoded bytes encode differently:\n%x\n%x", b, again)
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add(int64(0), uint64(1), uint8(1), "name", "/path", "key", "value", uint8(30), int8(-1))
	f.Fuzz(func(t *testing.T, ms int64, id uint64, kind uint8, name, path, key, value string, props uint8, bounce int8) {
		want := event.Event{
			At: time.UnixMilli(ms).UTC(), Site: event.SiteID(id), Kind: event.Kind(kind%3 + 1),
			Name: name, Path: path, Visitor: event.VisitorID(id), Facts: event.Facts{Bounce: bounce},
			Network: event.NetworkV4(uint8(id), uint8(id>>8)),
			Props:   make([]event.Prop, props%31),
		}
		for i := range want.Props {
			want.Props[i] = event.Prop{Key: key, Value: value}
		}
		got := event.Event{Props: []event.Prop{}}
		if err := Decode(Append(nil, &want), &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, equal); d != "" {
			t.Error(d)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	e := typical()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = Append(buf[:0], &e)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecode(b *testing.B) {
	e := typical()
	buf := Append(nil, &e)
	var got event.Event
	b.ReportAllocs()
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if err := Decode(buf, &got); err != nil {
			b.Fatal(err)
		}
	}
}
