// Package engine starts, watches and stops the local ClickHouse engine: a child
// process that is this same program executed again, with libchdb.so loaded (or
// with a clickhouse binary in its place), listening on loopback only.
//
// It promises that the engine answers when Open returns, that it is started
// again when it dies or hangs, that it never outlives this process, that
// nobody without the passwords drawn at Open can ask it anything, and that it
// writes down no query. It knows two users and the names of the tables the
// second may read; it never knows what the tables hold.
//
// What the child is made of:
//
//   - its life-line is a pipe that the last query of its boot script reads, so
//     the end of the pipe ends the engine, cleanly, also when this process is
//     killed;
//   - it says which port it listens on through another pipe, so the port is
//     always a free one and nothing can take it in between;
//   - its standard input is a terminal on which nobody types, because without one
//     it would end at the first client that breaks off (see openTerminal);
//   - its user "default", which the engine cannot do without, may hold a single
//     session, and the boot script holds it;
//   - the passwords exist as SHA-256 in a file of mode 0600 and in this
//     process's memory, never in arguments or the environment.
package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options says what to start. Library and Dir are required.
type Options struct {
	// Library is the path of libchdb.so, or of a clickhouse binary (whatever is
	// not named *.so*). See Find.
	Library string
	// Dir is the engine's own folder: data, generated configuration, backups. It
	// is created, and made 0700.
	Dir string
	// Database is the database both users work in; it is created. Default "halfmask".
	Database string
	// MoreDatabases are further databases with the same rights: tests give each test
	// one of its own.
	MoreDatabases []string
	// MemoryLimit bounds what queries, merges and caches may use together, in
	// bytes. The process's own code and threads come on top (about 200 MB).
	// Default 1 GiB.
	MemoryLimit int64
	// Retention is the interval after which the reading user no longer sees an
	// event, as ClickHouse spells it. Default "3 MONTH".
	Retention string
	// Logger gets starts, stops and failures. Default: none.
	Logger *slog.Logger
	// Registerer gets the halfmask_engine_* metrics until Close. Default: none.
	Registerer prometheus.Registerer
}

// Credentials is what one of the engine's users logs in with.
type Credentials struct {
	User, Password string
}

// The errors that Dial and Open may wrap.
var (
	ErrClosed = errors.New("the engine is closed")
	ErrDown   = errors.New("the engine is down and being started again")
	ErrLocked = errors.New("another process uses the engine's data folder")
)

// tuning is what tests shorten and fake.
type tuning struct {
	probeEvery   time.Duration // between two health checks
	probeTimeout time.Duration // after which a health check counts as failed
	lockPatience time.Duration // a first start waits this long for a predecessor that is still leaving
	startLook    time.Duration // between two looks at a child that is starting
	longestPause time.Duration // between two starts
	clock        clock
}

func standard() tuning {
	return tuning{
		probeEvery:   5 * time.Second,
		probeTimeout: 4 * time.Second, // see health.go
		lockPatience: 15 * time.Second,
		startLook:    time.Second,
		longestPause: backoffLast,
		clock:        systemClock(),
	}
}

const (
	startIdle     = 20 // looks at a starting child that does nothing, before it counts as hung
	lockPause     = 100 * time.Millisecond
	dialPatience  = 2 * time.Second  // Dial waits this long for a restart
	closePatience = 30 * time.Second // Close without a deadline kills after this
)

// Engine is a running local engine. Its methods may be called from any goroutine.
type Engine struct {
	options        Options
	tuning         tuning
	log            *slog.Logger
	writer, reader Credentials
	guard          *guard
	pacer          pacer         // of the supervisor
	tried          chan struct{} // closed: the first start has come to an end
	first          error         // why it failed; set before tried is closed

	mu      sync.Mutex
	live    *child        // nil while down
	changed chan struct{} // closed and replaced when live changes

	restarts  atomic.Uint64
	short     atomic.Bool // see room.go; cleared between two runs of the child only
	stopOnce  sync.Once
	closeOnce sync.Once
	stop      chan struct{} // closed: come down cleanly
	kill      chan struct{} // closed: come down now
	done      chan struct{} // closed: the child is gone for good
	metrics   prometheus.Collector
}

