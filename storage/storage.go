// Package storage is the only room that speaks ClickHouse: it lays out the
// tables, stores batches, answers questions and throws away what is too old.
// One code path serves the local engine and a server or cluster of one's own;
// what is special about a cluster is in cluster.go.
//
// It promises that a stored batch is stored as one block and never half
// acknowledged, that every question is bounded to one site and to the time
// that may still be shown, that no value ever becomes SQL text, and that
// nothing the server says about data leaves this package: errors carry a class
// and a code. It never sees an address, a header or a user agent.
//
// It never hands the driver a context that can be cancelled (see call.go).
package storage

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"
)

// MaxRetentionMonths is the longest that an event may be kept. It is written
// into the table's TTL; Options can only shorten it.
const MaxRetentionMonths = 3

const (
	dialTimeout = 10 * time.Second
	// A read deadline covers a whole statement, so it must outlast the longest
	// mutation that somebody waits for.
	writerTimeout = 10 * time.Minute
	readerTimeout = time.Minute
	// quorumTimeout is how long an insert waits for other replicas: less than the
	// shipper waits for it.
	quorumTimeout = 30 * time.Second
	// The dashboard's user may run four statements at once on the local engine;
	// more of them queue here rather than fail there.
	readerConns = 4
	writerConns = 8
	// closeTimeout bounds how long Close waits for statements that nobody
	// waits for any more: a stop has ten seconds for everything.
	closeTimeout = 2 * time.Second
)

// Credentials name a ClickHouse user. Printing them hides the password.
type Credentials struct {
	User, Password string
}

// Format implements fmt.Formatter: every verb prints the user alone.
func (c Credentials) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%s:[password]", c.User) }

// LogValue implements slog.LogValuer without the password.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.User) }

// Options say where ClickHouse is and how to behave there.
type Options struct {
	// Dial opens a connection; nil dials Addr.
	Dial func(ctx context.Context) (net.Conn, error)
	// Addr lists host:port pairs: one server, or the replicas of Cluster, of which
	// one is used until it fails.
	Addr []string
	// Cluster is the server's name for the cluster of one shard that Addr's
	// replicas are; "" is a server whose tables are its own.
	Cluster string
	// Quorum is how many replicas of a cluster must have a batch before it counts
	// as stored; 0 means most of them.
	Quorum int
	// Database holds the tables; "halfmask" if empty. Migrate creates it.
	Database string
	// Writer may do everything in Database. Reader may only read events; if it
	// has no User, the Writer reads, with limits sent along.
	Writer, Reader Credentials
	// TLS secures the connection; nil is plain TCP. Dial brings its own.
	TLS *tls.Config
	// Epoch names the present run of the server. nil asks the server: a table
	// in its memory forgets its one row when the run ends.
	Epoch func() string
	// Sync returns once what the server acknowledged is on disk; nil for a
	// server that looks after itself.
	Sync func() error
	// ClockDoubt is not 0 while somebody who can tell has reason to doubt the
	// wall clock; Retain drops nothing then. nil leaves it to Retain's own rule.
	ClockDoubt func() time.Duration
	// RetentionMonths is how long events are kept; 0 and anything above
	// MaxRetentionMonths mean MaxRetentionMonths.
	RetentionMonths int
	// Logger may be nil.
	Logger *slog.Logger
	// Registerer receives the metrics; nil keeps them to itself.
	Registerer prometheus.Registerer
}

// Store is the database. Its methods may be called from many goroutines at
// once. They give up when their context ends, although what they asked of
// ClickHouse may still take effect.
type Store struct {
	options Options
	log     *slog.Logger
	metrics metrics
	clock   clockGuard

	writer, reader *pool
	hosts          *hosts // of a cluster
	alone          sync.Mutex
	single         []*Store       // by replica, once somebody wanted them; guarded by alone
	calls          sync.WaitGroup // statements under way, waited for or not
	syncing        chan struct{}  // held by the one sync under way

	dedup atomic.Pointer[bool] // whether the server knows deduplicate_insert; nil until asked
}

