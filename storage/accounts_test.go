package storage

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/halfmask/halfmask/account"
)

var aDay = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func TestUsers(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	for i, name := range hostile {
		u := account.User{ID: account.UserID(i + 1), Name: name, PasswordHash: "$argon2id$" + name, Created: aDay}
		if err := s.AddUser(ctx, u); err != nil {
			t.Fatalf("user %q: %v", name, err)
		}
		byName, ok, err := s.UserByName(ctx, name)
		if err != nil || !ok || byName != u {
			t.Errorf("by name %q: %+v, %v, %v", name, byName, ok, err)
		}
		if byID, ok, err := s.UserByID(ctx, u.ID); err != nil || !ok || byID != u {
			t.Errorf("by ID of %q: %+v, %v, %v", name, byID, ok, err)
		}
	}
	if n, err := s.CountUsers(ctx); err != nil || n != len(hostile) {
		t.Errorf("counted %d of %d users (%v)", n, len(hostile), err)
	}
	if _, ok, err := s.UserByName(ctx, "nobody"); ok || err != nil {
		t.Errorf("found nobody: %v, %v", ok, err)
	}
	if err := s.AddUser(ctx, account.User{ID: 999, Name: hostile[0], Created: aDay}); !errors.Is(err, ErrExists) {
		t.Errorf("adding a name twice: %v", err)
	}
	if err := s.SetPassword(ctx, 1, "new"); err != nil {
		t.Fatal(err)
	}
	if u, _, _ := s.UserByID(ctx, 1); u.PasswordHash != "new" || u.Name != hostile[0] {
		t.Errorf("after the change: %+v", u)
	}
	if err := s.AddSession(ctx, account.Session{Hash: [32]byte{1}, User: 1, Created: aDay, Expires: aDay}); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteUser(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.UserByID(ctx, 1); ok || err != nil {
		t.Errorf("a deleted user is found (%v)", err)
	}
	if _, ok, err := s.SessionByHash(ctx, [32]byte{1}); ok || err != nil {
		t.Errorf("a deleted user is still logged in (%v)", err)
	}
	if err := s.SetPassword(ctx, 1, "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("changing a deleted user: %v", err)
	}
	if err := s.AddUser(ctx, account.User{ID: 1000, Name: hostile[0], Created: aDay}); err != nil {
		t.Errorf("a deleted user's name cannot be used again: %v", err)
	}
	if all, err := s.Users(ctx); err != nil || len(all) != len(hostile) {
		t.Errorf("listed %d users (%v)", len(all), err)
	}
}

func TestAddUserByManyAtOnce(t *testing.T) {
	s := open(t)
	// One name after the other, because the adders meet in another way each time.
	for round := range 20 {
		name := fmt.Sprintf("admin-%d", round)
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() {
				id := account.UserID(round*len(errs) + i + 1)
				errs[i] = s.AddUser(t.Context(), account.User{ID: id, Name: name, Created: aDay})
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, ErrExists) {
				t.Error(err)
			}
		}
		if n, err := s.CountUsers(t.Context()); won != 1 || n != round+1 || err != nil {
			t.Fatalf("%s: %d adders won, %d users exist (%v)", name, won, n, err)
		}
	}
}

func TestTokens(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	hash := [32]byte{0, '\'', '\\', 255, 10}
	for i, label := range hostile {
		token := account.Token{ID: account.TokenID(i + 1), Hash: hash, Site: 1 << 63, Label: label, Created: aDay}
		token.Hash[31] = byte(i + 1)
		if err := s.AddToken(ctx, token); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := s.TokenByHash(ctx, token.Hash); err != nil || !ok || got != token {
			t.Errorf("token %q: %+v, %v, %v", label, got, ok, err)
		}
	}
	if _, ok, err := s.TokenByHash(ctx, hash); ok || err != nil {
		t.Errorf("found a token that is not there (%v)", err)
	}
	if err := s.DeleteToken(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteToken(ctx, 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleting it again: %v", err)
	}
	all, err := s.Tokens(ctx)
	if err != nil || len(all) != len(hostile)-1 {
		t.Errorf("listed %d tokens (%v)", len(all), err)
	}
	for _, token := range all {
		if token.ID == 1 {
			t.Error("a deleted token is listed")
		}
	}
}

func TestSessions(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	session := account.Session{Hash: [32]byte{9, 0, '\''}, User: 4, Created: aDay, Expires: aDay.Add(time.Hour)}
	if err := s.AddSession(ctx, session); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := s.SessionByHash(ctx, session.Hash); err != nil || !ok || got != session {
		t.Errorf("got %+v, %v, %v", got, ok, err)
	}
	session.Expires = aDay.Add(2 * time.Hour)
	if err := s.AddSession(ctx, session); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := s.SessionByHash(ctx, session.Hash); got != session {
		t.Errorf("a replaced session is %+v", got)
	}
	other := account.Session{Hash: [32]byte{8}, User: 4, Created: aDay, Expires: aDay}
	third := account.Session{Hash: [32]byte{7}, User: 5, Created: aDay, Expires: aDay}
	for _, s2 := range []account.Session{other, third} {
		if err := s.AddSession(ctx, s2); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteSession(ctx, session.Hash); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteSession(ctx, session.Hash); err != nil {
		t.Errorf("ending it again: %v", err)
	}
	if err := s.DeleteUserSessions(ctx, 4); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		session account.Session
		there   bool
	}{{session, false}, {other, false}, {third, true}} {
		if _, ok, err := s.SessionByHash(ctx, want.session.Hash); ok != want.there || err != nil {
			t.Errorf("session of user %d there: %v (%v)", want.session.User, ok, err)
		}
	}
}

func TestAuditLog(t *testing.T) {
	s := open(t)
	for i, text := range hostile {
		e := account.Entry{At: aDay.Add(time.Duration(i) * time.Second), Actor: "user:" + text, Action: "site.add", Target: text}
		if err := s.AddEntry(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Entries(t.Context(), 2)
	last := hostile[len(hostile)-1]
	if err != nil || len(got) != 2 || got[0].Target != last || got[0].Actor != "user:"+last || !got[0].At.After(got[1].At) {
		t.Errorf("entries are %+v (%v)", got, err)
	}
}

// hostile are texts that break out of badly built statements.
var hostile = []string{
	"admin", "'", `\`, `\'`, `'' OR 1=1 --`, "`", `"`, "a\tb\nc\rd", "{x:String}", "} UNION ALL SELECT 1 --", "'] FROM users",
	"; DROP TABLE events", "/* */", "SETTINGS readonly = 0", "FORMAT Null", "INTO OUTFILE 'x'", `\N`, "NULL", "☃", "\xff\xfe", "%s%n",
	"nul\x00byte", strings.Repeat("é", 500),
}
