package batch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/ingest/record"
	"github.com/halfmask/halfmask/ingest/spool"
)

// model is a storage that misbehaves as the real one was seen to: it records a
// deduplication token before the day's rows are there, publishes the days of a
// block one after the other, and after a loss of power lacks what no flush
// covered. The shipper's own tests need its misbehaviour on demand; the real
// storage is tested where the whole is.
type model struct {
	t *testing.T

	mu      sync.Mutex
	random  *rand.Rand // nil: only what a test asks for goes wrong
	epoch   int
	down    bool
	tokens  map[string]bool // token and day
	parts   []part
	bad     map[event.VisitID]bool // storage refuses these
	vague   bool                   // it cannot say which
	torn    bool                   // a loss of power leaves parts that cannot be read
	sieve   bool                   // storage acknowledges and keeps nothing, as for what is too old
	fates   []fate                 // of the next inserts
	calls   []string
	inserts []insertCall
	atWork  map[[2]uint64]int // parts of batches that are recorded and not yet shown
	running int               // inserts under way
	most    int               // at once, of different batches
	flushes int
}

// part is one day of one batch.
type part struct {
	spool, seq uint64
	day        event.Day
	visits     []event.VisitID
	synced     bool
	broken     bool // counted, and cannot be read
}

type insertCall struct {
	b    Batch
	only map[event.Day]bool
	at   time.Time
}

// fate is what becomes of an insert.
type fate int

const (
	succeed fate = iota
	failBefore
	failAfter   // all is stored, the answer is lost
	failBetween // the first day is stored
	hangBefore  // longer than it is waited for, then succeeds
	hangAfter   // stored at once, answered too late
	crashToken  // the first day's token is recorded, its rows are not
	burnToken   // likewise, and the server lives on: its disk refused a rename
	slowToken   // the token is recorded, the connection breaks, and the rows come a minute later
	crashAfter  // killed after all days were published
	powerAfter  // loses power after all days were published
	fateCount
)

func newModel(t *testing.T) *model {
	return &model{t: t, epoch: 1, tokens: map[string]bool{}, bad: map[event.VisitID]bool{}, atWork: map[[2]uint64]int{}}
}

var errModel = errors.New("storage is out of order")

// crash ends the present run of the server. m.mu is held.
func (m *model) crash(power bool) {
	m.epoch++
	if !power {
		return
	}
	kept := m.parts[:0]
	for _, p := range m.parts {
		// Of what is not synced, something may be left that counts as stored.
		p.broken = p.broken || !p.synced && (m.torn || m.random != nil && m.random.IntN(2) == 0)
		if p.synced || p.broken {
			kept = append(kept, p)
		}
	}
	m.parts = kept
}

// away takes the server down for a while. m.mu is held.
func (m *model) away(d time.Duration) {
	if m.down {
		return
	}
	m.down = true
	time.AfterFunc(d, func() {
		m.mu.Lock()
		m.down = false
		m.mu.Unlock()
	})
}

// seen returns what was asked of the storage so far.
func (m *model) seen() (calls []string, inserts []insertCall) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.calls), slices.Clone(m.inserts)
}

func (m *model) note(call string) error {
	m.calls = append(m.calls, call)
	if m.down || m.random != nil && m.random.IntN(20) == 0 {
		return errModel
	}
	return nil
}

func (m *model) Epoch(context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprintf("%x", m.epoch), m.note("epoch")
}

