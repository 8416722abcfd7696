package beacon

import (
	"encoding/json"
	"testing"
)

// typical is what the script sends: 250 bytes, a campaign, two properties.
const typical = `{"n":"pageview","v":36,"u":"https://www.example.com/blog/how-to-count?utm_source=newsletter&utm_medium=email&q=x",` +
	`"d":"example.com","r":"https://duckduckgo.com/","p":{"author":"Ada","logged_in":"false"},"h":0,"w":1440,"x":"0123456789"}`

// utf8Body has text outside of ASCII and escapes, which the fast path is not made for.
const utf8Body = `{"n":"Anmeldung ✓","u":"https://example.com/%C3%BCber-uns/\u00e4?utm_term=gr%C3%BCn+blau","d":"example.com","r":"https://example.org/ü",` +
	`"p":{"stadt":"München","text":"a \"b\" c\n"}}`

func benchmark(b *testing.B, body string) {
	var beacon Beacon
	raw := []byte(body)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if f := beacon.ParseEvent(raw); !f.OK() {
			b.Fatal(string(f.AppendText(nil)))
		}
	}
}

func BenchmarkParseEvent(b *testing.B)     { benchmark(b, typical) }
func BenchmarkParseEventUTF8(b *testing.B) { benchmark(b, utf8Body) }

func BenchmarkParsePixel(b *testing.B) {
	var beacon Beacon
	query, referer := []byte("d=example.com&u=https%3A%2F%2Fexample.com%2Fa&r=https%3A%2F%2Fexample.org%2F"), []byte("https://example.com/")
	b.ReportAllocs()
	for b.Loop() {
		if f := beacon.ParsePixel(query, referer); !f.OK() {
			b.Fatal(string(f.AppendText(nil)))
		}
	}
}

// BenchmarkEncodingJSON is the measure to compare with.
func BenchmarkEncodingJSON(b *testing.B) {
	raw := []byte(typical)
	b.ReportAllocs()
	for b.Loop() {
		var m map[string]any
		if err := json.Unmarshal(raw, &m); err != nil {
			b.Fatal(err)
		}
	}
}

func TestParsingAllocatesNothing(t *testing.T) {
	var b Beacon
	plain, other, broken := []byte(typical), []byte(utf8Body), []byte(typical[:100])
	query, referer := []byte("d=example.com&u=https%3A%2F%2Fexample.com%2Fa&p=%7B%22a%22%3A1%7D"), []byte("https://example.com/")
	for name, parse := range map[string]func(){
		"typical": func() { b.ParseEvent(plain) },
		"UTF-8":   func() { b.ParseEvent(other) },
		"broken":  func() { b.ParseEvent(broken) },
		"pixel":   func() { b.ParsePixel(query, referer) },
	} {
		parse() // makes the scratch space
		if n := testing.AllocsPerRun(100, parse); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
