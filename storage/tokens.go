package storage

import (
	"context"
	"encoding/hex"
	"fmt"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/halfmask/halfmask/account"
	"github.com/halfmask/halfmask/event"
)

const insertTokens = "INSERT INTO tokens (id, hash, site, label, created, version, deleted)"

// AddToken adds an API token.
func (s *Store) AddToken(ctx context.Context, t account.Token) error {
	if err := s.putToken(ctx, "AddToken", t, nextVersion(0)); err != nil {
		return fmt.Errorf("cannot add token: %w", err)
	}
	return nil
}

func (s *Store) putToken(ctx context.Context, method string, t account.Token, version uint64) error {
	return s.insertRow(ctx, row{name: method, into: insertTokens, values: []any{
		uint64(t.ID), string(t.Hash[:]), uint64(t.Site), t.Label, t.Created, version, t.Deleted,
	}})
}

// TokenByHash finds a token by the SHA-256 of its secret.
func (s *Store) TokenByHash(ctx context.Context, hash [32]byte) (account.Token, bool, error) {
	t, _, ok, err := s.token(ctx, "TokenByHash", hexadecimal("hash", hash))
	return t, ok, err
}

// Tokens returns every token, the oldest first.
func (s *Store) Tokens(ctx context.Context) ([]account.Token, error) {
	var all []account.Token
	err := s.selectRows(ctx, s.writer, statement{name: "Tokens", sql: sqlText("Tokens")}, func(scan scanner) error {
		t, _, err := scanToken(scan)
		all = append(all, t)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list tokens: %w", err)
	}
	return all, nil
}

// DeleteToken makes a token useless. One that is not there is ErrNotFound.
func (s *Store) DeleteToken(ctx context.Context, id account.TokenID) error {
	t, version, ok, err := s.token(ctx, "DeleteToken", clickhouse.Named("id", uint64(id)))
	if err == nil && !ok {
		err = ErrNotFound
	}
	if err == nil {
		t.Deleted = true
		err = s.putToken(ctx, "DeleteToken", t, nextVersion(version))
	}
	if err != nil {
		return fmt.Errorf("cannot delete token: %w", err)
	}
	return nil
}

func (s *Store) token(ctx context.Context, method string, arg any) (t account.Token, version uint64, ok bool, err error) {
	err = s.selectRows(ctx, s.writer, statement{name: method, sql: sqlText(method), args: []any{arg}}, func(scan scanner) (err error) {
		ok = true
		t, version, err = scanToken(scan)
		return err
	})
	if err != nil {
		return account.Token{}, 0, false, fmt.Errorf("cannot find token: %w", err)
	}
	return t, version, ok, nil
}

func scanToken(scan scanner) (t account.Token, version uint64, err error) {
	var id, site uint64
	var hash string
	err = scan(&id, &hash, &site, &t.Label, &t.Created, &version)
	t.ID, t.Site = account.TokenID(id), event.SiteID(site)
	copy(t.Hash[:], hash)
	return t, version, err
}

// hexadecimal binds a hash as text.
func hexadecimal(name string, hash [32]byte) driver.NamedValue {
	return clickhouse.Named(name, hex.EncodeToString(hash[:]))
}
