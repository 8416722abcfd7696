package engine_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/halfmask/halfmask/internal/testkit"
)

// TestRudeClients has everything happen to the engine's connections that ends a
// local engine without a terminal: broken and abandoned conversations, and
// inserts whose context was cancelled.
func TestRudeClients(t *testing.T) {
	e := testkit.NewEngine(t, t.TempDir())
	epoch := e.Epoch()
	conversations := [][]byte{
		nil,
		{0},
		[]byte("GET / HTTP/1.1\r\nHost: rebind.example\r\n\r\n"),
		[]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), // TLS
		[]byte("\x00\x04rude\x01\x00\xc0\xa9\x03\x08halfmask"), // half a greeting
		[]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
	}
	for _, bytes := range conversations {
		for _, reset := range []bool{false, true} {
			conn, err := e.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(bytes); err != nil {
				t.Fatal(err)
			}
			if reset {
				_ = conn.(*net.TCPConn).SetLinger(0)
			}
			conn.Close()
		}
	}

	writer := connect(t, e, e.Writer(), "halfmask")
	exec(t, writer, "CREATE TABLE t (n UInt64, s String) ENGINE = MergeTree ORDER BY n")
	cancelled := 0
	for i := range 40 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*time.Millisecond)
		batch, err := writer.PrepareBatch(ctx, "INSERT INTO t")
		for j := 0; err == nil && j < 20_000; j++ {
			err = batch.Append(uint64(j), "a value")
		}
		if err == nil {
			err = batch.Send()
		}
		if err != nil {
			cancelled++
		}
		cancel()
	}
	if cancelled == 0 {
		t.Error("no insert was cancelled: the test tests nothing")
	}
	exec(t, connect(t, e, e.Writer(), "halfmask"), "INSERT INTO t VALUES (1, '')")
	if e.Epoch() != epoch || e.Restarts() != 0 {
		t.Errorf("clients have brought the engine down %d times", e.Restarts())
	}
}
