package beacon

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/halfmask/halfmask/event"
)

// show writes down everything a Beacon holds, so that a test compares all of
// it and a field that should be empty is seen when it is not.
func show(b *Beacon) string {
	var s strings.Builder
	add := func(name string, v any, zero any) {
		if !reflect.DeepEqual(v, zero) {
			fmt.Fprintf(&s, "%s=%v ", name, v)
		}
	}
	add("domains", fmt.Sprintf("%q", b.Domains), "[]")
	add("kind", b.Kind, event.Kind(0))
	add("name", b.Name, "")
	add("interactive", b.Interactive, false)
	add("host", b.Hostname, "")
	add("path", fmt.Sprintf("%q", b.Path), `""`)
	add("campaign", b.Campaign, event.Campaign{})
	add("ref", b.Ref, "")
	add("click", b.ClickID, event.NoClickID)
	add("referrer", b.Referrer, "")
	add("props", fmt.Sprintf("%q", b.Props), "[]")
	add("scroll", b.Scroll, uint8(event.NoScroll))
	add("engaged", b.Engaged, uint32(0))
	return strings.TrimSuffix(s.String(), " ")
}

const view = `domains=["e.com"] kind=1 name=pageview interactive=true host=e.com path="/"`

func TestParseEvent(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for name, c := range map[string]struct{ body, want string }{
		"short names": {
			`{"n":"pageview","u":"https://www.E.com/a?utm_source=news&q=secret#frag","d":"e.com","r":"https://r.org/x?y","v":36}`,
			`domains=["e.com"] kind=1 name=pageview interactive=true host=e.com path="/a" campaign={news    } referrer=https://r.org/x?y`},
		"long names": {
			`{"name":"pageview","url":"https://e.com/","domain":"e.com","referrer":null,"screen_width":1}`, view},
		"short wins over long, whatever comes first": {
			`{"name":"a","n":"pageview","u":"https://e.com","url":"https://f.org","domain":"x","d":"e.com"}`, view},
		"null is absent":     {`{"n":null,"name":"pageview","u":"https://e.com","d":"e.com"}`, view},
		"the last one wins":  {`{"n":"a","n":"pageview","u":"https://e.com","d":"x","d":"e.com"}`, view},
		"domain from host":   {`{"n":"pageview","u":"https://www.e.com"}`, view},
		"escaped keys":       {`{"\u006e":"pageview","u":"https:\/\/e.com","\u0064":"e.com"}`, view},
		"white space":        {" \t\r\n{ \"n\" : \"pageview\" , \"u\":\"https://e.com\",\"d\": \" e.com \" } \n", view},
		"unknown keys":       {`{"x":[1,{"y":[]},"z",-0.5e+3,true,{}],"n":"pageview","u":"https://e.com","d":"e.com","$":{"amount":"1"},"w":null}`, view},
		"several domains":    {`{"n":"pageview","u":"https://e.com","d":"e.com, www.F.org,,E.COM"}`, strings.Replace(view, `"e.com"]`, `"e.com" "f.org"]`, 1)},
		"a number for name":  {`{"n":404,"u":"https://e.com","d":"e.com"}`, `domains=["e.com"] kind=2 name=404 interactive=true host=e.com path="/"`},
		"not interactive":    {`{"n":"x","u":"https://e.com","d":"e.com","i":false}`, `domains=["e.com"] kind=2 name=x host=e.com path="/"`},
		"interactive null":   {`{"n":"pageview","u":"https://e.com","d":"e.com","i":null,"interactive":true}`, view},
		"long not interact.": {`{"n":"x","u":"https://e.com","d":"e.com","interactive":0}`, `domains=["e.com"] kind=2 name=x host=e.com path="/"`},
		"hash mode":          {`{"n":"pageview","u":"https://e.com/a?b#/c%20d","d":"e.com","h":1}`, strings.Replace(view, `"/"`, `"/a#/c d"`, 1)},
		"hash mode off":      {`{"n":"pageview","u":"https://e.com/a?b#/c","d":"e.com","h":0}`, strings.Replace(view, `"/"`, `"/a"`, 1)},
		"engagement": {
			`{"n":"engagement","u":"https://e.com","d":"e.com","sd":80,"e":12000}`,
			`domains=["e.com"] kind=3 name=engagement host=e.com path="/" scroll=80 engaged=12000`},
		"engagement, texts, too deep": {
			`{"n":"engagement","u":"https://e.com","d":"e.com","sd":"180","e":"12"}`,
			`domains=["e.com"] kind=3 name=engagement host=e.com path="/" scroll=100 engaged=12`},
		"engagement without depth": {
			`{"n":"engagement","u":"https://e.com","d":"e.com","sd":-1,"e":0}`,
			`domains=["e.com"] kind=3 name=engagement host=e.com path="/"`},
		"engagement, absurd time": {
			`{"n":"engagement","u":"https://e.com","d":"e.com","sd":0,"e":99999999999999999999999}`,
			`domains=["e.com"] kind=3 name=engagement host=e.com path="/" scroll=0`},
		"old name of an engagement": {
			`{"n":"pageleave","u":"https://e.com","d":"e.com","sd":5}`,
			`domains=["e.com"] kind=3 name=engagement host=e.com path="/" scroll=5`},
		"depth and time elsewhere are ignored": {`{"n":"pageview","u":"https://e.com","d":"e.com","sd":5,"e":5}`, view},
		"control characters": {
			`{"n":"Sign\u0000up\n","u":"https://e.com","d":"e.com","p":{"a\tb":" c\u202ed\u0085"}}`,
			`domains=["e.com"] kind=2 name=Sign up interactive=true host=e.com path="/" props=[{"a b" "c d"}]`},
		"surrogates": {
			`{"n":"\ud83d\ude00 \ud83d \ude00x","u":"https://e.com","d":"e.com"}`,
			"domains=[\"e.com\"] kind=2 name=😀 \ufffd \ufffdx interactive=true host=e.com path=\"/\""},
		"long referrer is cut": {
			`{"n":"pageview","u":"https://e.com","d":"e.com","r":"` + strings.Repeat("ä", 1001) + `"}`,
			view + " referrer=" + strings.Repeat("ä", 1000)},
		"referrer of another type": {`{"n":"pageview","u":"https://e.com","d":"e.com","r":7}`, view},
		"a form":                   {"n=pageview&u=https%3A%2F%2Fe.com%2F&d=e.com", view},
		"app": {`{"n":"pageview","u":"capacitor://localhost/x","d":"e.com"}`,
			`domains=["e.com"] kind=1 name=pageview interactive=true host=localhost path="/x"`},

		"props": {
			`{"n":"x","u":"https://e.com","d":"e.com","p":{"s":"a","n":1.50,"t":true,"f":false,"z":null,"l":[1],"o":{"a":1},"e":"","b":"  "}}`,
			`domains=["e.com"] kind=2 name=x interactive=true host=e.com path="/" props=[{"s" "a"} {"n" "1.50"} {"t" "true"} {"f" "false"}]`},
		"props as text": {
			`{"n":"x","u":"https://e.com","d":"e.com","p":"{\"a\":\"b\\\"c\"}"}`,
			`domains=["e.com"] kind=2 name=x interactive=true host=e.com path="/" props=[{"a" "b\"c"}]`},
		"meta before props": {
			`{"n":"x","u":"https://e.com","d":"e.com","props":{"a":1},"p":{"a":2},"meta":{"a":3},"m":{"a":4}}`,
			`domains=["e.com"] kind=2 name=x interactive=true host=e.com path="/" props=[{"a" "4"}]`},
		"props that come twice": {
			`{"n":"x","u":"https://e.com","d":"e.com","p":{"a":1,"b":2,"a":3,"b":null}}`,
			`domains=["e.com"] kind=2 name=x interactive=true host=e.com path="/" props=[{"a" "3"}]`},
		"props that are none":        {`{"n":"pageview","u":"https://e.com","d":"e.com","p":[1]}`, view},
		"props text that is none":    {`{"n":"pageview","u":"https://e.com","d":"e.com","p":"{\"a\":1"}`, view},
		"props text with more after": {`{"n":"pageview","u":"https://e.com","d":"e.com","p":"{\"a\":1} x"}`, view},
		"longest props": {
			`{"n":"x","u":"https://e.com","d":"e.com","p":{"` + long[:300] + `":"` + long[:2000] + `"}}`,
			`domains=["e.com"] kind=2 name=x interactive=true host=e.com path="/" props=[{"` + long[:300] + `" "` + long[:2000] + `"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			var b Beacon
			if f := b.ParseEvent([]byte(c.body)); !f.OK() {
				t.Fatalf("refused: %s", f.AppendText(nil))
			}
			if got := show(&b); got != c.want {
				t.Errorf("\ngot  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestParseEventRefuses(t *testing.T) {
	long := strings.Repeat("x", 5000)
	request := func(detail string) string {
		return `{"errors":{"request":["Unable to parse request body as json` + detail + `"]}}`
	}
	for name, c := range map[string]struct{ body, want, class string }{
		"empty":              {"", request(": it ends too early"), ClassRequest},
		"white space":        {" \n", request(": it ends too early"), ClassRequest},
		"truncated":          {`{"n":"pageview","u":"https://e.com","d":"e.c`, request(": it ends too early"), ClassRequest},
		"truncated at colon": {`{"n":`, request(": it ends too early"), ClassRequest},
		"truncated literal":  {`{"n":tr`, request(": it ends too early"), ClassRequest},
		"truncated escape":   {`{"n":"\u00`, request(": it ends too early"), ClassRequest},
		"truncated UTF-8":    {"{\"n\":\"\xc3", request(": it ends too early"), ClassRequest},
		"text":               {"hello", request(""), ClassRequest},
		"array":              {`[{"n":"pageview"}]`, request(""), ClassRequest},
		"string":             {`"a=b"`, request(""), ClassRequest},
		"form of strangers":  {`a=b&c=d`, request(""), ClassRequest},
		"trailing comma":     {`{"n":"pageview",}`, request(""), ClassRequest},
		"no colon":           {`{"n" "pageview"}`, request(""), ClassRequest},
		"single quotes":      {`{'n':'pageview'}`, request(""), ClassRequest},
		"raw newline":        {"{\"n\":\"a\nb\"}", request(""), ClassRequest},
		"raw NUL":            {"{\"n\":\"a\x00b\"}", request(""), ClassRequest},
		"bad escape":         {`{"n":"\x41"}`, request(""), ClassRequest},
		"bad unicode escape": {`{"n":"\u00zz"}`, request(""), ClassRequest},
		"leading zero":       {`{"n":01}`, request(""), ClassRequest},
		"plus sign":          {`{"n":+1}`, request(""), ClassRequest},
		"bare point":         {`{"n":1.}`, request(""), ClassRequest},
		"NaN":                {`{"n":NaN}`, request(""), ClassRequest},
		"garbage after":      {`{"n":"pageview"} x`, request(": something follows the object"), ClassRequest},
		"two objects":        {`{"n":"pageview"}{}`, request(": something follows the object"), ClassRequest},
		"nested deeply":      {`{"x":` + strings.Repeat("[", 10_000), request(": it is nested too deeply"), ClassRequest},
		"nested objects":     {strings.Repeat(`{"x":`, 10_000), request(": it is nested too deeply"), ClassRequest},
		"invalid UTF-8":      {"{\"n\":\"a\xffb\"}", `{"errors":{"request":["Unable to parse request body: it is not valid UTF-8"]}}`, ClassRequest},
		"overlong UTF-8":     {"{\"x\":\"\xc0\xaf\"}", `{"errors":{"request":["Unable to parse request body: it is not valid UTF-8"]}}`, ClassRequest},
		"raw surrogate":      {"{\"x\":\"\xed\xa0\x80\"}", `{"errors":{"request":["Unable to parse request body: it is not valid UTF-8"]}}`, ClassRequest},
		"invalid UTF-8 form": {"n=%ff&u=https://e.com", `{"errors":{"request":["Unable to parse request body: it is not valid UTF-8"]}}`, ClassRequest},
		"empty object":       {`{}`, `{"errors":{"url":["is required"],"event_name":["can't be blank"]}}`, ClassMissing},
		"no url":             {`{"n":"pageview","d":"e.com"}`, `{"errors":{"url":["is required"]}}`, ClassMissing},
		"blank url":          {`{"n":"pageview","d":"e.com","u":" "}`, `{"errors":{"url":["is required"]}}`, ClassMissing},
		"blank domain":       {`{"n":"pageview","u":"https://e.com","d":" , "}`, `{"errors":{"domain":["can't be blank"]}}`, ClassMissing},
		"blank name":         {`{"n":" ","u":"https://e.com","d":"e.com"}`, `{"errors":{"event_name":["can't be blank"]}}`, ClassMissing},
		"name is a fraction": {`{"n":1.5,"u":"https://e.com","d":"e.com"}`, `{"errors":{"event_name":["can't be blank"]}}`, ClassMissing},
		"name is a list":     {`{"n":["a"],"u":"https://e.com","d":"e.com"}`, `{"errors":{"event_name":["can't be blank"]}}`, ClassMissing},
		"long name":          {`{"n":"` + long[:121] + `","u":"https://e.com"}`, `{"errors":{"event_name":["should be at most 120 character(s)"]}}`, ClassInvalid},
		"long url":           {`{"n":"pageview","u":"https://e.com/` + long[:1987] + `"}`, `{"errors":{"url":["should be at most 2000 byte(s)"]}}`, ClassInvalid},
		"url is a number":    {`{"n":"pageview","u":7}`, `{"errors":{"url":["must be a valid url"]}}`, ClassInvalid},
		"url without scheme": {`{"n":"pageview","u":"/a"}`, `{"errors":{"url":["must be a valid url"]}}`, ClassInvalid},
		"data url":           {`{"n":"pageview","u":"data:text/html,x"}`, `{"errors":{"url":["scheme is not allowed"]}}`, ClassInvalid},
		"script url":         {`{"n":"pageview","u":"JaVaScRiPt:alert(1)"}`, `{"errors":{"url":["scheme is not allowed"]}}`, ClassInvalid},
		"domain is a list":   {`{"n":"pageview","u":"https://e.com","d":["e.com"]}`, `{"errors":{"domain":["is invalid"]}}`, ClassInvalid},
		"many domains":       {`{"n":"pageview","u":"https://e.com","d":"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"}`, `{"errors":{"domain":["should name at most 16 site(s)"]}}`, ClassInvalid},
		"long prop key":      {`{"n":"x","u":"https://e.com","p":{"` + long[:301] + `":1}}`, `{"errors":{"props":["keys should have at most 300 bytes and values 2000 bytes"]}}`, ClassInvalid},
		"long prop value":    {`{"n":"x","u":"https://e.com","p":{"a":"` + long[:2001] + `"}}`, `{"errors":{"props":["keys should have at most 300 bytes and values 2000 bytes"]}}`, ClassInvalid},
		"long prop in text":  {`{"n":"x","u":"https://e.com","p":"{\"a\":\"` + long[:2001] + `\"}"}`, `{"errors":{"props":["keys should have at most 300 bytes and values 2000 bytes"]}}`, ClassInvalid},
		"empty engagement":   {`{"n":"engagement","u":"https://e.com","sd":"x"}`, `{"errors":{"request":["engagement needs sd (scroll depth, 0 to 100) or e (engaged milliseconds)"]}}`, ClassRequest},
	} {
		t.Run(name, func(t *testing.T) {
			var b Beacon
			f := b.ParseEvent([]byte(c.body))
			if f.OK() {
				t.Fatalf("accepted: %s", show(&b))
			}
			if got := string(f.AppendJSON(nil)); got != c.want {
				t.Errorf("\ngot  %s\nwant %s", got, c.want)
			}
			if f.Class() != c.class {
				t.Errorf("class %q, want %q", f.Class(), c.class)
			}
		})
	}
}

func TestParseEventBoundsProps(t *testing.T) {
	var s strings.Builder
	for i := range 40 {
		fmt.Fprintf(&s, `,"z%d":null,"k%d":%d`, i, i, i)
	}
	var b Beacon
	if f := b.ParseEvent([]byte(`{"n":"x","u":"https://e.com","p":{` + s.String()[1:] + `}}`)); !f.OK() {
		t.Fatal(string(f.AppendText(nil)))
	}
	if len(b.Props) != MaxProps || b.Props[0].Key != "k0" || b.Props[29].Key != "k29" {
		t.Errorf("kept %d: %q", len(b.Props), b.Props)
	}
}

// A Beacon is reused: nothing of one body may show up in the next.
func TestReuse(t *testing.T) {
	full := []byte(`{"n":"\u0061","u":"https://e.com/%61?utm_source=a&utm_medium=a&utm_campaign=a&utm_content=a&utm_term=a&ref=a&gclid=a","d":"a,b","r":"a\n","p":{"\u0061":"\u0061"},"sd":1,"e":1}`)
	var b Beacon
	for _, next := range []string{`{"n":"pageview","u":"https://e.com"}`, `{`, `{}`, `{"n":"engagement","u":"https://e.com","sd":1}`} {
		var fresh Beacon
		wantFaults := fresh.ParseEvent([]byte(next))
		want := show(&fresh)
		b.ParseEvent(full)
		if got := b.ParseEvent([]byte(next)); got != wantFaults || show(&b) != want {
			t.Errorf("%s\ngot  %s\nwant %s", next, show(&b), want)
		}
	}
	b.ParseEvent(full)
	b.Reset()
	if got := show(&b); got != "" {
		t.Errorf("after Reset: %s", got)
	}
	for i := range b.props {
		if b.props[i] != (event.Prop{}) {
			t.Errorf("after Reset property %d still holds %q", i, b.props[i])
		}
	}
}

func TestFillSetsEveryFieldOfTheHit(t *testing.T) {
	var b Beacon
	b.ParseEvent([]byte(`{"n":"x","u":"https://e.com/a?utm_source=s&ref=r&gclid=g","r":"https://r.org/","p":{"a":1}}`))
	b.Scroll, b.Engaged = 1, 2 // only an engagement has them
	var h event.Hit
	b.Fill(&h)
	filled := reflect.ValueOf(h)
	for _, name := range []string{"Kind", "Name", "Interactive", "Hostname", "Path", "Campaign", "Ref", "ClickID", "Referrer", "Props", "Scroll", "Engaged"} {
		if filled.FieldByName(name).IsZero() {
			t.Errorf("%s is not filled", name)
		}
	}
}
