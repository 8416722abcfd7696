package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const smallSegment = 64 << 10

// small makes segments fill quickly.
func small(dir string) Options {
	return Options{Dir: dir, SegmentBytes: smallSegment, MaxBytes: 64 << 20}
}

func mustOpen(t *testing.T, o Options) *Spool {
	t.Helper()
	s, err := Open(o)
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

func mustAppend(t *testing.T, s *Spool, payloads ...string) {
	t.Helper()
	for _, p := range payloads {
		if _, err := s.Append([]byte(p)); err != nil {
			t.Fatal(err)
		}
	}
}

// ended is a context that makes Next answer at once.
// errEnded is what Next says then.
var errEnded = context.Canceled

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// all hands out what is sealed and returns its payloads.
func all(t *testing.T, s *Spool) (payloads []string, segments []*Segment) {
	t.Helper()
	for {
		g, err := s.Next(ended())
		if errors.Is(err, context.Canceled) {
			return payloads, segments
		}
		if err != nil {
			t.Fatal(err)
		}
		segments = append(segments, g)
		before := len(payloads)
		for p := range g.Records() {
			payloads = append(payloads, string(p))
		}
		if n := len(payloads) - before; n != g.Count {
			t.Errorf("segment %d: Count is %d, Records gave %d", g.Seq, g.Count, n)
		}
	}
}

func numbered(n int) []string {
	p := make([]string, n)
	for i := range p {
		p[i] = fmt.Sprintf("payload %d %s", i, strings.Repeat("x", i%300))
	}
	return p
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	m, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWhatGoesInComesOutInOrder(t *testing.T) {
	s := mustOpen(t, small(t.TempDir()))
	want := numbered(5000) // several segments
	mustAppend(t, s, want...)
	s.Seal()
	got, segments := all(t, s)
	if !slices.Equal(got, want) {
		t.Fatalf("got %d payloads, want %d in the same order", len(got), len(want))
	}
	if len(segments) < 3 {
		t.Fatalf("only %d segments: the test tests too little", len(segments))
	}
	for i, g := range segments {
		if g.Found {
			t.Error("a segment of this run says it was found at the start")
		}
		if i > 0 && g.Seq <= segments[i-1].Seq {
			t.Error("sequence numbers do not ascend")
		}
		if err := s.Settle(g.Seq); err != nil {
			t.Error(err)
		}
	}
	if events, _ := s.Pending(); events != 0 {
		t.Errorf("%d events pending after all was settled", events)
	}
}

func TestAppendConcurrently(t *testing.T) {
	s := mustOpen(t, small(t.TempDir()))
	const writers, each = 8, 2000
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			p := make([]byte, 100)
			binary.LittleEndian.PutUint32(p, uint32(w))
			for i := range each {
				binary.LittleEndian.PutUint32(p[4:], uint32(i))
				if _, err := s.Append(p); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	next := make([]uint32, writers)
	seen := 0
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for seen < writers*each {
			g, err := s.Next(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			for p := range g.Records() {
				w, i := binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:])
				if i != next[w] {
					t.Errorf("writer %d: got its record %d, want %d", w, i, next[w])
				}
				next[w] = i + 1
				seen++
			}
			if err := s.Settle(g.Seq); err != nil {
				t.Error(err)
			}
		}
	}()
	wg.Wait()
	s.Seal()
	<-done
	cancel()
}

func TestPayloadSize(t *testing.T) {
	s := mustOpen(t, Options{Dir: t.TempDir(), SegmentBytes: 2 << 20, MaxBytes: 64 << 20})
	for _, n := range []int{0, MaxPayload + 1} {
		if _, err := s.Append(make([]byte, n)); err != ErrSize {
			t.Errorf("%d bytes: got %v, want ErrSize", n, err)
		}
	}
	big := strings.Repeat("x", MaxPayload)
	mustAppend(t, s, "1", big, "12345678", big, "123456789")
	s.Seal()
	if got, _ := all(t, s); !slices.Equal(got, []string{"1", big, "12345678", big, "123456789"}) {
		t.Errorf("got %d payloads back", len(got))
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	s := mustOpen(t, Options{Dir: t.TempDir()})
	p := make([]byte, 250)
	if n := testing.AllocsPerRun(1000, func() { _, _ = s.Append(p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
