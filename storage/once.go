package storage

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
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

const (
	publishWait  = 20 * time.Second
	publishFirst = 5 * time.Millisecond
	onceTokens   = 3
)

var errAtWork = errors.New("ClickHouse is still at work on the same change, begun by somebody else: try again")

// insertOnce inserts r under its token and asks read for what counts then.
//
// The server records a token before it shows the row. So a row that is not
// there after a yes is either on its way, brought by somebody else's insert
// under that token, or was lost by a crash in between. The first is waited for,
// as long as the server is at work on such an insert; then the row is inserted
// under the next token, which is the same for all who come to that conclusion.
func insertOnce[T any](ctx context.Context, s *Store, r row, read func(context.Context) (T, bool, error)) (T, error) {
	var none T
	first := r.token
	for n := range onceTokens {
		if n > 0 {
			r.token = fmt.Sprintf("%s-again-%d", first, n)
		}
		if err := s.insertRow(ctx, r); err != nil {
			return none, err
		}
		if v, ok, err := awaitRow(ctx, s, r.token, read); err != nil || ok {
			return v, err
		}
	}
	return none, errors.New("ClickHouse acknowledged a row and does not show it")
}

// awaitRow asks read until it finds something or no insert under the token can
// bring it any more. Whoever was at work before it is asked has shown the row by
// the time that read is.
func awaitRow[T any](ctx context.Context, s *Store, token string, read func(context.Context) (T, bool, error)) (v T, ok bool, err error) {
	pause := publishFirst
	for end := time.Now().Add(publishWait); ; pause = min(2*pause, 20*publishFirst) {
		// A row whose token a cluster knows is there, if not on this replica yet.
		atWork := s.clustered()
		if !atWork {
			if atWork, err = s.running(ctx, token+"/"); err != nil {
				return v, false, err
			}
		}
		if v, ok, err = read(ctx); err != nil || ok || !atWork {
			return v, ok, err
		}
		if time.Now().After(end) {
			return v, false, errAtWork
		}
		select {
		case <-ctx.Done():
			return v, false, ctx.Err()
		case <-time.After(pause):
		}
	}
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
