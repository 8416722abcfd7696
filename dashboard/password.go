package dashboard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"
)

// hashing is OWASP's recommendation for argon2id: 19 MiB, two passes, one
// lane. https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
var hashing = argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// nobodysHash is a hash of a password that nobody has, made with the
// parameters above. Whoever tries a name that does not exist is compared with
// it, so that the answer takes as long.
const nobodysHash = "$argon2id$v=19$m=19456,t=2,p=1$Oi7jimEIs4TeVgj95/11ZA$4jPz0RQAWztxHLFkMVdcYs+q3vCE6b//5tIOj43+8ck"

const (
	minPassword   = 10   // characters
	maxPassword   = 1000 // bytes
	hashesAtOnce  = 2    // each takes 19 MiB
	hashesWaiting = 16
)

// common are passwords of the length we ask for that are tried first.
var common = []string{
	"1234567890", "12345678910", "0123456789", "0987654321", "9876543210", "123456789a", "a123456789", "qwertyuiop", "1q2w3e4r5t",
	"q1w2e3r4t5", "qwerty1234", "1qaz2wsx3edc", "qwerty123456", "password12", "password123", "password1234", "passw0rd123", "mypassword",
	"iloveyou123", "iloveyou12", "welcome123", "letmein123", "administrator", "admin12345", "changeme123", "basketball",
	"correcthorsebatterystaple", "halfmask123", "halfmaskhalfmask",
}

// ValidatePassword says what is wrong with a new password: that it is too
// short or among the first that anybody tries. It asks for no capitals, digits
// or signs (NIST SP 800-63B, 3.1.1.2).
func ValidatePassword(password string) error {
	switch n := utf8.RuneCountInString(password); {
	case !utf8.ValidString(password):
		return errors.New("the password is not valid UTF-8; type it again")
	case n < minPassword:
		return fmt.Errorf("the password has %d characters; use at least %d", n, minPassword)
	case len(password) > maxPassword:
		return fmt.Errorf("the password is longer than %d bytes; use a shorter one", maxPassword)
	}
	lower := strings.ToLower(password)
	for _, guess := range common {
		if lower == guess {
			return errors.New("the password is one of the first that anybody tries; use another one")
		}
	}
	if first, size := utf8.DecodeRuneInString(lower); strings.Count(lower, string(first))*size == len(lower) {
		return errors.New("the password is one character over and over; use another one")
	}
	return nil
}

// HashPassword returns a password's argon2id hash in PHC string format. It
// takes about 20 MiB and some tens of milliseconds.
func HashPassword(password string) (string, error) { return hashWith(&hashing, password) }

func hashWith(params *argon2id.Params, password string) (string, error) {
	hash, err := argon2id.CreateHash(password, params)
	if err != nil {
		return "", fmt.Errorf("cannot hash the password: %w", err)
	}
	return hash, nil
}

// CleanName returns a user's name as it is stored, or what is wrong with it.
func CleanName(name string) (string, error) {
	name = strings.ToLower(strings.TrimSpace(name))
	if name == "" || len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789._@+-") != "" {
		return "", errors.New("a name has 1 to 64 letters from a to z, digits and . _ @ + -; use such a name")
	}
	return name, nil
}

// errCrowded means that too many passwords wait to be checked.
var errCrowded = errors.New("too many logins at once")

// hasher bounds the memory and processor time that passwords can take.
type hasher struct {
	params  argon2id.Params
	nobody  string // a hash of the same cost that no password has
	slots   chan struct{}
	waiting atomic.Int32
}

func newHasher(params argon2id.Params, nobody string) *hasher {
	return &hasher{params: params, nobody: nobody, slots: make(chan struct{}, hashesAtOnce)}
}

// run calls f when it is its turn.
func (h *hasher) run(ctx context.Context, f func() error) error {
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > hashesAtOnce+hashesWaiting {
		return errCrowded
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
		return f()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hash makes a new password's hash.
func (h *hasher) hash(ctx context.Context, password string) (hash string, err error) {
	err = h.run(ctx, func() error {
		hash, err = hashWith(&h.params, password)
		return err
	})
	return hash, err
}

// check compares a password with a hash. Without a hash it takes as long and
// says no.
func (h *hasher) check(ctx context.Context, password, hash string) (ok bool, err error) {
	exists := hash != ""
	if !exists {
		hash = h.nobody
	}
	if len(password) > maxPassword {
		password = ""
	}
	err = h.run(ctx, func() error {
		ok, err = argon2id.ComparePasswordAndHash(password, hash)
		return err
	})
	return ok && exists, err
}
