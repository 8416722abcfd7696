package storage

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/halfmask/halfmask/internal/testkit"
	"github.com/halfmask/halfmask/stats"
)

// slow reads for longer than any test waits, row by row.
const slow = "SELECT number, sleepEachRow(0.001) FROM numbers(1000000) SETTINGS max_block_size = 100"

func TestLeavingAQuestionReturnsAtOnceAndStopsIt(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	rows := 0
	err := s.selectRows(ctx, s.writer, statement{name: "test", sql: slow}, func(scanner) error {
		if rows++; rows == 1 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the context's end", err)
	}
	left := rows
	for deadline := time.Now().Add(10 * time.Second); ask[uint64](t, s, "SELECT count() FROM system.processes WHERE query LIKE 'SELECT number, sleep%' AND current_database = currentDatabase()") > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the server still works on a question that nobody waits for")
		}
		time.Sleep(10 * time.Millisecond) // the server's time, not ours
	}
	if rows != left {
		t.Error("rows were delivered after the call returned")
	}
}

func TestAFailingRowStopsTheQuestion(t *testing.T) {
	s := open(t)
	enough := errors.New("enough")
	start := time.Now()
	err := s.selectRows(t.Context(), s.writer, statement{name: "test", sql: slow}, func(scanner) error { return enough })
	if !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("stopping took %v", took)
	}
}

func TestAnEndedContextReachesNobody(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Query(ctx, &stats.Query{Site: 1, Zone: time.UTC, From: noon(), To: noon().Add(time.Hour), Metrics: []stats.Metric{stats.Visitors}}); !errors.Is(err, context.Canceled) {
		t.Errorf("Query: %v", err)
	}
	if err := s.Insert(ctx, batchOf(s, 1, "t", daysAgo(1, 1)...), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Insert: %v", err)
	}
	if err := s.Ping(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Ping: %v", err)
	}
}

// fragile hands out connections that it can break all at once.
type fragile struct {
	dial func(context.Context) (net.Conn, error)

	mu    sync.Mutex
	conns []*net.TCPConn
}

func (f *fragile) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := f.dial(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns = append(f.conns, conn.(*net.TCPConn))
	return conn, nil
}

func (f *fragile) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		_ = c.SetLinger(0) // RST, not FIN
		_ = c.Close()
	}
	f.conns = nil
}

// The driver used to take the process down when a connection broke under a
// question that was being cancelled, and the engine ended itself when an insert
// was: both must live through many of these.
func TestBrokenConnectionsUnderCancelledCalls(t *testing.T) {
	e := testkit.NewEngine(t, t.TempDir())
	f := &fragile{dial: e.Dial}
	o := options(e, "halfmask")
	o.Dial = f.Dial
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	events := daysAgo(2000, 1)
	insert(t, s, batchOf(s, 1, "first", events...), nil)
	run := ask[string](t, s, "SELECT toString(serverUUID())") // the engine answers
	pid := e.PID()

	for round := range 40 {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				_ = s.selectRows(ctx, s.writer, statement{name: "test", sql: "SELECT number FROM numbers(20000000)"}, func(scan scanner) error {
					var n uint64
					return scan(&n)
				})
			})
		}
		wg.Go(func() { _, _ = s.Live(ctx, 1) })
		wg.Go(func() { _ = s.Insert(ctx, batchOf(s, uint64(round+2), "again", events...), nil) })
		time.Sleep(time.Duration(round%10) * 2 * time.Millisecond) // any moment of theirs
		cancel()
		f.reset()
		wg.Wait()
	}

	for deadline := time.Now().Add(20 * time.Second); ; {
		if err = s.Ping(t.Context()); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		t.Fatalf("after the rounds: %v", err)
	}
	if e.PID() != pid || e.Restarts() != 0 {
		t.Errorf("the engine was restarted %d times", e.Restarts())
	}
	if run == "" {
		t.Error("the engine did not answer before")
	}
}

func TestAnInsertThatHangsCanBeLeft(t *testing.T) {
	e, database := testkit.Database(t)
	gate := &gate{dial: e.Dial, open: make(chan struct{})}
	o := options(e, database)
	o.Dial = gate.Dial
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	insert(t, s, batchOf(s, 1, "t", daysAgo(5, 1)...), nil)
	gate.shut()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Insert(ctx, batchOf(s, 2, "u", daysAgo(5, 1)...), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("left with %v", err)
	}
	close(gate.open) // the late original arrives or is dropped; a repetition makes sure
	insert(t, s, batchOf(s, 2, "u", daysAgo(5, 1)...), nil)
	if got := stored(t, s, 2)[day(1)]; got != 5 {
		t.Errorf("%d rows are stored, want 5", got)
	}
}

