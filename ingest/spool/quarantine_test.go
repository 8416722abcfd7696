package spool

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestQuarantine(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		// The file's time is the real one, the bubble's clock is not.
		time.Sleep(time.Until(time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)))
		o := small(dir)
		o.QuarantineAge = 24 * time.Hour
		s := mustOpen(t, o)
		mustAppend(t, s, "bad")
		s.Seal()
		mustAppend(t, s, "good")
		s.Seal()
		_, segments := all(t, s)
		if err := os.Chtimes(s.path(segments[0].Seq), time.Time{}, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := s.Quarantine(segments[0].Seq); err != nil {
			t.Fatal(err)
		}
		if err := s.Quarantine(segments[0].Seq); err == nil {
			t.Error("a segment was quarantined twice")
		}
		quarantined := strings.Replace(s.path(segments[0].Seq), dir, dir+"/"+quarantineName, 1)
		if events, _ := s.Pending(); events != 1 {
			t.Errorf("%d events pending, want 1", events)
		}
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		if _, err := os.Stat(quarantined); err != nil {
			t.Errorf("the quarantined segment is gone before its time: %v", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, err := os.Stat(quarantined); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the quarantined segment is still there after its time: %v", err)
		}
	})
}
