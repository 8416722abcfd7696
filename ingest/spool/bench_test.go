package spool

import (
	"context"
	"runtime"
	"testing"
)

// drain settles whatever is handed out, as fast as it can.
func drain(b *testing.B, s *Spool) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			g, err := s.nextEntry(ctx)
			if err != nil {
				return
			}
			if err := s.Settle(g.seq); err != nil {
				b.Error(err)
			}
		}
	}()
	b.Cleanup(func() { cancel(); <-done })
}

func BenchmarkAppend(b *testing.B) {
	s, err := Open(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	drain(b, s)
	payload := make([]byte, 250)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Append(payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendParallel(b *testing.B) {
	s, err := Open(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	drain(b, s)
	b.SetBytes(250)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		payload := make([]byte, 250)
		for pb.Next() {
			if _, err := s.Append(payload); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// Each operation is an event that survives a power failure; 256 wait at a time.
func BenchmarkPower256(b *testing.B) {
	s, err := Open(Options{Dir: b.TempDir(), Durability: Power})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	drain(b, s)
	b.SetBytes(250)
	b.ReportAllocs()
	b.SetParallelism(256 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		payload := make([]byte, 250)
		for pb.Next() {
			p, err := s.Append(payload)
			if err == nil {
				err = s.Wait(p)
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}
