package storage

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"
)

// The errors that adding and removing can wrap.
var (
	ErrExists   = errors.New("it exists already")
	ErrNotFound = errors.New("there is none")
)

// What changes lies in ReplacingMergeTree tables: a change is a new row with a
// higher version, a deletion one that says so, and FINAL picks the newest. The
// server cannot be asked to insert "unless there is one", but it drops the
// second block of two with one deduplication token, which comes to the same:
// of two collectors that add the same thing at once, the first wins and both
// read back what counts.

// insertOnce inserts r under its token and asks read for what counts then. A
// token can survive a crash that its row did not; so if nothing is there
// afterwards the row is inserted under a token of its own.
func insertOnce[T any](ctx context.Context, s *Store, r row, read func(context.Context) (T, bool, error)) (T, error) {
	var none T
	if err := s.insertRow(ctx, r); err != nil {
		return none, err
	}
	v, ok, err := read(ctx)
	if err != nil || ok {
		return v, err
	}
	r.token += "-" + newQueryID()
	if err := s.insertRow(ctx, r); err != nil {
		return none, err
	}
	v, ok, err = read(ctx)
	if err == nil && !ok {
		err = errors.New("ClickHouse acknowledged a row and does not show it")
	}
	return v, err
}

// one runs a SELECT that has one row or none.
func (s *Store) one(ctx context.Context, st statement, dest ...any) (found bool, err error) {
	err = s.selectRows(ctx, s.writer, st, func(scan scanner) error {
		found = true
		return scan(dest...)
	})
	return found, err
}

// nextVersion is later than now and than the version it replaces, so that a
// clock that was set back does not make a change lose.
func nextVersion(replaced uint64) uint64 {
	return max(replaced+1, uint64(time.Now().UnixNano()))
}

// newID draws a random identifier. 0 means none.
func newID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return max(binary.LittleEndian.Uint64(b[:]), 1)
}
