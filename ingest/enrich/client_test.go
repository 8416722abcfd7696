package enrich

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/halfmask/halfmask/event"
)

// realBrowsers reads the table of browsers.
func realBrowsers(t testing.TB) (agents []string, clients []event.Client) {
	t.Helper()
	for _, line := range lines(t, "testdata/browsers.tsv") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 6 {
			t.Fatalf("a line of the table has %d fields: %q", len(f), line)
		}
		agents = append(agents, f[5])
		clients = append(clients, event.Client{Device: f[0], Browser: f[1], BrowserVersion: f[2], OS: f[3], OSVersion: f[4]})
	}
	return agents, clients
}

func lines(t testing.TB, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimRight(string(data), "\n"), "\n")
}

func TestRealBrowsers(t *testing.T) {
	e := New(Options{})
	agents, clients := realBrowsers(t)
	if len(agents) < 60 {
		t.Fatalf("the table has %d browsers", len(agents))
	}
	for i, agent := range agents {
		for range 2 { // read, then remembered
			got, bot := e.Client(event.UserAgent(agent))
			if bot {
				t.Errorf("taken for a robot: %s", agent)
			}
			if !bot && got != clients[i] {
				t.Errorf("%s\n got %+v\nwant %+v", agent, got, clients[i])
			}
		}
	}
}

func TestVersion(t *testing.T) {
	for in, want := range map[string]string{
		"146.0.0.0": "146.0", "146": "146", "5/": "5", "16.6 Mobile": "16.6", "14.30.1-gn": "14.30", "": "", "x": "", ".5": "", "1.": "1",
		"1234567890123": "", "18_6": "18",
	} {
		if got := version(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// Whatever is sent, what is kept of it comes from closed sets or is a short
// number, so that nobody can write on a dashboard or into storage this way.
func FuzzClient(f *testing.F) {
	agents, clients := realBrowsers(f)
	for _, agent := range agents {
		f.Add(agent)
	}
	f.Add("")
	f.Add("FBAV/")
	f.Add("PlayStation \xff")
	f.Add("Mozilla/5.0 (iPhone; CPU iPhone OS 99999999999999999999 like Mac OS X)")
	f.Add("EvilName/6.6.6")
	browsers, systems := map[string]bool{"": true}, map[string]bool{"": true}
	for _, b := range browserTokens {
		browsers[b.name] = true
	}
	for _, name := range browserNames {
		browsers[name] = true
	}
	for _, name := range []string{"iOS WebView", "Android WebView"} {
		browsers[name] = true
	}
	for _, c := range clients {
		systems[c.OS] = true
	}
	systems["NetBSD"], systems["BlackBerry"] = true, true
	devices := map[string]bool{"": true, "Desktop": true, "Mobile": true, "Tablet": true, "TV": true, "Console": true}
	e := New(Options{})
	f.Fuzz(func(t *testing.T, agent string) {
		c, bot := e.Client(event.UserAgent(agent))
		if bot && c != (event.Client{}) {
			t.Errorf("a robot has the client %+v", c)
		}
		if !browsers[c.Browser] || !systems[c.OS] || !devices[c.Device] {
			t.Errorf("made up: %+v", c)
		}
		for _, v := range []string{c.BrowserVersion, c.OSVersion} {
			if len(v) > 12 || !utf8.ValidString(v) || strings.ContainsAny(v, "<>&'\" ") {
				t.Errorf("made up: %q", v)
			}
		}
	})
}

// A client's strings outlive the request that the user agent came with.
func TestClientDoesNotBorrow(t *testing.T) {
	e := New(Options{})
	agents, clients := realBrowsers(t)
	buffer := []byte(agents[0])
	got, _ := e.Client(borrow(buffer))
	for i := range buffer {
		buffer[i] = 'x'
	}
	if got != clients[0] {
		t.Errorf("the client changed with the request's memory: %+v", got)
	}
	if again, _ := e.Client(event.UserAgent(agents[0])); again != clients[0] {
		t.Errorf("the cache changed with the request's memory: %+v", again)
	}
}
