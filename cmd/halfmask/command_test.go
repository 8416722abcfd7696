package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/halfmask/halfmask/internal/testkit"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == crashCommand {
		os.Exit(crashMain(os.Stdin, os.Stderr))
	}
	dieIfAsked()
	testkit.Main(m)
}

// try runs the program in this process and returns what a person would see.
func try(t *testing.T, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return status, out.String(), errs.String()
}

func TestHelpNamesEveryCommand(t *testing.T) {
	status, out, _ := try(t, "", "--help")
	if status != 0 {
		t.Errorf("--help exits with %d", status)
	}
	for _, command := range []string{"serve", "site add", "site list", "site remove", "user add", "token add", "clock confirm", "ledger", "health", "version"} {
		if !strings.Contains(out, command) {
			t.Errorf("--help does not name %q", command)
		}
	}
	if strings.Contains(out, "engine ") {
		t.Error("--help shows the child's command, which is not for people")
	}
	if status, out, _ = try(t, "", "serve", "--help"); status != 0 || !strings.Contains(out, "HALFMASK_TRUSTED_PROXIES") {
		t.Errorf("serve --help exits with %d and must name the flags' environment twins", status)
	}
	if status, _, _ := try(t, ""); status != 0 {
		t.Errorf("without arguments: status %d; want the help", status)
	}
}

func TestHelpTellsDefaults(t *testing.T) {
	_, out, _ := try(t, "", "serve", "--help")
	words := strings.Join(strings.Fields(out), " ")
	for _, want := range []string{"Default: halfmask-data ($HALFMASK_DATA)", "Default: :8080 (", "Default: :8081 (", "Default: 127.0.0.1:8082 ("} {
		if !strings.Contains(words, want) {
			t.Errorf("serve --help does not say %q:\n%s", want, out)
		}
	}
}

// TestFlagsHaveTwins holds what the documentation says of every flag.
func TestFlagsHaveTwins(t *testing.T) {
	for _, command := range []string{"serve", "site add", "site list", "site remove", "user add", "token add", "clock confirm", "ledger", "health"} {
		_, help, _ := try(t, "", append(strings.Fields(command), "--help")...)
		flags := regexp.MustCompile(`(?m)^ +(?:-h, )?--([a-z-]+)`).FindAllStringSubmatch(help, -1)
		if len(flags) < 2 {
			t.Fatalf("%s --help lists no flags", command)
		}
		for _, flag := range flags {
			twin := "($HALFMASK_" + strings.ToUpper(strings.ReplaceAll(flag[1], "-", "_")) + ")"
			if flag[1] != "help" && !strings.Contains(help, twin) {
				t.Errorf("%s: --%s has no twin %s in the environment", command, flag[1], twin)
			}
		}
	}
}

func TestInterruptEndsAQuestion(t *testing.T) {
	nobody, typist := io.Pipe()
	defer typist.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, interrupt)
	var errs bytes.Buffer
	if status := run(ctx, []string{"user", "add", "ada", "--data", t.TempDir()}, nobody, io.Discard, &errs); status != 1 || errs.String() != "halfmask: interrupted\n" {
		t.Errorf("status %d, %q", status, errs.String())
	}
}

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct {
		args []string
		says []string
	}{
		{[]string{"serv"}, []string{"serv"}},
		{[]string{"serve", "--nonsense"}, []string{"--nonsense"}},
		{[]string{"site", "add"}, []string{"domain"}},
		{[]string{"token", "add"}, []string{"--site"}},
		{[]string{"serve", "--log-level", "loud"}, []string{"loud"}},
		// All that is wrong, at once.
		{[]string{"serve", "--listen", "8080", "--public-url", "stats.example.com", "--trusted-proxies", "10.0.0.0/8,x",
			"--engine-memory", "1", "--sync-interval", "0s", "--clickhouse", "mysql://u:sEcReT@h/db"},
			[]string{`--listen "8080"`, "--public-url", `"x"`, "--engine-memory", "--sync-interval", "clickhouse"}},
	} {
		status, _, stderr := try(t, "", c.args...)
		if status != 2 {
			t.Errorf("%v: status %d, want 2", c.args, status)
		}
		for _, part := range c.says {
			if !strings.Contains(stderr, part) {
				t.Errorf("%v: the error does not mention %q:\n%s", c.args, part, stderr)
			}
		}
		if strings.Contains(stderr, "sEcReT") {
			t.Errorf("%v: the error prints a password", c.args)
		}
	}
}

