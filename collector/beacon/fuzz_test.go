package beacon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzScanner compares the scanner with encoding/json: they must agree on what
// is valid, and on every string.
func FuzzScanner(f *testing.F) {
	for _, s := range []string{
		typical, utf8Body, `{}`, ` { } `, `{"a":[]}`, `{"a":[1,2.5,-0,1e9,1E-7,true,false,null,{"b":[[]]}]}`, `{"\u0061\n":"\ud83d\ude00\ud83d\u00e4"}`,
		`{"a":"` + "\x7f\u0085\u202e" + `"}`, `{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":-}`, `{"a":"\x"}`, "{\"a\":\"\n\"}", "{\"a\":\"\xff\"}", `{"a":1}x`,
		`{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{"a":tru}`, `{"a":nulll}`, `{"a":"b`, `{"a":"b\`, `{"a":[1 2]}`, `{"a":[1,]}`, `{"a":1}` + "\x00", "\ufeff{}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := scanner{s: string(body)}
		s.space()
		if s.peek() != '{' {
			return
		}
		from := s.at
		var v value
		fault := s.value(&v, 1)
		if fault == fine {
			fault = s.end()
		}
		if fault == tooDeep {
			return
		}
		if want := json.Valid(body) && utf8.Valid(body); (fault == fine) != want {
			t.Fatalf("fault %q, encoding/json says valid: %v", faultTexts[fault], want)
		}
		if fault != fine {
			return
		}
		if v.kind != object || int(v.lo) != from {
			t.Fatalf("value %+v", v)
		}
		compareMembers(t, string(body[from:]))
	})
}

// compareMembers compares the keys and plain values of an object, in order.
func compareMembers(t *testing.T, body string) {
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	s := scanner{s: body, at: 1}
	var b Beacon
	var key, v value
	for first := true; ; first = false {
		done, fault := s.member(first, &key)
		if fault != fine {
			t.Fatalf("fault %q", faultTexts[fault])
		}
		if done {
			if d.More() {
				t.Fatal("encoding/json has more members")
			}
			return
		}
		want, err := d.Token()
		if err != nil || b.string(body, &key) != want {
			t.Fatalf("key %q, encoding/json has %q (%v)", b.string(body, &key), want, err)
		}
		if fault := s.value(&v, 1); fault != fine {
			t.Fatalf("fault %q", faultTexts[fault])
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			t.Fatal(err)
		}
		got := body[v.lo:v.hi]
		if v.kind == text {
			var want string
			if err := json.Unmarshal(raw, &want); err != nil || b.string(body, &v) != want {
				t.Fatalf("%q, encoding/json has %q (%v)", b.string(body, &v), want, err)
			}
		} else if got != string(raw) {
			t.Fatalf("%q, encoding/json has %q", got, raw)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	for _, s := range []string{
		typical, utf8Body, `{"n":404,"u":"https://e.com","d":"a,b,,a"}`, `{"name":"engagement","url":"app:///x","sd":"7","e":"99","h":1}`,
		`{"n":"x","u":"https://e.com/%ff%00#%c3%a4","h":true,"m":"{\"a\":{\"b\":1},\"c\":null,\"c\":\"\\u0000\"}"}`, `{"n":"\u202e","u":"data:x","d":7}`,
		"n=x&u=https%3A%2F%2Fe.com%2F&p=%7B%7D", "", "{", "=",
	} {
		f.Add([]byte(s))
	}
	var reused Beacon
	f.Fuzz(func(t *testing.T, body []byte) {
		sent := bytes.Clone(body)
		var b Beacon
		faults := b.ParseEvent(body)
		check(t, &b, faults)
		if !bytes.Equal(sent, body) {
			t.Fatal("the body was changed")
		}
		if !json.Valid(faults.AppendJSON(nil)) {
			t.Fatalf("answer %s", faults.AppendJSON(nil))
		}
		if again := reused.ParseEvent(body); again != faults || show(&reused) != show(&b) {
			t.Fatalf("a used Beacon differs:\n%s\n%s", show(&reused), show(&b))
		}
	})
}

// FuzzEventFields builds valid JSON of every text, so that the fuzzer does not
// spend its time on the syntax, and compares the simple fields with what
// encoding/json reads.
func FuzzEventFields(f *testing.F) {
	f.Add("pageview", "https://e.com/", "e.com", "https://r.org/", "key", "value", true)
	f.Add("ä\x00", "https://u:p@www.e.com:80/%20?utm_source=+%41&gclid=1#x", " , E.com,www.", "\u2028", "k\u0085", " v ", false)
	f.Fuzz(func(t *testing.T, name, page, domain, referrer, key, val string, ascii bool) {
		body, err := json.Marshal(map[string]any{"n": name, "u": page, "d": domain, "r": referrer, "p": map[string]string{key: val}})
		if err != nil {
			t.Skip()
		}
		if ascii {
			body = toASCII(body)
		}
		var b Beacon
		faults := b.ParseEvent(body)
		check(t, &b, faults)
		var e struct{ N, R string }
		if err := json.Unmarshal(body, &e); err != nil {
			t.Fatal(err)
		}
		if want := tidy(e.N); faults.OK() && b.Name != want && want != "pageleave" {
			t.Errorf("name %q, want %q", b.Name, want)
		}
		if want := cut(tidy(e.R), MaxReferrer); faults[fieldRequest] == fine && b.Referrer != want {
			t.Errorf("referrer %q, want %q", b.Referrer, want)
		}
	})
}

// tidy is what keep promises, said in another way.
func tidy(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unwanted(r) {
			return ' '
		}
		return r
	}, s))
}

// toASCII writes everything beyond ASCII as escapes.
func toASCII(body []byte) []byte {
	var out bytes.Buffer
	for _, r := range string(body) {
		switch {
		case r < utf8.RuneSelf:
			out.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04X\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
	}
	return out.Bytes()
}

func FuzzParsePixel(f *testing.F) {
	f.Add([]byte("n=a&u=https%3A%2F%2Fe.com%2F&d=e.com&p=%7B%22a%22%3A1%7D"), []byte("https://e.com/"))
	f.Add([]byte("%6e=%zz&u=+&&=&r"), []byte("\xff"))
	f.Add([]byte("d=%00%ff"), []byte(""))
	f.Fuzz(func(t *testing.T, query, referer []byte) {
		var b Beacon
		check(t, &b, b.ParsePixel(query, referer))
	})
}

// FuzzUnquote compares form decoding with net/url where that accepts it.
func FuzzUnquote(f *testing.F) {
	for _, s := range []string{"", "a+b", "%41%zz%", "%c3%a4%ff", "%%41"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var b Beacon
		want, err := url.QueryUnescape(s)
		if err == nil && b.unquote(s) != want {
			t.Errorf("%q: got %q, want %q", s, b.unquote(s), want)
		}
	})
}

// FuzzPage compares hostnames with net/url where both accept a URL.
func FuzzPage(f *testing.F) {
	for _, s := range []string{"https://www.e.com:80/a?b#c", "http://[::1]/", "app:///x", "https://a@b/%41", "data:x", "https://e.com/%C3%A4%ff"} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, page string, hash bool) {
		if !utf8.ValidString(page) || len(page) > MaxURL {
			t.Skip()
		}
		var b Beacon
		if b.page(&said{text: page, given: true}, hash) != fine {
			return
		}
		check(t, &b, Faults{fieldName: blank}) // it has no name yet
		if u, err := url.Parse(strings.TrimSpace(page)); err == nil && strings.Trim(u.Hostname(), ".") != "" && !strings.HasPrefix(u.Host, "[") {
			want := withoutWWW(string(bytes.ToLower([]byte(strings.TrimSuffix(u.Hostname(), ".")))))
			if !strings.EqualFold(b.Hostname, want) {
				t.Errorf("host %q, want %q", b.Hostname, want)
			}
		}
	})
}
