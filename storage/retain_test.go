package storage

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/halfmask/halfmask/account"
	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/internal/testkit"
)

// partitions lists the days that have events.
func partitions(t *testing.T, s *Store) []string {
	t.Helper()
	return ask[[]string](t, s, "SELECT arraySort(groupUniqArray(partition)) FROM system.parts WHERE database = currentDatabase() AND table = 'events' AND active")
}

func pageview(at time.Time) *event.Event {
	return &event.Event{At: at, Site: 1, Kind: event.Pageview, Name: "pageview", Path: "/", Visitor: 1, Visit: 1}
}

func TestRetainDropsExactlyWhatIsTooOld(t *testing.T) {
	s := open(t)
	do(t, s, "SYSTEM STOP TTL MERGES events")
	now := time.Now().UTC()
	cut := ask[time.Time](t, s, "SELECT toDateTime(toDate(now('UTC')) - INTERVAL 3 MONTH, 'UTC')") // this day goes, the next stays
	insert(t, s, batchOf(s, 1, "t", pageview(now), pageview(cut.Add(24*time.Hour)), pageview(cut.Add(24*time.Hour-time.Second)), pageview(cut.AddDate(0, 0, -1))), nil)
	if err := s.ConfirmClock(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if err := s.Retain(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	got := partitions(t, s)
	if len(got) != 2 || got[0] != cut.AddDate(0, 0, 1).Format(time.DateOnly) || got[1] != now.Format(time.DateOnly) {
		t.Errorf("left are the days %v; %s and before should be gone", got, cut.Format(time.DateOnly))
	}
	if n := ask[uint64](t, s, "SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'events' AND NOT active AND rows > 0"); n != 0 {
		t.Errorf("%d inactive parts keep bytes", n)
	}
}

func TestRetainAfterAForwardJumpDropsNothing(t *testing.T) {
	s := open(t)
	do(t, s, "SYSTEM STOP TTL MERGES events")
	now := time.Now().UTC()
	insert(t, s, batchOf(s, 1, "t", pageview(now.AddDate(0, 0, -1)), pageview(now)), nil)
	if err := s.Retain(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	future := now.AddDate(0, 6, 0)
	if err := s.Retain(t.Context(), future); !errors.Is(err, ErrClockSuspect) {
		t.Errorf("half a year later at once: %v", err)
	}
	// Events that the same wrong clock stamps do not vouch for it.
	insert(t, s, batchOf(s, 2, "u", pageview(future)), nil)
	if err := s.Retain(t.Context(), future.Add(time.Hour)); !errors.Is(err, ErrClockSuspect) {
		t.Errorf("an hour later: %v", err)
	}
	if got := partitions(t, s); len(got) != 3 {
		t.Errorf("left are the days %v, want 3", got)
	}
	if err := s.ConfirmClock(t.Context(), future); err != nil {
		t.Fatal(err)
	}
	if err := s.Retain(t.Context(), future); err != nil {
		t.Errorf("after it was confirmed: %v", err)
	}
	if got := partitions(t, s); len(got) != 1 {
		t.Errorf("left are the days %v, want 1", got)
	}
}

func TestRetainObeysADoubtFromOutside(t *testing.T) {
	e, database := testkit.Database(t)
	o := options(e, database)
	doubt := time.Hour
	o.ClockDoubt = func() time.Duration { return doubt }
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Retain(t.Context(), time.Now()); !errors.Is(err, ErrClockSuspect) {
		t.Errorf("in doubt: %v", err)
	}
	doubt = 0
	if err := s.Retain(t.Context(), time.Now()); err != nil {
		t.Errorf("without doubt: %v", err)
	}
}

func TestRetainDropsExpiredSessions(t *testing.T) {
	s := open(t)
	now := time.Now().UTC().Truncate(time.Second)
	for i, expires := range []time.Time{now.Add(-time.Minute), now.Add(time.Minute)} {
		if err := s.AddSession(t.Context(), account.Session{Hash: [32]byte{byte(i)}, User: 1, Created: now, Expires: expires}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Retain(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ask[uint64](t, s, "SELECT count() FROM sessions") != 1; {
		if time.Now().After(deadline) {
			t.Fatal("an expired session is still stored")
		}
	}
	if _, ok, err := s.SessionByHash(t.Context(), [32]byte{1}); !ok || err != nil {
		t.Errorf("a live session is gone (%v)", err)
	}
}

func TestRetainDropsOldPartsThatWerePutAside(t *testing.T) {
	s := open(t)
	do(t, s, "SYSTEM STOP TTL MERGES events")
	now := time.Now().UTC()
	old := now.AddDate(0, -4, 0)
	insert(t, s, batchOf(s, 1, "t", pageview(old), pageview(now)), nil)
	do(t, s, "ALTER TABLE events DETACH PARTITION '"+old.Format(time.DateOnly)+"'")
	do(t, s, "ALTER TABLE events DETACH PARTITION '"+now.Format(time.DateOnly)+"'")
	if err := s.ConfirmClock(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if err := s.Retain(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	const left = "SELECT groupArray(toString(partition_id)) FROM system.detached_parts WHERE database = currentDatabase()"
	if got := ask[[]string](t, s, left); len(got) != 1 || got[0] != now.Format("20060102") {
		t.Errorf("put aside are still %v; today's is kept for a day, the old one is not", got)
	}
	if err := s.ConfirmClock(t.Context(), now.Add(26*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.Retain(t.Context(), now.Add(26*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := ask[[]string](t, s, left); len(got) != 0 {
		t.Errorf("a day later there are still %v", got)
	}
}

func TestRunJanitorEndsWithItsContext(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		s.RunJanitor(ctx)
		close(done)
	}()
	cancel()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the janitor goes on")
	}
}

func TestClockGuard(t *testing.T) {
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	type look struct {
		wall, running time.Duration // since base, since the process began
		believed      bool
	}
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		mark  time.Duration // kept in the database, from base; < 0: none
		looks []look
	}{
		"first start ever":            {-1, []look{{1000 * day, 0, true}}},
		"hourly":                      {0, []look{{time.Hour, 0, true}, {2 * time.Hour, time.Hour, true}}},
		"off for a day":               {0, []look{{25 * time.Hour, 0, true}}},
		"set back":                    {0, []look{{-100 * day, 0, true}}},
		"database away for a week":    {0, []look{{time.Hour, 0, true}, {8 * day, 7*day + 23*time.Hour, true}}},
		"jump while running":          {0, []look{{time.Hour, 0, true}, {200 * day, time.Hour, false}, {200*day + 23*time.Hour, day, false}}},
		"jump corrected":              {0, []look{{time.Hour, 0, true}, {200 * day, time.Hour, false}, {3 * time.Hour, 2 * time.Hour, true}}},
		"off for weeks":               {0, []look{{30 * day, 0, false}, {30*day + 12*time.Hour, 12 * time.Hour, false}, {31 * day, day, true}}},
		"jumps again while suspect":   {0, []look{{30 * day, 0, false}, {60 * day, 23 * time.Hour, false}, {60*day + 2*time.Hour, 25 * time.Hour, false}, {61 * day, 47 * time.Hour, true}}},
		"jump right after a mark":     {0, []look{{26 * time.Hour, 0, false}}},
		"slow forward walk by a day?": {0, []look{{24 * time.Hour, 0, true}, {50 * time.Hour, time.Hour / 2, false}}},
	} {
		t.Run(name, func(t *testing.T) {
			var g clockGuard
			if c.mark >= 0 {
				g.remember(base.Add(c.mark))
			}
			for i, l := range c.looks {
				if got := g.believe(base.Add(l.wall), l.running); got != l.believed {
					t.Errorf("look %d: believed %v, want %v", i, got, l.believed)
				}
			}
		})
	}
}
