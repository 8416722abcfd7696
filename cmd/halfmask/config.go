package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/halfmask/halfmask/storage"
	"github.com/halfmask/halfmask/storage/engine"
)

// place is what every command needs to find the data.
type place struct {
	Data       string `help:"Folder that holds everything Halfmask keeps." default:"halfmask-data" type:"path" placeholder:"DIR"`
	ClickHouse string `name:"clickhouse" env:"HALFMASK_CLICKHOUSE" help:"Use this ClickHouse server or cluster instead of the local engine." placeholder:"clickhouse://USER:PASS@HOST:9000/DB"`
	Cluster    string `name:"clickhouse-cluster" env:"HALFMASK_CLICKHOUSE_CLUSTER" help:"The hosts of --clickhouse are the replicas of this cluster of one shard." placeholder:"NAME"`
	Engine     string `help:"The local engine: a libchdb.so or a clickhouse binary. By default the one that 'make engine' fetched." type:"path" placeholder:"PATH"`
}

// prepare makes the data folder, for its owner only.
func (p *place) prepare() error {
	if err := os.MkdirAll(p.Data, 0o700); err != nil {
		return fmt.Errorf("cannot make the data folder: %w; give one that this user may write to with --data", err)
	}
	return nil
}

// own makes sure that the data folder is this user's and nobody else's. What
// another user, be it root, writes there is closed to the folder's owner, whose
// server would not start any more.
func (p *place) own() error {
	info, err := os.Stat(p.Data)
	if err != nil {
		return fmt.Errorf("cannot look at the data folder: %w", err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		name := strconv.Itoa(int(owner))
		if u, err := user.LookupId(name); err == nil {
			name = u.Username
		}
		return fmt.Errorf("the data folder %s belongs to the user %s: run this as that user (sudo -u %s halfmask ...), "+
			"or give a folder of your own with --data", p.Data, name, name)
	}
	if info.Mode().Perm() == 0o700 {
		return nil
	}
	if err := os.Chmod(p.Data, 0o700); err != nil {
		return fmt.Errorf("cannot close the data folder to others: %w", err)
	}
	return nil
}

func (p *place) path(elem ...string) string {
	return filepath.Join(append([]string{p.Data}, elem...)...)
}

// library finds the engine.
func (p *place) library() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("cannot tell where this program is: %w", err)
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	return engine.Find(p.Engine, filepath.Dir(exe))
}

func (p *place) validate() error {
	if p.ClickHouse == "" {
		if p.Cluster != "" {
			return errors.New("--clickhouse-cluster needs --clickhouse with the hosts of its replicas")
		}
		return nil
	}
	_, err := storage.ParseDSN(p.ClickHouse, p.Cluster)
	return err
}

// settings are serve's flags. Validate joins everything that is wrong with
// them, so that nobody has to find out one by one.
type settings struct {
	place `embed:""`

	Listen          string `help:"Address of the collector: events and the script." default:":8080" placeholder:"ADDR" group:"Listeners"`
	DashboardListen string `help:"Address of the dashboard and the Stats API." default:":8081" placeholder:"ADDR" group:"Listeners"`
	OpsListen       string `help:"Address of /metrics, /healthz and /readyz. Keep it private." default:"127.0.0.1:8082" placeholder:"ADDR" group:"Listeners"`
	DemoListen      string `help:"Also serve a small demo site here, to click on. Off by default." placeholder:"ADDR" group:"Listeners"`

	PublicURL      string   `help:"Where browsers reach the collector. By default http://localhost and the port of --listen." placeholder:"URL" group:"Addresses"`
	DashboardURL   string   `help:"Where browsers reach the dashboard. By default http://localhost and the port of --dashboard-listen." placeholder:"URL" group:"Addresses"`
	TrustedProxies []string `help:"Networks whose X-Forwarded-For, Forwarded and CF-Connecting-IP are believed." placeholder:"CIDR" group:"Addresses"`

	GeoIP string `name:"geoip" env:"HALFMASK_GEOIP" help:"GeoIP2 or GeoLite2 City or Country file; reloaded when it changes. By default the one that 'make geoip' made, if it is there." type:"path" placeholder:"FILE" group:"Places"`

	EngineMemory    int64         `help:"Memory cap of the local engine, in MiB." default:"1024" group:"Limits"`
	SpoolMax        int64         `help:"Cap of the spool, in MiB. At the cap new events get 503." default:"4096" group:"Limits"`
	BatchInterval   time.Duration `help:"How long an event waits for others before it is stored." default:"1s" group:"Limits"`
	Durability      string        `help:"What an accepted event survives: process (any process killed; synced to disk within --sync-interval) or power (the power failing; accepted after a sync)." enum:"process,power" default:"process" group:"Limits"`
	SyncInterval    time.Duration `help:"How long an accepted event may stay unsynced to disk, with --durability process." default:"5ms" group:"Limits"`
	MaxConnections  int           `help:"Connections that the collector holds at once." default:"16384" group:"Limits"`
	MaxVisits       int           `help:"Visits going on at once that are told apart; beyond it the one that was silent longest ends early. Each takes about 90 bytes." default:"1048576" group:"Limits"`
	RateLimit       int           `help:"Events a second from one network, a /16 or an IPv6 /32, before it gets 429. 0: no limit." default:"5000" group:"Limits"`
	ShutdownTimeout time.Duration `help:"How long a stop may take; what is not stored by then stays in the spool." default:"10s" group:"Limits"`

	LogFormat string `help:"Log as text or json." enum:"text,json" default:"text" group:"Log"`
	LogLevel  string `help:"Log debug, info, warn or error and above." enum:"debug,info,warn,error" default:"info" group:"Log"`

	proxies []netip.Prefix
}

