package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/halfmask/halfmask/e2e"
	"github.com/halfmask/halfmask/internal/testkit"
	"github.com/halfmask/halfmask/internal/testkit/browser"
)

// songs are requests to the collector with canaries in every place that there
// is: well-formed ones, and ones that go wrong in each way that they can.
func songs() (requests []string) {
	const agent = browser.UserAgent + " CanaryAgent/7"
	const beacon = `{"n":"pageview","u":"https://CanaryUser:CanaryPassword@example.com/page?email=CanaryMail@example.org&gclid=CanaryClick&utm_source=news#CanaryFragment",` +
		`"d":"example.com","r":"https://CanaryRefUser:x@search.example/find?q=CanaryQuery#CanaryFragment"}`
	post := func(body string, headers ...string) string {
		return fmt.Sprintf("POST /api/event?CanaryQuery HTTP/1.1\r\nHost: c\r\nConnection: close\r\nUser-Agent: %s\r\nCookie: sid=CanaryCookie\r\nReferer: https://example.com/?CanaryQuery\r\n%s\r\nContent-Length: %d\r\n\r\n%s",
			agent, strings.Join(headers, "\r\n"), len(body), body)
	}
	get := func(target string, headers ...string) string {
		return "GET " + target + " HTTP/1.1\r\nHost: c\r\nConnection: close\r\nUser-Agent: " + agent + "\r\nX-Forwarded-For: 203.0.113.77\r\nCookie: sid=CanaryCookie\r\n" +
			strings.Join(append(headers, "\r\n"), "\r\n")
	}
	const from4, from6 = "X-Forwarded-For: 203.0.113.77", "Forwarded: for=\"[2001:db8:dead:beef::77]:4711\""
	requests = []string{
		post(beacon, from4),
		post(beacon, from6),
		get("/pixel.gif?d=example.com&u=https%3A%2F%2Fexample.com%2Fpixel%3Fx%3DCanaryQuery&r=https%3A%2F%2Fx.example%2F%3FCanaryQuery"),
		post(beacon, "X-Forwarded-For: 198.51.100.177", "Sec-GPC: 1"),
		post(beacon, "X-Forwarded-For: 198.51.100.177", "DNT: 1"),
		post(`{"CanaryOptOut`, "X-Forwarded-For: 198.51.100.177", "Cookie: halfmask_optout=1"),
		post(beacon, "X-Forwarded-For: 203.0.113.77, CanaryBroken"),
		post(strings.Replace(beacon, `"d":"example.com"`, `"d":"CanaryUnknown.example"`, 1), from4),
		post(`{"n":"CanaryBroken`, from4),
		post("{\"n\":\"CanaryBroken\xff\"}", from4),
		post(strings.Repeat("CanaryBroken", 10_000), from4),
		post(beacon, from4, "Transfer-Encoding: chunked"),
		post(beacon, from4, "Transfer-Encoding: CanaryBroken"),
		post(beacon, from4, "Content-Length: CanaryBroken"),
		post(beacon, from4, "Content-Encoding: gzip"),
		post(beacon, from4, "Expect: CanaryBroken"),
		post(beacon, from4, strings.Repeat("X-A: CanaryBroken\r\n", 300)+"X-B: c"),
		post(beacon, from4, "X-A: "+strings.Repeat("CanaryBroken", 5_000)),
		"GET /CanaryQuery?CanaryQuery HTTP/1.1\r\nHost: CanaryUnknown\r\nX-Forwarded-For: 203.0.113.77\r\nConnection: close\r\n\r\n",
		"CanaryBroken\r\n\r\n", "GET /\x00CanaryBroken HTTP/9.9\r\n\r\n", "\x16\x03\x01CanaryBroken",
		"POST /api/event HTTP/1.1\r\nHost: c\r\nX-Forwarded-For: 203.0.113.77\r\nContent-Length: 1000\r\n\r\nCanaryBroken",
		get("/js/hm.js?CanaryQuery"), get("/?CanaryQuery"),
		strings.Replace(get("/pixel.gif?CanaryQuery"), "GET", "HEAD", 1), strings.Replace(post(beacon, from4), "POST", "PUT", 1), strings.Replace(post(beacon, from4), "POST", "OPTIONS", 1),
	}
	// What says where a request came from, in all spellings.
	for _, header := range []string{"X-Real-IP", "True-Client-IP", "Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "Fastly-Client-IP", "CF-Connecting-IP", "Fly-Client-IP", "X-Forwarded", "Via", "From", "X-Forwarded-Host"} {
		requests = append(requests, post(beacon, header+": 203.0.113.77"), post(beacon, header+": 2001:db8:dead:beef::77"))
	}
	for _, value := range []string{"203.0.113.77:4711", "[2001:db8:dead:beef::77]:4711", "::ffff:203.0.113.77", "::ffff:cb00:714d", "2001:db8:dead:beef::77%eth0", "203.0.113.77, 127.0.0.1", "\"203.0.113.77\"", "3405803853", "0xcb00714d"} {
		requests = append(requests, post(beacon, "X-Forwarded-For: "+value), post(beacon, "x_forwarded_for: "+value), post(beacon, "Forwarded: for="+value+";by=203.0.113.77"))
	}
	// Paths, referrers, names, campaigns and properties with something of a person.
	for _, secret := range []string{"CanaryMail@example.org", "CanaryMail%40example.org", "203.0.113.77", "2001:db8:dead:beef::77", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJDYW5hcnkifQ.Q2FuYXJ5",
		"0c0ffee0-ca9a-4ca9-8ca9-0123456789ca", "c0ffeeca9ac0ffeeca9ac0ffeeca9a77", "+49-170-5550177", "49170555017755"} {
		requests = append(requests, post(`{"n":"pageview","u":"https://example.com/of/`+secret+`/x","d":"example.com","r":"https://search.example/of/`+secret+`"}`, from4))
	}
	for _, secret := range []string{"CanaryMail@example.org", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJDYW5hcnkifQ.Q2FuYXJ5"} {
		escaped := url.QueryEscape(secret)
		requests = append(requests,
			post(fmt.Sprintf(`{"n":%q,"u":"https://example.com/?utm_source=%s&utm_medium=%s&utm_campaign=%s&utm_content=%s&utm_term=%s","d":"example.com","p":{%q:%q}}`,
				secret, escaped, escaped, escaped, escaped, escaped, secret, "for "+secret), from4),
			post(`{"n":"pageview","u":"https://example.com/?ref=`+escaped+`","d":"example.com"}`, from6))
	}
	return requests
}

