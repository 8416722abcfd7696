package dashboard

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/halfmask/halfmask/account"
)

const (
	// credentialAge is how long a session or token is believed without asking
	// storage. Revoking it in this process works at once, in another one
	// within this time.
	credentialAge  = 15 * time.Second
	maxCredentials = 10_000
)

var errTooManyUnknown = errors.New("too many unknown credentials")

// login is a session with its user.
type login struct {
	session account.Session
	user    account.User
}

// credentials looks up sessions and tokens and remembers the valid ones for a
// moment.
type credentials struct {
	accounts Accounts

	// changing is held while a session's row is written, so that prolonging
	// a session cannot bring back one that is being deleted.
	changing sync.Mutex

	mu       sync.Mutex
	revoked  uint64 // counts revocations: what was read before one is not remembered after it
	sessions map[[32]byte]remembered[login]
	tokens   map[[32]byte]remembered[account.Token]
}

type remembered[T any] struct {
	value T
	at    time.Time
}

func newCredentials(a Accounts) *credentials {
	return &credentials{
		accounts: a,
		sessions: make(map[[32]byte]remembered[login]),
		tokens:   make(map[[32]byte]remembered[account.Token]),
	}
}

// digest is what a secret of 256 random bits is stored as.
func digest(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }

// lookups counts the look-ups that found nothing, for whoever sends them.
type lookups interface {
	mayLookUp() bool
	foundNothing()
}

// token finds a token by its secret's digest.
func (c *credentials) token(ctx context.Context, hash [32]byte, l lookups) (account.Token, bool, error) {
	return find(ctx, c, c.tokens, hash, l, c.accounts.TokenByHash)
}

// login finds the session and user that a cookie's digest stands for. It may
// have run out.
func (c *credentials) login(ctx context.Context, hash [32]byte, l lookups) (login, bool, error) {
	return find(ctx, c, c.sessions, hash, l, func(ctx context.Context, hash [32]byte) (login, bool, error) {
		session, ok, err := c.accounts.SessionByHash(ctx, hash)
		if err != nil || !ok {
			return login{}, false, err
		}
		user, ok, err := c.accounts.UserByID(ctx, session.User)
		return login{session, user}, ok, err
	})
}

func find[T any](ctx context.Context, c *credentials, known map[[32]byte]remembered[T], hash [32]byte, l lookups,
	read func(context.Context, [32]byte) (T, bool, error)) (T, bool, error) {
	c.mu.Lock()
	entry, ok := known[hash]
	revoked := c.revoked
	c.mu.Unlock()
	if ok && time.Since(entry.at) < credentialAge {
		return entry.value, true, nil
	}
	var none T
	if !l.mayLookUp() {
		return none, false, errTooManyUnknown
	}
	asked := time.Now()
	value, ok, err := read(ctx, hash)
	if err != nil {
		return none, false, err
	}
	if !ok {
		l.foundNothing()
		return none, false, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.revoked == revoked {
		remember(known, hash, value, asked)
	}
	return value, true, nil
}

// remember keeps a value. A full map starts anew: it holds only what is valid,
// so it fills through use, not through guessing.
func remember[T any](known map[[32]byte]remembered[T], hash [32]byte, value T, at time.Time) {
	if len(known) >= maxCredentials {
		clear(known)
	}
	known[hash] = remembered[T]{value, at}
}

// forget drops the sessions that match before and after storage revokes them.
func (c *credentials) forget(match func(login) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoked++
	for hash, entry := range c.sessions {
		if match(entry.value) {
			delete(c.sessions, hash)
		}
	}
}

// add stores a new session.
func (c *credentials) add(ctx context.Context, s account.Session) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	return c.accounts.AddSession(ctx, s)
}

// prolong moves a session's end, unless it has been revoked meanwhile.
func (c *credentials) prolong(ctx context.Context, l login, expires time.Time) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.mu.Lock()
	entry, known := c.sessions[l.session.Hash]
	c.mu.Unlock()
	if !known || !entry.value.session.Expires.Before(expires) {
		return nil
	}
	// Another process may have revoked it meanwhile.
	if _, there, err := c.accounts.SessionByHash(ctx, l.session.Hash); err != nil || !there {
		return err
	}
	l.session.Expires = expires
	if err := c.accounts.AddSession(ctx, l.session); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	remember(c.sessions, l.session.Hash, l, time.Now())
	return nil
}

// end revokes one session.
func (c *credentials) end(ctx context.Context, hash [32]byte) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	match := func(l login) bool { return l.session.Hash == hash }
	c.forget(match)
	defer c.forget(match)
	return c.accounts.DeleteSession(ctx, hash)
}

// endAll revokes every session of a user.
func (c *credentials) endAll(ctx context.Context, id account.UserID) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	match := func(l login) bool { return l.session.User == id }
	c.forget(match)
	defer c.forget(match)
	return c.accounts.DeleteUserSessions(ctx, id)
}
