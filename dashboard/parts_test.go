package dashboard_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/halfmask/halfmask/account"
	"github.com/halfmask/halfmask/dashboard"
	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/stats"
)

// answers is a Stats that counts the same whatever it is asked, and remembers
// the questions.
type answers struct {
	mu     sync.Mutex
	asked  []stats.Query
	result *stats.Result
	err    error
	hold   chan struct{} // if not nil, queries wait for it
	inside int
	most   int
	panics bool
}

func (a *answers) Query(ctx context.Context, q *stats.Query) (*stats.Result, error) {
	a.mu.Lock()
	a.asked = append(a.asked, *q)
	a.inside++
	a.most = max(a.most, a.inside)
	result, err, hold, panics := a.result, a.err, a.hold, a.panics
	a.mu.Unlock()
	defer func() { a.mu.Lock(); a.inside--; a.mu.Unlock() }()
	if panics {
		var none []int
		_ = none[len(q.Metrics)]
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if result == nil && err == nil {
		row := stats.Row{}
		for range q.Metrics {
			v := 42.0
			row.Metrics = append(row.Metrics, &v)
		}
		for range q.Dimensions {
			row.Dimensions = append(row.Dimensions, "x")
		}
		result = &stats.Result{Rows: []stats.Row{row}}
	}
	return result, err
}

func (a *answers) Live(_ context.Context, site event.SiteID) (int, error) {
	return int(site), a.err
}

func (a *answers) questions() []stats.Query {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asked)
}

// siteList is a Sites.
type siteList []*event.Site

func (s siteList) Sites() []*event.Site { return s }

func (s siteList) Site(domain string) (*event.Site, bool) {
	i := slices.IndexFunc(s, func(site *event.Site) bool { return site.Domain == domain })
	if i < 0 {
		return nil, false
	}
	return s[i], true
}

// ledger keeps Accounts in memory.
type ledger struct {
	mu       sync.Mutex
	users    map[account.UserID]account.User
	tokens   map[account.TokenID]account.Token
	sessions map[[32]byte]account.Session
	entries  []account.Entry
	err      error
	lookups  int    // of sessions and tokens
	found    func() // if not nil, called when a session was read and before it is returned
}

func newLedger() *ledger {
	return &ledger{users: map[account.UserID]account.User{}, tokens: map[account.TokenID]account.Token{}, sessions: map[[32]byte]account.Session{}}
}

func change[K comparable, V any](l *ledger, m map[K]V, key K, value V) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		m[key] = value
	}
	return l.err
}

func (l *ledger) remove(f func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		f()
	}
	return l.err
}

func first[K comparable, V any](l *ledger, m map[K]V, fits func(V) bool) (V, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var none V
	for _, v := range m {
		if l.err == nil && fits(v) {
			return v, true, nil
		}
	}
	return none, false, l.err
}

func every[K comparable, V any](l *ledger, m map[K]V, by func(V) time.Time) ([]V, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []V
	for _, v := range m {
		found = append(found, v)
	}
	slices.SortFunc(found, func(a, b V) int { return by(a).Compare(by(b)) })
	return found, l.err
}

