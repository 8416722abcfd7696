// Package batch ships what the spool has sealed: one segment is one batch, one
// batch is one insert.
//
// Promises: every event of the spool ends up in storage once, however often
// this process, the storage or the connection between them dies; order is kept;
// what storage refuses does not dam the river and costs no other event; a segment
// is deleted only once all that it held is on storage's disk, else it is kept in
// quarantine.
//
// How: an insert carries a deduplication token. The server records it before the
// data is there, so it says which inserts are one and never what is stored: a
// token is used within one run of the server (its epoch) only, and the plain yes
// to a repetition is not believed before the rows are seen: they may still be on
// their way, or the disk may have failed them. Another token is used only when
// the server is at work on none of the earlier ones. After any outcome that is not a plain yes to
// the first insert, and for every segment that an earlier process left, the
// shipper asks which days of the batch are stored and inserts only the others. A segment is settled when a flush that
// began after the acknowledgement returned and the server is still in the run
// that the insert went to; else it is asked about again.
//
// It never knows what a database is.
package batch

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/record"
	"github.com/halfmask/halfmask/ingest/spool"
)

// Source is where sealed segments come from: a *spool.Spool.
type Source interface {
	// ID is the source's number, the same for as long as it holds anything.
	ID() uint64
	// Next waits for the oldest sealed segment not yet handed out. One that is
	// there is returned even if ctx has ended.
	Next(ctx context.Context) (*spool.Segment, error)
	// Settle deletes a segment for good.
	Settle(seq uint64) error
	// Quarantine puts a segment aside where Next does not find it.
	Quarantine(seq uint64) error
	// Seal makes what was appended so far available to Next.
	Seal()
}

// Sink is the storage. Errors must not quote events.
type Sink interface {
	// Epoch names the present run of the server; a deduplication token is only
	// trusted within one. It must change before a server that was restarted
	// answers anything else.
	Epoch(ctx context.Context) (string, error)
	// Insert stores the batch's events of the UTC days in only (all if nil) as
	// one block, or nothing of it, for each day. It returns nil only if the
	// server acknowledged it, and an error that wraps ErrBadData if the events
	// themselves are why it was refused.
	//
	// Its ctx never ends: an insert that takes too long is given up by not
	// waiting for it, and called again with the same token while it still runs.
	// One that has not reached the server yet must not reach a later run of it
	// than the token's epoch names: then nothing would keep the two apart.
	Insert(ctx context.Context, b Batch, only map[event.Day]bool) error
	// Running reports whether the server may still be at work on an insert of the
	// batch, under whatever token and whoever sent it: it records a token before
	// it shows the rows, and does not stop for a connection that broke. What is
	// not running once it has answered false, and was sent before, never will.
	Running(ctx context.Context, spool, seq uint64) (bool, error)
	// Refused finds the events of the UTC days in only that storage would refuse,
	// storing none. It returns their places in b.Events, ascending, and may stop
	// once it has more than limit. Nothing found means that the events themselves
	// are not why the batch was refused.
	Refused(ctx context.Context, b Batch, only map[event.Day]bool, limit int) ([]int, error)
	// Stored counts the batch's rows in storage by UTC day.
	Stored(ctx context.Context, spool, seq uint64) (map[event.Day]uint64, error)
	// Check looks for what a crash damaged of these UTC days and puts it aside,
	// so that Stored does not count it. It takes seconds at most, or leaves out
	// what would take longer.
	Check(ctx context.Context, days []event.Day) error
	// Flush returns when everything acknowledged so far is on disk.
	Flush(ctx context.Context) error
}

// Books are told what leaves the source, as it leaves: a *ledger.Ledger.
type Books interface {
	// Settled books a segment's events as stored, by UTC day, and aside of its
	// records as quarantined, and calls leave. After an error it is called again.
	Settled(seq uint64, days map[event.Day]uint64, aside uint64, leave func() error) error
	// Quarantined books a segment's events as quarantined, likewise.
	Quarantined(seq, events uint64, leave func() error) error
}

// Batch is what a Sink inserts at once.
type Batch struct {
	Spool, Seq uint64 // every row carries both
	Token      string // SPOOL-BATCH-EPOCH in hexadecimal; SPOOL-BATCH.N-EPOCH after N that were spent
	// Events walks the events in the order in which they were taken. An event
	// and its strings are valid until the next one is asked for. It can be
	// walked several times, by several goroutines.
	Events iter.Seq[*event.Event]
	Count  int // of the events
}

// ErrBadData is wrapped by a Sink's error when it was the events that storage
// refused: trying again is not likely to help.
var ErrBadData = errors.New("storage refuses the events")

const (
	siftTries    = 3  // refusals as bad data before the bad events are looked for, each time
	siftEvents   = 64 // that many are left out of a batch; with more all of it is put aside
	badTries     = 10 // refusals as bad data before a batch is quarantined
	checkTries   = 3  // failures to check storage for damage before it is believed
	spentTokens  = 3  // acknowledgements without the rows before a batch is let go or put aside
	youngest     = 88 // days: no event that young is past its time, three months have 89 at least
	backoffFirst = 100 * time.Millisecond
	backoffLast  = 5 * time.Second
	flushAfter   = time.Second // how long an acknowledged batch waits for a flush
	flushBatches = 4           // that many do not wait: each holds its segment in memory
	callTimeout  = 10 * time.Second
)

// Options says what a Shipper ships from where to where. Source and Sink must
// be given; zero values of the others mean the defaults.
type Options struct {
	Source Source
	Sink   Sink

	Books Books // default: none are kept

	// Decode reads a record's payload, from several goroutines; default
	// record.Decode.
	Decode func(payload []byte, e *event.Event) error
	// InsertTimeout is how long an insert is waited for; default 60 s.
	InsertTimeout time.Duration

	Logger     *slog.Logger          // default: nothing is logged
	Registerer prometheus.Registerer // default: no metrics
}

// New makes a Shipper. It does nothing before Run or Drain.
func New(o Options) *Shipper {
	if o.Books == nil {
		o.Books = noBooks{}
	}
	if o.Decode == nil {
		o.Decode = record.Decode
	}
	if o.InsertTimeout == 0 {
		o.InsertTimeout = time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Shipper{
		opts:    o,
		log:     o.Logger,
		turn:    make(chan struct{}, 1),
		metrics: newMetrics(o.Registerer),
	}
}

type noBooks struct{}

func (noBooks) Settled(_ uint64, _ map[event.Day]uint64, _ uint64, leave func() error) error {
	return leave()
}

func (noBooks) Quarantined(_, _ uint64, leave func() error) error { return leave() }

// token names an insert of a batch within one run of the server, after a number
// of tokens that were spent.
func token(spool, seq uint64, spent int, epoch string) string {
	if spent > 0 {
		return fmt.Sprintf("%016x-%016x.%x-%s", spool, seq, spent, epoch)
	}
	return fmt.Sprintf("%016x-%016x-%s", spool, seq, epoch)
}
