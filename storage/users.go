package storage

import (
	"context"
	"fmt"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/halfmask/halfmask/account"
)

const insertUsers = "INSERT INTO users (id, name, password_hash, created, version, deleted)"

// userRecord is the newest row of a user.
type userRecord struct {
	account.User
	version uint64
}

func (r userRecord) values() []any {
	return []any{uint64(r.ID), r.Name, r.PasswordHash, r.Created, r.version, r.Deleted}
}

// AddUser adds a user. A name that is in use is ErrExists, also if two add it
// at once.
func (s *Store) AddUser(ctx context.Context, u account.User) error {
	if err := s.addUser(ctx, userRecord{User: u, version: nextVersion(0)}); err != nil {
		return fmt.Errorf("cannot add user: %w", err)
	}
	return nil
}

func (s *Store) addUser(ctx context.Context, u userRecord) error {
	// Both come from one look at the table: were the generation asked for
	// later, a user added in between would pass for one deleted long ago.
	var generation, living uint64
	if _, err := s.one(ctx, statement{
		name: "AddUser", sql: sqlText("AddUser"), args: []any{clickhouse.Named("name", u.Name)},
	}, &generation, &living); err != nil {
		return err
	}
	if living > 0 {
		return ErrExists
	}
	counts, err := insertOnce(ctx, s, row{
		name: "AddUser", into: insertUsers, values: u.values(),
		token: fmt.Sprintf("user-%s-%d", u.Name, generation),
	}, func(ctx context.Context) (account.User, bool, error) { return s.UserByName(ctx, u.Name) })
	if err == nil && counts.ID != u.ID {
		err = ErrExists
	}
	return err
}

// UserByName finds a user by the name typed at login.
func (s *Store) UserByName(ctx context.Context, name string) (account.User, bool, error) {
	r, ok, err := s.user(ctx, "UserByName", clickhouse.Named("name", name))
	return r.User, ok, err
}

// UserByID finds a user.
func (s *Store) UserByID(ctx context.Context, id account.UserID) (account.User, bool, error) {
	r, ok, err := s.user(ctx, "UserByID", clickhouse.Named("id", uint64(id)))
	return r.User, ok, err
}

func (s *Store) user(ctx context.Context, method string, arg any) (r userRecord, ok bool, err error) {
	err = s.selectRows(ctx, s.writer, statement{name: method, sql: sqlText(method), args: []any{arg}}, func(scan scanner) error {
		ok = true
		return r.scan(scan)
	})
	if err != nil {
		return userRecord{}, false, fmt.Errorf("cannot find user: %w", err)
	}
	return r, ok, nil
}

func (r *userRecord) scan(scan scanner) error {
	var id uint64
	err := scan(&id, &r.Name, &r.PasswordHash, &r.Created, &r.version)
	r.ID = account.UserID(id)
	return err
}

// Users returns every user, by name.
func (s *Store) Users(ctx context.Context) ([]account.User, error) {
	var all []account.User
	err := s.selectRows(ctx, s.writer, statement{name: "Users", sql: sqlText("Users")}, func(scan scanner) error {
		var r userRecord
		err := r.scan(scan)
		all = append(all, r.User)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list users: %w", err)
	}
	return all, nil
}

// CountUsers counts the users.
func (s *Store) CountUsers(ctx context.Context) (int, error) {
	var n uint64
	if _, err := s.one(ctx, statement{name: "CountUsers", sql: sqlText("CountUsers")}, &n); err != nil {
		return 0, fmt.Errorf("cannot count users: %w", err)
	}
	return int(n), nil
}

// SetPassword replaces a user's password hash. A user that is not there is
// ErrNotFound.
func (s *Store) SetPassword(ctx context.Context, id account.UserID, hash string) error {
	return s.changeUser(ctx, "SetPassword", id, func(u *account.User) { u.PasswordHash = hash })
}

// DeleteUser deletes a user and ends its sessions. A user that is not there is
// ErrNotFound.
func (s *Store) DeleteUser(ctx context.Context, id account.UserID) error {
	err := s.changeUser(ctx, "DeleteUser", id, func(u *account.User) { u.Deleted, u.PasswordHash = true, "" })
	if err != nil {
		return err
	}
	return s.DeleteUserSessions(ctx, id)
}

func (s *Store) changeUser(ctx context.Context, method string, id account.UserID, change func(*account.User)) error {
	r, ok, err := s.user(ctx, "UserByID", clickhouse.Named("id", uint64(id)))
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("cannot change user: %w", ErrNotFound)
	}
	change(&r.User)
	r.version = nextVersion(r.version)
	if err := s.insertRow(ctx, row{name: method, into: insertUsers, values: r.values()}); err != nil {
		return fmt.Errorf("cannot change user: %w", err)
	}
	return nil
}
