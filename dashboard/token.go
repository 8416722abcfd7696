package dashboard

import (
	"crypto/rand"
	"encoding/binary"
	"strings"
	"time"

	"github.com/halfmask/halfmask/account"
	"github.com/halfmask/halfmask/event"
)

// tokenPrefix marks a secret as ours, for people and for secret scanners.
const tokenPrefix = "hm_"

// NewToken makes an API token for a site. The secret is shown once and kept
// nowhere; t is what is stored.
func NewToken(site event.SiteID, label string) (secret string, t account.Token) {
	secret = tokenPrefix + newSecret()
	return secret, account.Token{
		ID: account.TokenID(newID()), Hash: digest(secret), Site: site, Label: label, Created: time.Now(),
	}
}

// NewUserID draws an ID for a user.
func NewUserID() account.UserID { return account.UserID(newID()) }

func newID() uint64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails: see crypto/rand
		if id := binary.LittleEndian.Uint64(b[:]); id != 0 {
			return id
		}
	}
}

func looksLikeToken(s string) bool {
	secret, ok := strings.CutPrefix(s, tokenPrefix)
	return ok && looksLikeSecret(secret)
}