// logger logs to w as the flags say.
func (s *settings) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(s.LogLevel)) // the flag's enum allows nothing else
	options := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// Validate is called by the parser.
func (s *settings) Validate() error {
	errs := []error{s.place.validate()}
	for _, l := range []struct{ flag, addr string }{
		{"--listen", s.Listen}, {"--dashboard-listen", s.DashboardListen},
		{"--ops-listen", s.OpsListen}, {"--demo-listen", s.DemoListen},
	} {
		if l.addr == "" && l.flag == "--demo-listen" {
			continue
		}
		if _, _, err := net.SplitHostPort(l.addr); err != nil {
			errs = append(errs, fmt.Errorf("%s %q is not an address: want HOST:PORT or :PORT", l.flag, l.addr))
		}
	}
	for _, u := range []struct{ flag, url string }{{"--public-url", s.PublicURL}, {"--dashboard-url", s.DashboardURL}} {
		if u.url == "" {
			continue
		}
		if p, err := url.Parse(u.url); err != nil || p.Scheme != "http" && p.Scheme != "https" || p.Host == "" {
			errs = append(errs, fmt.Errorf("%s %q is not a URL: want https://HOST", u.flag, u.url))
		}
	}
	s.proxies = s.proxies[:0]
	for _, text := range s.TrustedProxies {
		prefix, err := parsePrefix(strings.TrimSpace(text))
		if err != nil {
			errs = append(errs, fmt.Errorf("--trusted-proxies: %q is not a network: want an address or a CIDR such as 10.0.0.0/8", text))
			continue
		}
		s.proxies = append(s.proxies, prefix)
	}
	for _, n := range []struct {
		flag  string
		value int64
		least int64
	}{{"--engine-memory", s.EngineMemory, 256}, {"--spool-max", s.SpoolMax, 64}, {"--max-connections", int64(s.MaxConnections), 16}, {"--max-visits", int64(s.MaxVisits), 1024},
		{"--rate-limit", int64(s.RateLimit), 0}} {
		if n.value < n.least {
			errs = append(errs, fmt.Errorf("%s %d is too small: want at least %d", n.flag, n.value, n.least))
		}
	}
	for _, d := range []struct {
		flag        string
		value       time.Duration
		least, most time.Duration
	}{
		{"--batch-interval", s.BatchInterval, 10 * time.Millisecond, time.Minute},
		{"--sync-interval", s.SyncInterval, time.Millisecond, time.Minute},
		{"--shutdown-timeout", s.ShutdownTimeout, time.Second, time.Hour},
	} {
		if d.value < d.least || d.value > d.most {
			errs = append(errs, fmt.Errorf("%s %v is out of range: want %v to %v", d.flag, d.value, d.least, d.most))
		}
	}
	return errors.Join(errs...)
}

// parsePrefix reads a network, or an address as the network of it alone. IPv4
// in IPv6 clothes becomes IPv4, as the peers' addresses are.
func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err == nil && prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix, err
}