// Open starts the engine and returns once it answers a logged-in query. ctx
// bounds the start only. A predecessor that is still leaving the folder is
// waited for; another owner of it is ErrLocked. The error says what to do.
func Open(ctx context.Context, o Options) (*Engine, error) {
	return open(ctx, o, standard())
}

func open(ctx context.Context, o Options, t tuning) (*Engine, error) {
	e, err := start(o, t, true)
	if err != nil {
		return nil, err
	}
	if err = e.Wait(ctx); err != nil {
		e.abort()
		e.unregister()
		return nil, err
	}
	return e, nil
}

// Start is Open that does not wait: the engine comes up in the background, and
// what keeps it from doing so is logged and tried again until Close. The error is
// about the options and the folder only.
func Start(o Options) (*Engine, error) {
	return start(o, standard(), false)
}

func start(o Options, t tuning, once bool) (*Engine, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("cannot start the engine: %w", err)
	}
	if os.Getenv(childMark) != "" {
		return nil, errors.New("cannot start the engine: this process is itself an engine's child; " +
			"its main function (or TestMain) must call engine.Main first")
	}
	if err := prepareDir(o.Dir); err != nil {
		return nil, fmt.Errorf("cannot start the engine: %w", err)
	}
	e := &Engine{
		options: o,
		tuning:  t,
		log:     o.Logger,
		writer:  Credentials{"halfmask_writer", newSecret()},
		reader:  Credentials{"halfmask_reader", newSecret()},
		guard:   newGuard(filepath.Join(o.Dir, markFile), t.clock, o.Logger),
		tried:   make(chan struct{}),
		changed: make(chan struct{}),
		stop:    make(chan struct{}),
		kill:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	if o.Registerer != nil {
		e.metrics = newMetrics(e)
		if err := o.Registerer.Register(e.metrics); err != nil {
			return nil, fmt.Errorf("cannot register the engine's metrics: %w", err)
		}
	}
	e.guard.assess() // so that nobody asks it before
	go e.supervise(once)
	return e, nil
}

// Wait returns once the first start has come to an end: nil if the engine
// answered, else why it did not. After Start it is tried again all the same.
func (e *Engine) Wait(ctx context.Context) error {
	select {
	case <-e.tried:
		if e.first != nil {
			return fmt.Errorf("cannot start the engine: %w", e.first)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot start the engine: %w", ctx.Err())
	}
}

var (
	identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	interval   = regexp.MustCompile(`^[1-9][0-9]* (HOUR|DAY|WEEK|MONTH|QUARTER|YEAR)$`)
)

// complete fills in the defaults and refuses what would not survive being
// written into configuration or SQL.
func (o *Options) complete() error {
	if o.Database == "" {
		o.Database = "halfmask"
	}
	if o.MemoryLimit == 0 {
		o.MemoryLimit = 1 << 30
	}
	if o.Retention == "" {
		o.Retention = "3 MONTH"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if runtime.GOOS != "linux" {
		return errors.New("it runs on Linux only: use a ClickHouse server of your own with --clickhouse DSN")
	}
	var faults []error
	for _, name := range o.databases() {
		if !identifier.MatchString(name) {
			faults = append(faults, fmt.Errorf("database name %q: use letters, digits and underscores", name))
		}
	}
	if !interval.MatchString(o.Retention) {
		faults = append(faults, fmt.Errorf("retention %q: write it like \"3 MONTH\" or \"90 DAY\"", o.Retention))
	}
	if o.MemoryLimit < 256<<20 {
		faults = append(faults, fmt.Errorf("memory limit of %d bytes: give it at least 256 MiB", o.MemoryLimit))
	}
	if o.Dir == "" {
		faults = append(faults, errors.New("no data folder given"))
	} else if dir, err := filepath.Abs(o.Dir); err != nil {
		faults = append(faults, err)
	} else {
		o.Dir = dir
	}
	if library, err := checkLibrary(o.Library); err != nil {
		faults = append(faults, err)
	} else {
		o.Library = library
	}
	return errors.Join(faults...)
}

func (o *Options) databases() []string {
	return append([]string{o.Database}, o.MoreDatabases...)
}

func newSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process instead
	return hex.EncodeToString(b[:])
}

// Dial connects to the engine's present port. While the engine is being
// started again it waits for up to two seconds, then fails with ErrDown;
// after Close it fails with ErrClosed.
func (e *Engine) Dial(ctx context.Context) (net.Conn, error) {
	c, err := e.await(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the engine: %w", err)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", c.address)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the engine: %w", err)
	}
	return conn, nil
}