// pool is the connections of one user.
type pool struct {
	driver.Conn
	limits limits
}

// Open prepares a Store; it does not connect yet, so that a collector starts
// while ClickHouse is away. It does not migrate. Close it.
func Open(_ context.Context, o Options) (*Store, error) {
	if o.Dial == nil && len(o.Addr) == 0 {
		return nil, errors.New("cannot open storage: no address of a ClickHouse server given")
	}
	if o.Cluster == "" && len(o.Addr) > 1 {
		return nil, errors.New("cannot open storage: several ClickHouse servers need the name of the cluster that they are")
	}
	if o.Database == "" {
		o.Database = "halfmask"
	}
	if o.RetentionMonths < 1 || o.RetentionMonths > MaxRetentionMonths {
		o.RetentionMonths = MaxRetentionMonths
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{options: o, log: o.Logger, syncing: make(chan struct{}, 1)}
	var err error
	if s.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, fmt.Errorf("cannot open storage: %w", err)
	}
	if o.Cluster != "" {
		s.hosts = &hosts{addresses: o.Addr, tls: o.TLS, turned: func(to string) {
			s.log.Info("using a replica of the cluster", "replica", to)
		}}
		o.Dial = s.hosts.dial
	}
	if s.writer, err = o.pool(o.Writer, o.Database, writerConns, writerTimeout); err != nil {
		return nil, err
	}
	reader := o.Reader
	if reader.User == "" {
		reader = o.Writer
	}
	if s.reader, err = o.pool(reader, o.Database, readerConns, readerTimeout); err != nil {
		return nil, errors.Join(err, s.writer.Close())
	}
	return s, nil
}

// pool opens no connection yet.
func (o *Options) pool(as Credentials, database string, conns int, timeout time.Duration) (*pool, error) {
	opt := &clickhouse.Options{
		Addr:         o.Addr,
		Auth:         clickhouse.Auth{Database: database, Username: as.User, Password: as.Password},
		TLS:          o.TLS,
		DialTimeout:  dialTimeout,
		ReadTimeout:  timeout,
		MaxOpenConns: conns,
		MaxIdleConns: conns / 2,
	}
	if o.Dial != nil {
		opt.Addr = []string{"engine"}
		opt.DialContext = func(ctx context.Context, _ string) (net.Conn, error) { return o.Dial(ctx) }
	}
	conn, err := clickhouse.Open(opt)
	if err != nil {
		return nil, fmt.Errorf("cannot open storage: %w", classify(err))
	}
	return &pool{Conn: conn}, nil
}

// Close waits a little for statements that are still under way and closes all
// connections. What is asked afterwards fails.
func (s *Store) Close() error {
	idle := make(chan struct{})
	go func() {
		s.calls.Wait()
		close(idle)
	}()
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
	err := errors.Join(s.writer.Close(), s.reader.Close())
	s.alone.Lock()
	defer s.alone.Unlock()
	for _, one := range s.single {
		err = errors.Join(err, one.writer.Close())
	}
	return err
}

// Ping reports whether ClickHouse answers the writer.
func (s *Store) Ping(ctx context.Context) error {
	_, err := wait(ctx, s, "ping", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.writer.Ping(ctx)
	}, nil)
	if err != nil {
		return fmt.Errorf("cannot reach ClickHouse: %w", err)
	}
	return nil
}

// Flush returns once everything acknowledged so far is on disk.
func (s *Store) Flush(ctx context.Context) error {
	if s.options.Sync == nil {
		return nil
	}
	if err := s.flush(ctx); err != nil {
		return fmt.Errorf("cannot flush storage to disk: %w", err)
	}
	return nil
}

// flush leaves a sync that takes too long to end by itself, and begins no other
// before it has.
func (s *Store) flush(ctx context.Context) error {
	select {
	case s.syncing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	s.calls.Go(func() {
		defer func() { <-s.syncing }()
		done <- s.options.Sync()
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
