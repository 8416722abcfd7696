package storage

import (
	"context"
	"fmt"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/halfmask/halfmask/account"
)

const insertSessions = "INSERT INTO sessions (hash, user, created, expires, version, deleted)"

// AddSession adds a session, or replaces the one with its hash. An expired
// session is still found until Retain removes it: whoever asks compares.
func (s *Store) AddSession(ctx context.Context, session account.Session) error {
	var replaced uint64
	_, err := s.one(ctx, statement{
		name: "AddSession", sql: sqlText("AddSession.version"), args: []any{hexadecimal("hash", session.Hash)},
	}, &replaced)
	if err == nil {
		err = s.putSession(ctx, "AddSession", session, nextVersion(replaced))
	}
	if err != nil {
		return fmt.Errorf("cannot add session: %w", err)
	}
	return nil
}

// SessionByHash finds a session by the SHA-256 of its cookie.
func (s *Store) SessionByHash(ctx context.Context, hash [32]byte) (account.Session, bool, error) {
	found, err := s.sessions(ctx, "SessionByHash", hexadecimal("hash", hash))
	if err != nil {
		return account.Session{}, false, fmt.Errorf("cannot find session: %w", err)
	}
	if len(found) == 0 {
		return account.Session{}, false, nil
	}
	return found[0].Session, true, nil
}

// DeleteSession ends a session. One that is not there is no error.
func (s *Store) DeleteSession(ctx context.Context, hash [32]byte) error {
	return s.deleteSessions(ctx, "SessionByHash", hexadecimal("hash", hash))
}

// DeleteUserSessions logs a user out everywhere.
func (s *Store) DeleteUserSessions(ctx context.Context, id account.UserID) error {
	return s.deleteSessions(ctx, "DeleteUserSessions", clickhouse.Named("user", uint64(id)))
}

func (s *Store) deleteSessions(ctx context.Context, which string, arg any) error {
	found, err := s.sessions(ctx, which, arg)
	if err != nil {
		return fmt.Errorf("cannot end sessions: %w", err)
	}
	for _, r := range found {
		r.Deleted = true
		if err := s.putSession(ctx, "DeleteSession", r.Session, nextVersion(r.version)); err != nil {
			return fmt.Errorf("cannot end sessions: %w", err)
		}
	}
	return nil
}

// sessionRecord is the newest row of a session.
type sessionRecord struct {
	account.Session
	version uint64
}

func (s *Store) sessions(ctx context.Context, method string, arg any) (all []sessionRecord, err error) {
	err = s.selectRows(ctx, s.writer, statement{name: method, sql: sqlText(method), args: []any{arg}}, func(scan scanner) error {
		var r sessionRecord
		var hash string
		var user uint64
		err := scan(&hash, &user, &r.Created, &r.Expires, &r.version)
		r.User = account.UserID(user)
		copy(r.Hash[:], hash)
		all = append(all, r)
		return err
	})
	return all, err
}

func (s *Store) putSession(ctx context.Context, method string, session account.Session, version uint64) error {
	return s.insertRow(ctx, row{name: method, into: insertSessions, values: []any{
		string(session.Hash[:]), uint64(session.User), session.Created, session.Expires, version, session.Deleted,
	}})
}
