package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	minSegment = 16 << 10
	maxSegment = 1 << 30
)

// Options says where a spool lives and how it behaves. Zero values mean the
// defaults.
type Options struct {
	Dir string // made if missing, with its parents

	SegmentBytes int64 // size of a segment, rounded up to pages; default 16 MiB
	MaxBytes     int64 // cap of the folder, quarantine aside; default 4 GiB, at least two segments

	SealAfter     time.Duration // how old a waiting reader lets a segment's first record get; default 1 s
	Durability    Durability    // what an event that was taken survives; default Process
	SyncInterval  time.Duration // how long data may stay unsynced under Process; default 5 ms
	QuarantineAge time.Duration // after that quarantined segments are deleted; default 30 days

	Logger     *slog.Logger          // default: nothing is logged
	Registerer prometheus.Registerer // default: no metrics
}

func (o *Options) defaults() error {
	setDefault(&o.SegmentBytes, 16<<20)
	setDefault(&o.MaxBytes, 4<<30)
	setDefault(&o.SealAfter, time.Second)
	setDefault(&o.SyncInterval, 5*time.Millisecond)
	setDefault(&o.QuarantineAge, 30*24*time.Hour)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.SegmentBytes = (o.SegmentBytes + headerSize - 1) &^ (headerSize - 1)
	switch {
	case o.Dir == "":
		return errors.New("no folder given")
	case o.SegmentBytes < minSegment || o.SegmentBytes > maxSegment:
		return fmt.Errorf("segments of %d bytes: choose between %d and %d", o.SegmentBytes, minSegment, maxSegment)
	case o.MaxBytes < 2*o.SegmentBytes:
		return fmt.Errorf("a cap of %d bytes: two segments need %d", o.MaxBytes, 2*o.SegmentBytes)
	}
	return nil
}

func setDefault[T int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}