func TestEnvironmentTwins(t *testing.T) {
	t.Setenv("HALFMASK_LISTEN", "not an address")
	if status, _, stderr := try(t, "", "serve"); status != 2 || !strings.Contains(stderr, "not an address") {
		t.Errorf("HALFMASK_LISTEN is not looked at: status %d, %s", status, stderr)
	}
}

func TestTrustedProxiesTakeAddressesAndNetworks(t *testing.T) {
	s := settings{Listen: ":1", DashboardListen: ":2", OpsListen: ":3", EngineMemory: 1024, SpoolMax: 1024, MaxConnections: 100, MaxVisits: 4096,
		BatchInterval: 1e9, SyncInterval: 5e6, ShutdownTimeout: 1e10,
		TrustedProxies: []string{"127.0.0.1", "10.0.0.0/8", " ::1 ", "2001:db8::/32",
			"::ffff:192.0.2.1", "::ffff:172.16.0.0/108"}}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range s.proxies {
		got = append(got, p.String())
	}
	if want := "127.0.0.1/32 10.0.0.0/8 ::1/128 2001:db8::/32 192.0.2.1/32 172.16.0.0/12"; strings.Join(got, " ") != want {
		t.Errorf("proxies are %v, want %s", got, want)
	}
}

func TestServeSaysWhatToDoWithoutTheEngine(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	status, _, stderr := try(t, "", "serve", "--data", data, "--engine", filepath.Join(data, "libchdb.so"), "--listen", "127.0.0.1:0",
		"--dashboard-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0")
	if status != 1 || !strings.Contains(stderr, "make engine") {
		t.Errorf("status %d, and the error must say what to run:\n%s", status, stderr)
	}
	if info, err := os.Stat(data); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data folder is open to others: %v %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(data, spoolFolder)); err == nil {
		t.Error("the rest was started before it was known that there is no engine")
	}
}

// TestDataFolderOfSomebodyElse: what root writes into the folder of a service's
// user keeps that service from ever starting again.
func TestDataFolderOfSomebodyElse(t *testing.T) {
	data := "/"
	if os.Geteuid() == 0 {
		data = t.TempDir()
		if err := os.Chown(data, 1, 1); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"site", "list"}, {"serve", "--listen", "127.0.0.1:0", "--dashboard-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"}} {
		status, _, stderr := try(t, "", append(args, "--data", data)...)
		if status != 1 || !strings.Contains(stderr, "belongs to the user ") {
			t.Errorf("%v: status %d, %q", args, status, stderr)
		}
	}
	if left, err := filepath.Glob(filepath.Join(data, "lock")); err != nil || len(left) > 0 {
		t.Errorf("it wrote into the folder: %v %v", left, err)
	}
}

func TestVersion(t *testing.T) {
	if status, out, _ := try(t, "", "version"); status != 0 || !strings.HasPrefix(out, "halfmask devel (") {
		t.Errorf("version prints %q with status %d", out, status)
	}
}

func TestLockKeepsASecondServerOut(t *testing.T) {
	p := place{Data: t.TempDir()}
	release, err := p.lock()
	if err != nil {
		t.Fatal(err)
	}
	status, _, stderr := try(t, "", "serve", "--data", p.Data, "--listen", "127.0.0.1:0", "--dashboard-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0")
	if status != 1 || !strings.Contains(stderr, p.Data) || !strings.Contains(stderr, "--data") {
		t.Errorf("status %d, error %q: want one that names the folder and the way out", status, stderr)
	}
	release()
	again, err := p.lock()
	if err != nil {
		t.Fatalf("the lock was not given back: %v", err)
	}
	again()
}

