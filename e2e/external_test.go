package e2e_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/halfmask/halfmask/e2e"
	"github.com/halfmask/halfmask/storage/engine"
)

// TestAServerOfOnesOwn runs the whole against a ClickHouse that Halfmask is only
// told of: everything works as with the local engine, none of which is started,
// and the password shows nowhere.
func TestAServerOfOnesOwn(t *testing.T) {
	theirs := startClickHouse(t)
	noEngine := []string{"HALFMASK_ENGINE=/nowhere/libchdb.so"}
	server := e2e.Start(t, e2e.Options{Args: []string{"--clickhouse", theirs.dsn("")}, Env: noEngine})
	beside := e2e.Options{Data: server.Data, Env: append(noEngine, "HALFMASK_CLICKHOUSE="+theirs.dsn(""))}

	server.AddSite(t, "example.com")
	token := server.AddToken(t, "example.com")
	send(t, server, "/one")
	e2e.Eventually(t, "the event is stored", func() bool {
		return server.Totals(t, token, "example.com", "events")[0] == 1
	})
	for _, file := range []string{"cmdline", "environ"} {
		path := "/proc/" + strconv.Itoa(server.PID()) + "/" + file
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), theirs.password) && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s, which everybody can read, holds the password", path)
		}
	}

	// It goes away in the middle: the door stays open.
	theirs.cut()
	send(t, server, "/two")
	server.Kill(t) // a crash while it is away
	server.Restart(t)
	if pending := server.Metrics(t).Value("halfmask_spool_pending_events"); pending < 1 {
		t.Errorf("%v events wait in the spool, want at least the one that was accepted while storage was away", pending)
	}
	theirs.mend()
	server.SetupLink(t) // told as soon as it is known that there is no user
	theirs.cut()
	server.Kill(t)
	server.Restart(t)
	server.Stop(t) // and a stop while it is away, with nothing learned
	theirs.mend()
	server.Restart(t)
	server.StorageUp(t)
	send(t, server, "/three")
	e2e.Eventually(t, "all three events are stored", func() bool {
		return server.Totals(t, token, "example.com", "events")[0] == 3
	})
	if got := server.Totals(t, token, "example.com", "visitors", "visits", "pageviews"); got[0] != 1 || got[1] != 1 || got[2] != 3 {
		t.Errorf("visitors, visits and pageviews are %v, want 1, 1 and 3: the visit went on all the time", got)
	}
	server.Stop(t)
	outputs := server.Output()

	// Commands without a server of Halfmask's ask theirs.
	if sites := e2e.Run(t, beside, "site", "list"); !strings.Contains(sites, "example.com") {
		t.Errorf("site list prints %q", sites)
	}
	if removed := e2e.Run(t, beside, "site", "remove", "--yes", "example.com"); !strings.Contains(removed, "3 events") {
		t.Errorf("site remove prints %q", removed)
	}

	// A password that is wrong is said to be, and not what it is.
	wrong := e2e.Launch(t, e2e.Options{Data: server.Data, Env: append(noEngine, "HALFMASK_CLICKHOUSE="+theirs.dsn("wr0ngSEcReT"))})
	wrong.Says(t, "password is wrong")
	wrong.Stop(t)
	outputs += wrong.Output()

	if strings.Contains(outputs, theirs.password) || strings.Contains(outputs, "wr0ngSEcReT") {
		t.Errorf("the output holds a password:\n%s", outputs)
	}
	if _, err := os.Stat(filepath.Join(server.Data, "engine")); err == nil {
		t.Error("a local engine was started too")
	}
	err := filepath.WalkDir(server.Data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), theirs.password) {
			t.Errorf("%s holds the password", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// clickHouse is a server that is not Halfmask's, behind a line that can be cut.
type clickHouse struct {
	engine   *engine.Engine
	dir      string
	password string
	address  string

	mu    sync.Mutex
	away  bool
	lines map[net.Conn]bool
}

func startClickHouse(t *testing.T) *clickHouse {
	t.Helper()
	library, err := engine.Find(os.Getenv("HALFMASK_ENGINE"), filepath.Join("..", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	e, err := engine.Open(t.Context(), engine.Options{Library: library, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close(t.Context()) }) // kills it, for the context has ended
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &clickHouse{engine: e, dir: dir, password: e.Writer().Password, address: l.Addr().String(), lines: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		c.cut()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { c.carry(conn) })
		}
	})
	return c
}

// carry passes on what one client and the engine say to each other.
func (c *clickHouse) carry(client net.Conn) {
	defer client.Close()
	server, err := c.engine.Dial(context.Background())
	if err != nil {
		return
	}
	defer server.Close()
	c.mu.Lock()
	if c.away {
		c.mu.Unlock()
		return
	}
	c.lines[client], c.lines[server] = true, true
	c.mu.Unlock()
	var wg sync.WaitGroup
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.Close()
		_ = from.Close()
	}
	wg.Go(func() { pass(server, client) })
	wg.Go(func() { pass(client, server) })
	wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.lines, client)
	delete(c.lines, server)
}

func (c *clickHouse) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = true
	for conn := range c.lines {
		_ = conn.Close()
	}
}

func (c *clickHouse) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = false
}

// dsn is how to reach it, with its password or another.
func (c *clickHouse) dsn(password string) string {
	if password == "" {
		password = c.password
	}
	return "clickhouse://" + c.engine.Writer().User + ":" + password + "@" + c.address + "/halfmask"
}