func (m *model) Running(_ context.Context, spool, seq uint64) (bool, error) {
	time.Sleep(time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.atWork[[2]uint64{spool, seq}] > 0, m.note("running")
}

func (m *model) Refused(_ context.Context, b Batch, only map[event.Day]bool, limit int) (places []int, err error) {
	time.Sleep(time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.note("refused"); err != nil || m.vague {
		return nil, err
	}
	place := -1
	for e := range b.Events {
		if place++; only[dayOf(e)] && m.bad[e.Visit] && len(places) <= limit {
			places = append(places, place)
		}
	}
	return places, nil
}

func (m *model) Stored(_ context.Context, spool, seq uint64) (map[event.Day]uint64, error) {
	time.Sleep(time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.note("stored"); err != nil {
		return nil, err
	}
	days := map[event.Day]uint64{}
	for _, p := range m.parts {
		if p.spool == spool && p.seq == seq {
			days[p.day] += uint64(len(p.visits))
		}
	}
	return days, nil
}

// Check fails only while the server is down: the shipper stops insisting on it.
func (m *model) Check(_ context.Context, days []event.Day) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, "check")
	if m.down {
		return errModel
	}
	m.parts = slices.DeleteFunc(m.parts, func(p part) bool { return p.broken && slices.Contains(days, p.day) })
	return nil
}

func (m *model) Flush(context.Context) error {
	m.mu.Lock()
	m.flushes++
	err := m.note("flush")
	epoch, covered := m.epoch, len(m.parts)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	time.Sleep(3 * time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.random != nil && m.random.IntN(30) == 0 {
		m.crash(m.random.IntN(2) == 0)
	}
	if m.epoch != epoch {
		return nil // syncing a folder does not notice that a server died
	}
	for i := range m.parts[:min(covered, len(m.parts))] {
		m.parts[i].synced = true
	}
	return nil
}

func (m *model) fate() fate {
	if len(m.fates) > 0 {
		f := m.fates[0]
		m.fates = m.fates[1:]
		return f
	}
	if m.random != nil && m.random.IntN(2) == 0 {
		return fate(m.random.IntN(int(fateCount)))
	}
	return succeed
}

func (m *model) Insert(ctx context.Context, b Batch, only map[event.Day]bool) error {
	if ctx.Done() != nil {
		m.t.Error("an insert got a context that can end: the local engine would die of it")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.note("insert"); err != nil {
		return err
	}
	m.inserts = append(m.inserts, insertCall{b, only, time.Now()})
	m.running++
	m.most = max(m.most, m.running)
	defer func() { m.running-- }()
	epoch := m.epoch
	pause := func(d time.Duration) bool {
		m.mu.Unlock()
		time.Sleep(d)
		m.mu.Lock()
		return m.epoch == epoch && !m.down // the connection dies with the server
	}
	f := m.fate()
	if f == failBefore || !pause(10*time.Millisecond) {
		return errModel
	}
	if f == hangBefore && !pause(3*time.Minute) {
		return errModel
	}
	days, order := m.block(b, only)
	for i, day := range order {
		if i > 0 && !pause(time.Millisecond) {
			return errModel
		}
		if refused(m, days[day]) {
			return fmt.Errorf("code 27: %w", ErrBadData)
		}
		key := fmt.Sprintf("%s/%d", b.Token, day)
		if m.tokens[key] {
			continue
		}
		m.tokens[key] = true
		if f == crashToken {
			m.crash(false)
		}
		if f == crashToken || f == burnToken {
			return errModel
		}
		if m.sieve {
			continue
		}
		shown := part{spool: b.Spool, seq: b.Seq, day: day, visits: days[day]}
		if f == slowToken {
			m.showLate(shown)
			return errModel
		}
		m.parts = append(m.parts, shown)
		if f == failBetween {
			return errModel
		}
	}
	switch f {
	case hangAfter:
		if !pause(3 * time.Minute) {
			return errModel
		}
	case crashAfter, powerAfter:
		m.crash(f == powerAfter)
		return errModel
	case failAfter:
		return errModel
	}
	return nil
}

// showLate shows a part a minute later, unless the server dies before. m.mu is
// held.
func (m *model) showLate(p part) {
	key, epoch := [2]uint64{p.spool, p.seq}, m.epoch
	m.atWork[key]++
	time.AfterFunc(time.Minute, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.atWork[key]--
		if m.epoch == epoch {
			m.parts = append(m.parts, p)
		}
	})
}

// block reads a batch as a storage does: into columns of its own.
func (m *model) block(b Batch, only map[event.Day]bool) (days map[event.Day][]event.VisitID, order []event.Day) {
	days = map[event.Day][]event.VisitID{}
	n := 0
	for e := range b.Events {
		n++
		day := event.DayOf(e.At, time.UTC)
		if only != nil && !only[day] {
			continue
		}
		if days[day] == nil {
			order = append(order, day)
		}
		days[day] = append(days[day], e.Visit)
	}
	if n != b.Count {
		m.t.Errorf("the batch says it holds %d events, it holds %d", b.Count, n)
	}
	return days, order
}

func refused(m *model, visits []event.VisitID) bool {
	for _, v := range visits {
		if m.bad[v] {
			return true
		}
	}
	return false
}

// visits counts how often each visit is stored.
func (m *model) visits() map[event.VisitID]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := map[event.VisitID]int{}
	for _, p := range m.parts {
		if p.broken {
			continue
		}
		for _, v := range p.visits {
			n[v]++
		}
	}
	return n
}

// exactly fails unless storage holds the visits 1 to n once each.
func (m *model) exactly(t *testing.T, n int) {
	t.Helper()
	got := m.visits()
	for v := 1; v <= n; v++ {
		if got[event.VisitID(v)] != 1 {
			t.Errorf("event %d is stored %d times", v, got[event.VisitID(v)])
		}
	}
	if len(got) != n {
		t.Errorf("%d different events are stored, want %d", len(got), n)
	}
}

func openSpool(t *testing.T, dir string) *spool.Spool {
	t.Helper()
	s, err := spool.Open(spool.Options{Dir: dir, SegmentBytes: 64 << 10, MaxBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// add appends events whose visits are from to to, days apart from now.
func add(t *testing.T, s *spool.Spool, from, to int, days ...int) {
	t.Helper()
	if len(days) == 0 {
		days = []int{0}
	}
	for v := from; v <= to; v++ {
		e := event.Event{
			At:    time.Now().AddDate(0, 0, -days[v%len(days)]),
			Kind:  event.Pageview,
			Visit: event.VisitID(v),
			Path:  fmt.Sprintf("/page/%d", v),
		}
		if _, err := s.Append(record.Append(nil, &e)); err != nil {
			t.Fatal(err)
		}
	}
}