// gate is a way to the server whose writes can be held up.
type gate struct {
	dial func(context.Context) (net.Conn, error)
	open chan struct{}
	mu   sync.Mutex
	held bool
}

func (g *gate) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := g.dial(ctx)
	return &gatedConn{conn, g}, err
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = true
}

type gatedConn struct {
	net.Conn
	gate *gate
}

func (c *gatedConn) Write(p []byte) (int, error) {
	c.gate.mu.Lock()
	held := c.gate.held
	c.gate.mu.Unlock()
	if held {
		<-c.gate.open
	}
	return c.Conn.Write(p)
}

func TestTheReaderCannotWrite(t *testing.T) {
	e, database := testkit.Database(t)
	profiled := openOn(t, e, database)
	if err := profiled.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	o := options(e, database)
	o.Reader = Credentials{} // one user for both, as a small server of one's own may have
	bounded, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bounded.Close() }()
	insert(t, profiled, batchOf(profiled, 1, "t", pageview(time.Now())), nil)
	for name, s := range map[string]*Store{"its own user": profiled, "the writer's": bounded} {
		t.Run(name, func(t *testing.T) {
			if n, err := s.Live(t.Context(), 1); err != nil || n != 1 {
				t.Errorf("reading: %d, %v", n, err)
			}
			for _, sql := range []string{
				"INSERT INTO events (ts, site) SELECT now(), 2", "DROP TABLE events", "ALTER TABLE events DELETE WHERE 1",
				"CREATE TABLE t (x UInt8) ENGINE = Memory", "INSERT INTO FUNCTION file('x.csv') SELECT 1", "SET readonly = 0",
			} {
				err := s.selectRows(t.Context(), s.reader, statement{name: "test", sql: sql}, func(scanner) error { return nil })
				var f *Failure
				if !errors.As(err, &f) || f.Code == 0 {
					t.Errorf("%s: %v, want a refusal", sql, err)
				}
			}
		})
	}
	if n := ask[uint64](t, profiled, "SELECT count() FROM events"); n != 1 {
		t.Errorf("%d events are stored, want 1", n)
	}
	err = profiled.selectRows(t.Context(), profiled.reader, statement{name: "test", sql: "SELECT key FROM salts"}, func(scanner) error { return nil })
	var f *Failure
	if !errors.As(err, &f) || f.Class != Access {
		t.Errorf("reading salts as the reader: %v", err)
	}
}

func TestFailuresSayWhatToDo(t *testing.T) {
	e, database := testkit.Database(t)
	for name, c := range map[string]struct {
		change func(*Options)
		class  Class
	}{
		"wrong password": {func(o *Options) { o.Writer.Password = "wrong" }, Access},
		"no database":    {func(o *Options) { o.Database = "nowhere" }, Schema},
		"nobody listens": {func(o *Options) { o.Dial, o.Addr = nil, []string{"127.0.0.1:1"} }, Network},
		"it hangs up":    {func(o *Options) { o.Dial = hangUp }, Network},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(e, database)
			c.change(&o)
			s, err := Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			err = s.Ping(t.Context())
			var f *Failure
			if !errors.As(err, &f) || f.Class != c.class {
				t.Errorf("got %v, want class %s", err, c.class)
			}
		})
	}
	if _, err := Open(t.Context(), Options{}); err == nil {
		t.Error("a store without an address was opened")
	}
}

func hangUp(context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() {
		_, _ = io.ReadFull(theirs, make([]byte, 8))
		_ = theirs.Close()
	}()
	return ours, nil
}

// A disk that is slow to sync must not hold up whoever wants to stop.
func TestAFlushIsNotWaitedForBeyondItsContext(t *testing.T) {
	release := make(chan struct{})
	o := Options{Addr: []string{"127.0.0.1:1"}, Sync: func() error { <-release; return nil }}
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		if err := s.Flush(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's end", err)
		}
	}
	close(release)
	if err := s.Flush(t.Context()); err != nil {
		t.Errorf("a flush that is waited for: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
