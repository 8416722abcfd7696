package dashboard_test

import (
	"strings"
	"testing"

	"github.com/alexedwards/argon2id"
	"github.com/google/go-cmp/cmp"

	"github.com/halfmask/halfmask/dashboard"
	"github.com/halfmask/halfmask/event"
)

func TestPasswordRules(t *testing.T) {
	for password, says := range map[string]string{
		"123456789":             "at least 10",
		"pässwörter":            "",
		"äääääääääb":            "",
		"aaaaaaaaaaaa":          "over and over",
		"ÄÄÄÄÄÄÄÄÄÄ":            "over and over",
		"PASSWORD123":           "first that anybody tries",
		"correct horse battery": "",
		"0 1 2 3 4 5":           "",
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff": "UTF-8",
		strings.Repeat("ab", 501):                  "longer than",
	} {
		err := dashboard.ValidatePassword(password)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%.20q: %v, want %q", password, err, says)
		}
	}
}

func TestHashIsArgon2idAsRecommended(t *testing.T) {
	hash, err := dashboard.HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []string{hash, dashboard.NobodysHash} {
		params, _, _, err := argon2id.DecodeHash(h)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(dashboard.Hashing, *params); diff != "" || params.Memory < 19*1024 || params.Iterations < 2 {
			t.Errorf("parameters of %q: %s", h[:30], diff)
		}
	}
	if ok, err := argon2id.ComparePasswordAndHash(password, hash); !ok || err != nil {
		t.Error(ok, err)
	}
}

func TestTokensAreTold(t *testing.T) {
	a, tokenA := dashboard.NewToken(event.SiteID(7), "script")
	b, tokenB := dashboard.NewToken(event.SiteID(7), "script")
	if a == b || tokenA.ID == tokenB.ID || tokenA.Hash == tokenB.Hash || !strings.HasPrefix(a, "hm_") || len(a) != 46 {
		t.Errorf("%q and %q", a, b)
	}
	if tokenA.Site != 7 || tokenA.Label != "script" || tokenA.Created.IsZero() || strings.Contains(string(tokenA.Hash[:]), a) {
		t.Errorf("%+v", tokenA)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{" Ada@Example.com ": "ada@example.com", "a.b_c-d+e1": "a.b_c-d+e1", "": "", "ada lovelace": "", "ädä": "", "a\x00": "", strings.Repeat("a", 65): ""} {
		if got, err := dashboard.CleanName(name); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
}
