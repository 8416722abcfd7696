// Package dashboard is the room for people who ask: the Stats API, accounts
// and the pages, on net/http. web/ holds the front end's source, dist/ what it
// is built into.
//
// It promises that nobody sees a site's numbers without a session or a token
// for it, that no other site can act in a user's name, and that no request is
// answered without the headers that keep a browser to this origin. It never
// knows a visitor: what it gets from storage is already counted. It remembers,
// in memory alone and cut short, the networks that users log in from, to slow
// down guessing (throttle.go), and logs no address.
package dashboard

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/halfmask/halfmask/account"
	"github.com/halfmask/halfmask/event"
	"github.com/halfmask/halfmask/stats"
)

// Stats answers questions about sites. It is called with contexts that end
// when the asker leaves. Its errors hold no visitor data.
type Stats interface {
	// Query answers a question. A query without dimensions has one row.
	Query(ctx context.Context, q *stats.Query) (*stats.Result, error)
	// Live counts distinct visitors of the last five minutes.
	Live(ctx context.Context, site event.SiteID) (int, error)
}

// Sites tells which sites there are. Both methods are fast and lock-free.
type Sites interface {
	// Site finds a site by its domain (lower case, no "www.").
	Site(domain string) (*event.Site, bool)
	// Sites returns every site.
	Sites() []*event.Site
}

// Accounts keeps users, tokens, sessions and the audit log. What one call
// wrote, later calls see, also from other processes. Nothing deleted is
// returned.
type Accounts interface {
	// AddUser adds a user. Whoever calls it made sure that the name is free.
	AddUser(ctx context.Context, u account.User) error
	UserByName(ctx context.Context, name string) (account.User, bool, error)
	UserByID(ctx context.Context, id account.UserID) (account.User, bool, error)
	Users(ctx context.Context) ([]account.User, error)
	CountUsers(ctx context.Context) (int, error)
	SetPassword(ctx context.Context, id account.UserID, hash string) error
	DeleteUser(ctx context.Context, id account.UserID) error

	AddToken(ctx context.Context, t account.Token) error
	TokenByHash(ctx context.Context, hash [32]byte) (account.Token, bool, error)
	Tokens(ctx context.Context) ([]account.Token, error)
	DeleteToken(ctx context.Context, id account.TokenID) error

	// AddSession adds a session, or replaces the one with its hash.
	AddSession(ctx context.Context, s account.Session) error
	SessionByHash(ctx context.Context, hash [32]byte) (account.Session, bool, error)
	DeleteSession(ctx context.Context, hash [32]byte) error
	// DeleteUserSessions logs a user out everywhere.
	DeleteUserSessions(ctx context.Context, id account.UserID) error

	AddEntry(ctx context.Context, e account.Entry) error
	// Entries returns the latest entries of the audit log, newest first.
	Entries(ctx context.Context, limit int) ([]account.Entry, error)
}

// Options are what a Dashboard is made of. Those without a remark are
// required.
type Options struct {
	Stats    Stats
	Accounts Accounts
	Sites    Sites

	// PublicURL is where the collector is reached, without a slash at the
	// end. It is shown in the line to paste into a page.
	PublicURL string
	// TrustedProxies are the peers whose X-Forwarded-For and
	// X-Forwarded-Proto are believed. None if empty.
	TrustedProxies Proxies
	// KeptMonths is how long events are kept; 3 if 0.
	KeptMonths int
	// MaxQueries is how many queries run in storage at once; 4 if 0.
	MaxQueries int

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Version    string // of the program, shown to users
}

// Dashboard serves the Stats API and the pages. It is safe for concurrent use.
type Dashboard struct {
	o           Options
	log         *slog.Logger
	metrics     *metrics
	credentials *credentials
	throttle    *throttle
	quota       *quota
	gate        *gate
	hasher      *hasher
	setup       setup
	// failuresNoted bounds how many failed logins the audit log gets.
	failuresNoted *rate.Limiter
	pages         *pages
	handler       http.Handler
}

// New makes a Dashboard with the front end that was built into the program.
func New(o Options) *Dashboard { return newWith(o, dist()) }

func newWith(o Options, built fs.FS) *Dashboard {
	if o.KeptMonths == 0 {
		o.KeptMonths = 3
	}
	if o.MaxQueries == 0 {
		o.MaxQueries = 4
	}
	d := &Dashboard{
		o:           o,
		log:         o.Logger,
		metrics:     newMetrics(o.Registerer),
		credentials: newCredentials(o.Accounts),
		throttle:    newThrottle(),
		quota:       newQuota(),
		gate:        newGate(o.MaxQueries),
		hasher:      newHasher(hashing, nobodysHash),

		failuresNoted: rate.NewLimiter(rate.Every(time.Second), 30),
		pages:         newPages(built),
	}
	d.handler = d.routes()
	return d
}

// Handler returns what answers the dashboard's requests.
func (d *Dashboard) Handler() http.Handler { return d.handler }

// routes is the table of everything that is served.
func (d *Dashboard) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern, route string, h http.HandlerFunc) {
		mux.Handle(pattern, d.metrics.observe(route, h))
	}
	handle("POST /api/v2/query", "query", d.query)
	handle("/api/v2/query", "query", d.queryByPost)
	handle("GET /api/v1/stats/realtime/visitors", "live", d.live)
	handle("GET /api/sites", "sites", d.sites)
	handle("GET /api/me", "me", d.me)
	handle("/api/", "other", d.noSuchAPI)

	handle("GET /assets/{name}", "assets", d.asset)
	handle("GET /setup", "setup", d.showSetup)
	handle("POST /setup", "setup", d.doSetup)
	handle("GET /login", "login", d.showLogin)
	handle("POST /login", "login", d.doLogin)
	handle("POST /logout", "logout", d.logout)
	handle("GET /account", "account", d.showAccount)
	handle("POST /account/password", "account", d.changePassword)
	handle("POST /account/logout", "account", d.logoutEverywhere)
	handle("GET /{$}", "home", d.home)
	handle("GET /{domain}", "site", d.site)
	handle("/", "other", d.noSuchPage)

	csrf := http.NewCrossOriginProtection()
	csrf.SetDenyHandler(d.metrics.observe("other", d.crossOrigin))
	return d.secured(d.recovered(csrf.Handler(mux)))
}