// TestCommandsWithoutAServer uses the real engine: each command starts it,
// does its work and stops it.
func TestCommandsWithoutAServer(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	library, err := testkit.Library()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HALFMASK_ENGINE", library)
	t.Setenv("HALFMASK_DATA", data)

	if status, out, stderr := try(t, "", "site", "list"); status != 0 || out != "" || !strings.Contains(stderr, "halfmask site add") {
		t.Fatalf("an empty list: status %d, %q, %q; want a hint", status, out, stderr)
	}
	status, out, stderr := try(t, "", "site", "add", "WWW.Example.COM", "--timezone", "Europe/Berlin", "--public-url", "https://stats.example.com")
	if status != 0 || !strings.Contains(out, `src="https://stats.example.com/js/hm.js" data-site="example.com"`) {
		t.Fatalf("site add: status %d, %q, %q", status, out, stderr)
	}
	for _, c := range []struct {
		name   string
		stdin  string
		args   []string
		status int
		says   string
	}{
		{"a site twice", "", []string{"site", "add", "example.com"}, 1, "example.com"},
		{"a bad time zone", "", []string{"site", "add", "other.example", "--timezone", "Mars/Olympus"}, 1, "Mars/Olympus"},
		{"a bad domain", "", []string{"site", "add", "https://example.com/x"}, 1, "domain"},
		{"the list", "", []string{"site", "list"}, 0, "Europe/Berlin"},
		{"a short password", "short\n", []string{"user", "add", "ada"}, 1, "password"},
		{"a user", "correct horse battery\n", []string{"user", "add", "Ada"}, 0, "Ada"},
		{"a user twice", "correct horse battery\n", []string{"user", "add", "ada"}, 1, "ada"},
		{"a token for nobody", "", []string{"token", "add", "--site", "nobody.example"}, 1, "site list"},
		{"removing, unconfirmed", "no\n", []string{"site", "remove", "example.com"}, 1, "nothing was deleted"},
	} {
		status, out, stderr := try(t, c.stdin, c.args...)
		if status != c.status || !strings.Contains(out+stderr, c.says) {
			t.Errorf("%s: status %d (want %d), must say %q:\n%s%s", c.name, status, c.status, c.says, out, stderr)
		}
	}
	status, out, _ = try(t, "", "token", "add", "--site", "example.com")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); status != 0 || !strings.HasPrefix(lines[len(lines)-1], "hm_") {
		t.Errorf("token add: status %d, last line of %q must be the token", status, out)
	}
	if status, _, stderr := try(t, "example.com\n", "site", "remove", "example.com"); status != 0 {
		t.Errorf("site remove: %s", stderr)
	}
	if _, out, _ := try(t, "", "site", "list"); strings.Contains(out, "example.com") {
		t.Error("a removed site is still listed")
	}
}

func TestStoppingGoesDownTheStairs(t *testing.T) {
	var order []string
	s := stairs{log: discard()}
	for _, name := range []string{"one", "two", "three"} {
		s.started(name, allBy, func(context.Context) error {
			order = append(order, name)
			if name == "two" {
				return context.DeadlineExceeded
			}
			return nil
		})
	}
	err := s.close(t.Context())
	if got := strings.Join(order, " "); got != "three two one" {
		t.Errorf("stopped in the order %s", got)
	}
	if err == nil || !strings.Contains(err.Error(), "two") {
		t.Errorf("the error must name what did not stop: %v", err)
	}
	if s.close(t.Context()) != nil || len(order) != 3 {
		t.Error("a second close stopped something again")
	}
}

func TestASlowStepLeavesTimeToTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stairs{log: discard()}
		var left time.Duration
		stuck := make(chan struct{})
		defer close(stuck)
		s.started("the last", allBy, func(ctx context.Context) error {
			deadline, _ := ctx.Deadline()
			left = time.Until(deadline)
			return ctx.Err()
		})
		s.started("one that knows no context", shippedBy, waiting(func() error { <-stuck; return nil }))
		s.started("one that never ends", partedBy, func(ctx context.Context) error { <-ctx.Done(); return nil })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := s.close(ctx); err != nil || left != 4*time.Second {
			t.Errorf("the last step had %v left and the stop ended with %v, want 4 s and nil", left, err)
		}
	})
}