// await returns the living child, or says why there is none.
func (e *Engine) await(ctx context.Context) (*child, error) {
	patience := time.NewTimer(dialPatience)
	defer patience.Stop()
	for {
		e.mu.Lock()
		live, changed := e.live, e.changed
		e.mu.Unlock()
		select {
		case <-e.stop:
			return nil, ErrClosed
		default:
		}
		if live != nil {
			return live, nil
		}
		select {
		case <-changed:
		case <-e.stop:
		case <-patience.C:
			return nil, ErrDown
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (e *Engine) setLive(c *child) {
	e.mu.Lock()
	e.live = c
	close(e.changed)
	e.changed = make(chan struct{})
	e.mu.Unlock()
}

func (e *Engine) current() *child {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.live
}

// Writer may create, change, fill and drop what is in the databases, make backups
// of them, see and kill everybody's queries, and read the system tables.
func (e *Engine) Writer() Credentials { return e.writer }

// Reader may select from the readable tables (see grants.go), within narrow
// limits, may change no setting, and sees no event older than the retention.
func (e *Engine) Reader() Credentials { return e.reader }

// Epoch names the present run of the child: 16 hexadecimal digits, new and random at
// every start, empty while it is down.
func (e *Engine) Epoch() string {
	if c := e.current(); c != nil {
		return c.epoch
	}
	return ""
}

// Up reports whether the child runs and has answered.
func (e *Engine) Up() bool { return e.current() != nil }

// Restarts counts the times the child was started again since Open.
func (e *Engine) Restarts() uint64 { return e.restarts.Load() }

// PID is the child's process id, 0 while it is down.
func (e *Engine) PID() int {
	if c := e.current(); c != nil {
		return c.pid()
	}
	return 0
}

// BackupDir is the only folder that BACKUP and RESTORE may name in File().
func (e *Engine) BackupDir() string { return filepath.Join(e.options.Dir, backupFolder) }

// ClockDoubt says how far the wall clock has run ahead of every explanation,
// or 0 if it is believable. While it is not 0, nothing may be deleted because
// of its age: see clock.go. Each call looks at the clock anew, so what is deleted
// by a time read before a call that returns 0 is deleted by a believed one.
func (e *Engine) ClockDoubt() time.Duration { return e.guard.observe() }

// ConfirmClock believes the wall clock because somebody says that it is right. It
// returns how far ahead it had seemed, 0 if there was no doubt, and the time that
// is believed now.
func (e *Engine) ConfirmClock() (ahead time.Duration, now time.Time) { return e.guard.confirm() }

// Close ends the engine and waits until it is gone. Close your connections
// first: the engine waits five seconds for open ones. When ctx ends before the
// engine does, it is killed, which loses nothing it has acknowledged to the
// page cache. Further calls wait likewise and return nil.
func (e *Engine) Close(ctx context.Context) error {
	e.stopOnce.Do(func() { close(e.stop) })
	defer e.unregister()
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select {
	case <-e.done:
		return nil
	case <-ctx.Done():
	case <-patience.C:
	}
	e.abort()
	return nil
}

// abort kills the child and waits until it is gone.
func (e *Engine) abort() {
	e.stopOnce.Do(func() { close(e.stop) })
	e.closeOnce.Do(func() { close(e.kill) })
	<-e.done
}

func (e *Engine) unregister() {
	if e.metrics != nil {
		e.options.Registerer.Unregister(e.metrics)
	}
}