// choir sings all the time, whether anybody listens or not.
type choir struct {
	done    chan struct{}
	wg      sync.WaitGroup
	mu      sync.Mutex
	answers map[string]bool
}

func sing(address string) *choir {
	c := &choir{done: make(chan struct{}), answers: map[string]bool{}}
	for range 2 {
		c.wg.Go(func() {
			for {
				for _, request := range songs() {
					select {
					case <-c.done:
						return
					default:
					}
					if answer := whisper(address, request); answer != "" {
						c.mu.Lock()
						c.answers[answer] = true
						c.mu.Unlock()
					}
				}
			}
		})
	}
	return c
}

func (c *choir) stop() (answers string) {
	close(c.done)
	c.wg.Wait()
	for answer := range c.answers {
		answers += answer
	}
	return answers
}

// whisper sends bytes and returns the answer, if there is any.
func whisper(address, request string) string {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		time.Sleep(20 * time.Millisecond) // nobody is there: it was killed
		return ""
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(conn, request)
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
	answer, _ := io.ReadAll(io.LimitReader(conn, 1<<16))
	return string(answer)
}

// TestSentinel is the promise that no byte that Halfmask writes holds a
// visitor's address: visitors with marks of their own come in every way, while
// everything that can die does; then all that is left of it is searched, in
// every form that the marks could take.
func TestSentinel(t *testing.T) {
	t.Parallel()
	t.Run("everything dies", func(t *testing.T) {
		t.Parallel()
		server := e2e.Start(t, e2e.Options{Args: []string{"--trusted-proxies", "127.0.0.1", "--log-level", "debug", "--batch-interval", "50ms"}})
		server.AddSite(t, "example.com")
		token := server.AddToken(t, "example.com")
		server.RunWith(t, "half past four\n", "user", "add", "ada")
		search := newSearch(everyForm, canaries...)
		choir := sing(strings.TrimPrefix(server.Collector, "http://"))
		stored := func() float64 { return server.Metrics(t).Value("halfmask_batch_stored_events_total") }

		e2e.Eventually(t, "events are stored", func() bool { return stored() > 50 })
		search.bytes("the dashboard's answers", []byte(singDashboard(t, server)))
		server.KillEngine(t)
		before := stored()
		e2e.Eventually(t, "events are stored again", func() bool { return stored() > before })
		server.SignalEngine(t, syscall.SIGSTOP)
		search.folder(t, filepath.Join(server.Data, "spool"))
		server.SignalEngine(t, syscall.SIGKILL)
		output := ""
		for _, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGKILL} {
			search.bytes("the metrics", []byte(fetch(t, server.Operations+"/metrics")))
			server.End(t, sig)
			output += server.Output()
			search.folder(t, server.Data)
			if files, err := filepath.Glob(filepath.Join(server.Data, "core*")); err != nil || len(files) > 0 {
				t.Errorf("after %v there are %v, %v", sig, files, err)
			}
			server.Restart(t)
		}
		e2e.Eventually(t, "events are stored in the end", func() bool { return stored() > 50 })
		answers := choir.stop()
		if strings.Count(answers, "202 Accepted") == 0 || !strings.Contains(answers, "400 Bad Request") {
			t.Error("nobody heard the choir")
		}
		search.bytes("an answer", []byte(answers))
		for _, dimension := range []string{"event:page", "event:hostname", "event:name", "visit:entry_page", "visit:exit_page", "visit:source", "visit:channel", "visit:referrer",
			"visit:utm_source", "visit:utm_medium", "visit:utm_campaign", "visit:utm_content", "visit:utm_term", "visit:device", "visit:browser", "visit:browser_version",
			"visit:os", "visit:os_version", "visit:country", "visit:region", "visit:city"} {
			search.bytes("the Stats API's "+dimension, []byte(fmt.Sprint(server.ByDimension(t, token, "example.com", "events", dimension))))
		}
		pages := server.ByDimension(t, token, "example.com", "events", "event:page")
		for _, page := range []string{"/of/:email/x", "/of/:ip/x", "/of/:token/x", "/of/:id/x", "/of/:number/x"} {
			if pages[page] == 0 {
				t.Errorf("there is no %s among the pages, where a mark was taken out", page)
			}
		}
		search.bytes("the metrics", []byte(fetch(t, server.Operations+"/metrics")))
		search.folder(t, server.Data)
		server.Stop(t)
		search.bytes("the output", []byte(output+server.Output()))
		if strings.Count(output, "goroutine profile") != 4 {
			t.Errorf("there were not four lists of stacks to be searched:\n%.5000s", output)
		}
		search.folder(t, server.Data)
		engine := testkit.NewEngine(t, filepath.Join(server.Data, "engine"))
		rows := search.tables(t, engine.Dial, engine.Writer().User, engine.Writer().Password)
		if rows["halfmask.events"] < 100 || rows["halfmask.audit"] == 0 {
			t.Errorf("there was not enough to look at: %v", rows)
		}
		search.nothing(t)

		// And one address among all this would have been found.
		planted := newSearch(everyForm, canaries...)
		if err := os.WriteFile(filepath.Join(server.Data, "spool", "planted"), []byte("...\xcb\x00\x71\x4d..."), 0o600); err != nil {
			t.Fatal(err)
		}
		if planted.folder(t, server.Data); len(planted.found) != 1 {
			t.Errorf("an address in the spool is found as %v", planted.found)
		}
	})
	t.Run("storage refuses", func(t *testing.T) {
		t.Parallel()
		theirs := startClickHouse(t)
		server := e2e.Start(t, e2e.Options{
			Args: []string{"--trusted-proxies", "127.0.0.1", "--log-level", "debug", "--batch-interval", "50ms"},
			Env:  []string{"HALFMASK_CLICKHOUSE=" + theirs.dsn("")},
		})
		server.AddSite(t, "example.com")
		search := newSearch(everyForm, canaries...)
		choir := sing(strings.TrimPrefix(server.Collector, "http://"))
		metric := func(name string) float64 { return server.Metrics(t).Value(name) }
		e2e.Eventually(t, "events are stored", func() bool { return metric("halfmask_batch_stored_events_total") > 50 })

		// ClickHouse quotes the row that violates a constraint.
		theirs.do(t, "ALTER TABLE halfmask.events ADD CONSTRAINT never CHECK path = 'never'")
		failures := metric("halfmask_batch_failures_total")
		e2e.Eventually(t, "storage refuses", func() bool { return metric("halfmask_batch_failures_total") > failures+2 })
		search.tables(t, theirs.engine.Dial, theirs.engine.Writer().User, theirs.password)
		search.folder(t, server.Data)
		theirs.cut()
		search.bytes("the metrics", []byte(fetch(t, server.Operations+"/metrics")))
		theirs.mend()
		theirs.do(t, "ALTER TABLE halfmask.events DROP CONSTRAINT never")
		stored := metric("halfmask_batch_stored_events_total")
		e2e.Eventually(t, "events are stored again", func() bool { return metric("halfmask_batch_stored_events_total") > stored })
		search.bytes("an answer", []byte(choir.stop()))
		server.Stop(t)
		search.bytes("the output", []byte(server.Output()))
		search.folder(t, server.Data)
		search.folder(t, theirs.dir)
		search.tables(t, theirs.engine.Dial, theirs.engine.Writer().User, theirs.password)
		search.nothing(t)
	})
}

// do runs a statement on a server that is not Halfmask's.
func (c *clickHouse) do(t *testing.T, statement string) {
	t.Helper()
	conn := c.connect(t)
	defer conn.Close()
	if err := conn.Exec(context.Background(), statement); err != nil {
		t.Fatal(err)
	}
}

// count returns the number that a statement answers.
func (c *clickHouse) count(t *testing.T, statement string) (n uint64) {
	t.Helper()
	conn := c.connect(t)
	defer conn.Close()
	if err := conn.QueryRow(context.Background(), statement).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (c *clickHouse) connect(t *testing.T) driver.Conn {
	t.Helper()
	conn, err := clickhouse.Open(&clickhouse.Options{
		Addr:        []string{"engine"},
		Auth:        clickhouse.Auth{Username: c.engine.Writer().User, Password: c.password},
		DialContext: func(ctx context.Context, _ string) (net.Conn, error) { return c.engine.Dial(ctx) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
