package e2e_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/halfmask/halfmask/e2e"
)

// canaries are what visitors and users send and nothing may keep.
var canaries = []string{
	"203.0.113.77", "2001:db8:dead:beef::77", "198.51.100.177", // addresses
	"CanaryAgent/7", "CanaryCookie", "CanaryQuery", "CanaryFragment", "CanaryClick", "CanaryMail@example.org",
	"CanaryUser", "CanaryPassword", "CanaryRefUser", "CanaryLogin", "CanaryBroken", "CanaryUnknown", "hm_CanaryToken", "CanaryOptOut",
	"eyJhbGciOiJub25lIn0.eyJzdWIiOiJDYW5hcnkifQ.Q2FuYXJ5", "0c0ffee0-ca9a-4ca9-8ca9-0123456789ca", "c0ffeeca9ac0ffeeca9ac0ffeeca9a77", // what stands in paths
	"+49-170-5550177", "49170555017755",
}

// TestNothingKeepsACanary sends canaries in every way there is to send
// something and looks for them in everything that Halfmask leaves behind.
func TestNothingKeepsACanary(t *testing.T) {
	theirs := startClickHouse(t)
	server := e2e.Start(t, e2e.Options{
		Args: []string{"--trusted-proxies", "127.0.0.1", "--log-level", "debug"},
		Env:  []string{"HALFMASK_CLICKHOUSE=" + theirs.dsn("")},
	})
	server.AddSite(t, "example.com")
	token := server.AddToken(t, "example.com")
	server.RunWith(t, "half past four\n", "user", "add", "ada")

	bodies := singCollector(t, server) + singDashboard(t, server)
	e2e.Eventually(t, "both visitors' events are stored", func() bool {
		return server.Totals(t, token, "example.com", "visitors", "events")[1] >= 3
	})
	if got := server.Totals(t, token, "example.com", "visitors")[0]; got != 3 {
		t.Errorf("%v visitors were counted, want the 2 that the canaries' addresses make, and the proxy itself", got)
	}
	search := newSearch(everyForm, canaries...)
	search.bytes("an answer", []byte(bodies))
	search.bytes("the metrics", []byte(fetch(t, server.Operations+"/metrics")))
	search.folder(t, server.Data)
	theirs.cut() // what comes now stays in the spool
	singCollector(t, server)
	search.folder(t, server.Data)
	server.Kill(t)
	if search.folder(t, server.Data) == 0 {
		t.Error("there was nothing to look at")
	}
	output := server.Output()
	theirs.mend()
	server.Restart(t)
	singCollector(t, server)
	server.Stop(t)
	search.bytes("the output", []byte(output+server.Output()))
	search.folder(t, server.Data)
	rows := search.tables(t, theirs.engine.Dial, theirs.engine.Writer().User, theirs.password)
	if rows["halfmask.events"] < 3 || rows["halfmask.audit"] == 0 {
		t.Errorf("there was not enough to look at: %v", rows)
	}
	search.nothing(t)
}

// singCollector sends canaries to the collector and returns its answers.
func singCollector(t *testing.T, server *e2e.Server) (answers string) {
	t.Helper()
	for _, request := range songs() {
		_, answer := raw(t, strings.TrimPrefix(server.Collector, "http://"), request)
		answers += answer
	}
	return answers
}

// singDashboard sends canaries to the dashboard and returns its answers.
func singDashboard(t *testing.T, server *e2e.Server) (answers string) {
	t.Helper()
	ask := func(method, path, kind, body string, headers ...string) {
		request, err := http.NewRequestWithContext(t.Context(), method, server.Dashboard+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", kind)
		request.Header.Set("User-Agent", "CanaryAgent/7")
		request.Header.Set("X-Forwarded-For", "203.0.113.77")
		request.Header.Set("Cookie", "halfmask=CanaryCookie")
		for i := 0; i < len(headers); i += 2 {
			request.Header.Set(headers[i], headers[i+1])
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		answers += fmt.Sprint(response.StatusCode, response.Header) + string(text)
	}
	const form = "application/x-www-form-urlencoded"
	for range 12 { // more than are free
		ask("POST", "/login", form, "name=ada&password=CanaryPassword", "Sec-Fetch-Site", "same-origin")
	}
	ask("POST", "/login", form, "name=&password=CanaryPassword", "Sec-Fetch-Site", "same-origin")
	ask("GET", "/setup?token=CanaryToken", "", "")
	ask("POST", "/api/v2/query", "application/json", `{"site_id":"example.com"}`, "Authorization", "Bearer hm_CanaryToken")
	ask("POST", "/api/v2/query", "application/json", `{"site_id":"example.com"}`, "Authorization", "Bearer hm_"+base64.RawURLEncoding.EncodeToString([]byte("CanaryTokenCanaryTokenCanaryTok7")))
	ask("GET", "/nothing/CanaryQuery?CanaryQuery", "", "")
	raw(t, strings.TrimPrefix(server.Dashboard, "http://"), "\x16\x03\x01CanaryBroken")
	raw(t, strings.TrimPrefix(server.Operations, "http://"), "GET /CanaryQuery HTTP/9.9\r\n\r\n")
	return answers
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