func (l *ledger) AddUser(_ context.Context, u account.User) error { return change(l, l.users, u.ID, u) }
func (l *ledger) UserByName(_ context.Context, name string) (account.User, bool, error) {
	return first(l, l.users, func(u account.User) bool { return u.Name == name })
}
func (l *ledger) UserByID(_ context.Context, id account.UserID) (account.User, bool, error) {
	return first(l, l.users, func(u account.User) bool { return u.ID == id })
}
func (l *ledger) Users(context.Context) ([]account.User, error) {
	return every(l, l.users, func(u account.User) time.Time { return u.Created })
}
func (l *ledger) CountUsers(context.Context) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.users), l.err
}
func (l *ledger) SetPassword(ctx context.Context, id account.UserID, hash string) error {
	u, ok, err := l.UserByID(ctx, id)
	if err != nil || !ok {
		return cmp.Or(err, errors.New("no such user"))
	}
	u.PasswordHash = hash
	return l.AddUser(ctx, u)
}
func (l *ledger) DeleteUser(_ context.Context, id account.UserID) error {
	return l.remove(func() { delete(l.users, id) })
}
func (l *ledger) AddToken(_ context.Context, t account.Token) error {
	return change(l, l.tokens, t.ID, t)
}
func (l *ledger) TokenByHash(_ context.Context, hash [32]byte) (account.Token, bool, error) {
	l.mu.Lock()
	l.lookups++
	l.mu.Unlock()
	return first(l, l.tokens, func(t account.Token) bool { return t.Hash == hash })
}
func (l *ledger) Tokens(context.Context) ([]account.Token, error) {
	return every(l, l.tokens, func(t account.Token) time.Time { return t.Created })
}
func (l *ledger) DeleteToken(_ context.Context, id account.TokenID) error {
	return l.remove(func() { delete(l.tokens, id) })
}
func (l *ledger) AddSession(_ context.Context, s account.Session) error {
	return change(l, l.sessions, s.Hash, s)
}
func (l *ledger) SessionByHash(_ context.Context, hash [32]byte) (account.Session, bool, error) {
	l.mu.Lock()
	l.lookups++
	found := l.found
	l.mu.Unlock()
	session, ok, err := first(l, l.sessions, func(s account.Session) bool { return s.Hash == hash })
	if found != nil {
		found()
	}
	return session, ok, err
}
func (l *ledger) DeleteSession(_ context.Context, hash [32]byte) error {
	return l.remove(func() { delete(l.sessions, hash) })
}
func (l *ledger) DeleteUserSessions(_ context.Context, id account.UserID) error {
	return l.remove(func() {
		for hash, s := range l.sessions {
			if s.User == id {
				delete(l.sessions, hash)
			}
		}
	})
}
func (l *ledger) AddEntry(_ context.Context, e account.Entry) error {
	return l.remove(func() { l.entries = append(l.entries, e) })
}
func (l *ledger) Entries(_ context.Context, limit int) ([]account.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	latest := slices.Clone(l.entries)
	slices.Reverse(latest)
	return latest[:min(limit, len(latest))], l.err
}

// actions lists the audit log, oldest first.
func (l *ledger) actions() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, e := range l.entries {
		all = append(all, e.Actor+" "+e.Action+" "+e.Target)
	}
	return all
}

// house is a dashboard with everything it stands on.
type house struct {
	*dashboard.Dashboard
	stats    *answers
	accounts *ledger
	registry *prometheus.Registry
	log      *bytes.Buffer
}

var builtFiles = fstest.MapFS{
	"manifest.json":       {Data: []byte(`{"app.js":"app-0123456789.js","app.css":"app-abcdef0123.css","theme.js":"theme-0011223344.js"}`)},
	"app-0123456789.js":   {Data: []byte("/* script */" + strings.Repeat("a;", 500))},
	"app-abcdef0123.css":  {Data: []byte("/* style */")},
	"theme-0011223344.js": {Data: []byte("/* theme */")},
	"favicon.svg":         {Data: []byte("<svg xmlns='http://www.w3.org/2000/svg'/>")},
	"README":              {Data: []byte("not served")},
}

var (
	siteA = &event.Site{ID: 1, Domain: "a.example", Zone: time.UTC}
	siteB = &event.Site{ID: 2, Domain: "b.example", Zone: time.FixedZone("Europe/Berlin", 3600)}
)

func open(t testing.TB, edit ...func(*dashboard.Options)) *house {
	t.Helper()
	h := &house{stats: &answers{}, accounts: newLedger(), registry: prometheus.NewRegistry(), log: &bytes.Buffer{}}
	o := dashboard.Options{
		Stats: h.stats, Accounts: h.accounts, Sites: siteList{siteB, siteA}, PublicURL: "https://collect.example",
		Logger: slog.New(slog.NewTextHandler(h.log, nil)), Registerer: h.registry, Version: "1.2.3",
	}
	for _, f := range edit {
		f(&o)
	}
	h.Dashboard = dashboard.NewWith(o, builtFiles)
	return h
}

const password = "a few unrelated words"

// addUser adds a user with the password above.
func (h *house) addUser(t testing.TB, name string) account.User {
	t.Helper()
	u := account.User{ID: dashboard.NewUserID(), Name: name, PasswordHash: dashboard.CheapHash(password), Created: time.Now()}
	if err := h.accounts.AddUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	return u
}

// addToken returns the secret of a new token for a site.
func (h *house) addToken(t testing.TB, site event.SiteID) string {
	t.Helper()
	secret, token := dashboard.NewToken(site, "script")
	if err := h.accounts.AddToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	return secret
}

// send sends one request straight to the handler.
func (h *house) send(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, r)
	return w
}

func question(site string) string {
	q, _ := json.Marshal(map[string]any{"site_id": site, "metrics": []string{"visitors"}, "date_range": "7d"})
	return string(q)
}
