// Package account is the vocabulary of who may ask: users, their logins, API
// tokens and the audit log. It has no behaviour and does no I/O. Secrets never
// appear in it, only what they are checked against.
package account

import (
	"time"

	"github.com/halfmask/halfmask/event"
)

// UserID names a user. It is random.
type UserID uint64

// User may log in to the dashboard. In this version every user sees every
// site of the instance.
type User struct {
	ID           UserID
	Name         string // what is typed at login; lower case, unique
	PasswordHash string // argon2id in PHC string format
	Created      time.Time
	Deleted      bool
}

// TokenID names an API token. It is random.
type TokenID uint64

// Token lets a program query one site.
type Token struct {
	ID      TokenID
	Hash    [32]byte // SHA-256 of the secret, which has 256 random bits and so needs no salt
	Site    event.SiteID
	Label   string
	Created time.Time
	Deleted bool
}

// Session is one login in one browser.
type Session struct {
	Hash    [32]byte // SHA-256 of the cookie's value, which has 256 random bits
	User    UserID
	Created time.Time
	Expires time.Time
	Deleted bool
}

// Entry is one line of the audit log: who did what, when. It never holds
// visitor data.
type Entry struct {
	At     time.Time
	Actor  string // "user:NAME", "cli", "server"
	Action string // "site.add", "login.failed", ...
	Target string // a site's domain, a user's name, ...
}
