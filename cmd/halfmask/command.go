package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

// client is what the administrative commands share.
type client struct {
	place     `embed:""`
	PublicURL string `help:"Where browsers reach the collector, for the line to paste when no server runs." placeholder:"URL" default:"http://localhost:8080"`
}

// Validate is called by the parser.
func (c *client) Validate() error { return c.place.validate() }

// with calls f with a caller that reaches the data: the running server if
// there is one, else this process.
func (c *client) with(ctx context.Context, s *streams, f func(caller) error) error {
	if err := c.prepare(); err != nil {
		return err
	}
	return c.reach(ctx, f, func() error { return c.alone(ctx, s, f) })
}

// reach calls f with a caller that reaches the running server, or alone, with
// the data folder locked, if none runs.
func (p *place) reach(ctx context.Context, f func(caller) error, alone func() error) error {
	for wait := time.Now().Add(commandPatience); ; {
		if remote, ok := p.remote(); ok {
			return f(remote)
		}
		release, err := p.lock()
		if err == nil {
			defer release()
			return alone()
		}
		// A server that is just starting or stopping holds the lock without a socket.
		if !errors.Is(err, errBusy) || time.Now().After(wait) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

type siteAddCommand struct {
	client   `embed:""`
	Domain   string `arg:"" help:"The site's domain, without www."`
	Timezone string `help:"The site's time zone: where its days begin." default:"UTC" placeholder:"Europe/Berlin"`
}

// Run adds the site.
func (c *siteAddCommand) Run(ctx context.Context, s *streams) error {
	return c.with(ctx, s, func(remote caller) error {
		info, err := call[siteInfo](ctx, remote, "site.add", siteAddArgs{c.Domain, c.Timezone})
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "Added %s (%s). Paste this line into every page, before </head>:\n\n%s\n", info.Domain, info.Zone, info.Snippet)
		return nil
	})
}

type siteListCommand struct {
	client `embed:""`
}

// Run lists the sites.
func (c *siteListCommand) Run(ctx context.Context, s *streams) error {
	return c.with(ctx, s, func(remote caller) error {
		infos, err := call[[]siteInfo](ctx, remote, "site.list", none{})
		if err != nil {
			return err
		}
		if len(infos) == 0 {
			fmt.Fprintln(s.err, "No sites yet. Add one: halfmask site add example.com")
			return nil
		}
		table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
		for _, i := range infos {
			fmt.Fprintf(table, "%s\t%s\n", i.Domain, i.Zone)
		}
		return table.Flush()
	})
}

type siteRemoveCommand struct {
	client `embed:""`
	Domain string `arg:"" help:"The site's domain."`
	Yes    bool   `help:"Do not ask."`
}

// Run removes the site with its events.
func (c *siteRemoveCommand) Run(ctx context.Context, s *streams) error {
	return c.with(ctx, s, func(remote caller) error {
		if !c.Yes {
			fmt.Fprintf(s.err, "This deletes everything stored about %s, for good. Type the domain to go on: ", c.Domain)
			line, err := asked(ctx, func() (string, error) { return readLine(s.in) })
			if err != nil {
				return err
			}
			if strings.TrimSpace(line) != c.Domain {
				return errors.New("not confirmed; nothing was deleted")
			}
		}
		gone, err := call[removed](ctx, remote, "site.remove", siteArgs{c.Domain})
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "Removed %s and its %d events.\n", c.Domain, gone.Events)
		return nil
	})
}

type userAddCommand struct {
	client `embed:""`
	Name   string `arg:"" help:"What the user types at login."`
}

// Run adds the user.
func (c *userAddCommand) Run(ctx context.Context, s *streams) error {
	password, err := readPassword(ctx, s)
	if err != nil {
		return err
	}
	return c.with(ctx, s, func(remote caller) error {
		if _, err := call[none](ctx, remote, "user.add", userAddArgs{c.Name, password}); err != nil {
			return err
		}
		fmt.Fprintf(s.out, "Added user %s.\n", c.Name)
		return nil
	})
}

// asked waits for somebody to type, until ctx ends.
func asked(ctx context.Context, read func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := read()
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		return a.text, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func readLine(from io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(from, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("cannot read the answer: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// readPassword asks twice on a terminal and reads one line otherwise.
func readPassword(ctx context.Context, s *streams) (string, error) {
	f, ok := s.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return asked(ctx, func() (string, error) { return readLine(s.in) })
	}
	// Whoever is interrupted while typing gets a terminal back that echoes.
	if before, err := term.GetState(int(f.Fd())); err == nil {
		defer func() { _ = term.Restore(int(f.Fd()), before) }()
	}
	typed := func(prompt string) (string, error) {
		fmt.Fprint(s.err, prompt)
		defer fmt.Fprintln(s.err)
		return asked(ctx, func() (string, error) {
			password, err := term.ReadPassword(int(f.Fd()))
			if err != nil {
				return "", fmt.Errorf("cannot read the password: %w", err)
			}
			return string(password), nil
		})
	}
	first, err := typed("Password: ")
	if err != nil {
		return "", err
	}
	second, err := typed("The same again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passwords differ; nothing was changed")
	}
	return first, nil
}

type tokenAddCommand struct {
	client `embed:""`
	Site   string `help:"The site that the token may query." required:"" placeholder:"DOMAIN"`
	Label  string `help:"What the token is for, for your own memory." default:"" placeholder:"TEXT"`
}

// Run makes the token.
func (c *tokenAddCommand) Run(ctx context.Context, s *streams) error {
	return c.with(ctx, s, func(remote caller) error {
		info, err := call[tokenInfo](ctx, remote, "token.add", tokenArgs{c.Site, c.Label})
		if err != nil {
			return err
		}
		fmt.Fprintln(s.err, "Keep it safe: it is shown only once.")
		fmt.Fprintln(s.out, info.Secret)
		return nil
	})
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(s *streams) error {
	version, commit, goVersion := buildInfo()
	fmt.Fprintf(s.out, "halfmask %s (%s, %s %s/%s)\n", version, commit, goVersion, runtime.GOOS, runtime.GOARCH)
	return nil
}

// Commit is set by the linker: -X main.Commit=abcdef.
var Commit = ""

func buildInfo() (version, commit, goVersion string) {
	commit = Commit
	if info, ok := debug.ReadBuildInfo(); ok && commit == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	if commit == "" {
		commit = "unknown commit"
	}
	return Version, commit, runtime.Version()
}
