// Command halfmask is self-hosted web analytics that only ever sees half of an
// address. This package reads flags, wires the rooms together, serves and
// stops; it is the only one that knows everyone.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	_ "time/tzdata" // sites' time zones, also where the system has none

	"github.com/alecthomas/kong"

	"github.com/halfmask/halfmask/storage/engine"
)

// Version is set by the linker: -X main.Version=v1.2.3.
var Version = "devel"

// commands is the whole command line. Every flag has a HALFMASK_ twin in the
// environment.
type commands struct {
	Serve serveCommand `cmd:"" help:"Collect events and serve the dashboard, until SIGTERM or SIGINT."`
	Site  struct {
		Add    siteAddCommand    `cmd:"" help:"Add a site and print the line to paste into its pages."`
		List   siteListCommand   `cmd:"" help:"List the sites."`
		Remove siteRemoveCommand `cmd:"" help:"Remove a site with everything that was stored about it."`
	} `cmd:"" help:"Add, list and remove sites. Works beside a running server and without one."`
	User struct {
		Add userAddCommand `cmd:"" help:"Add a dashboard user. The password is asked for, or read from standard input."`
	} `cmd:"" help:"Manage dashboard users. Works beside a running server and without one."`
	Token struct {
		Add tokenAddCommand `cmd:"" help:"Make an API token for one site and print it, alone, on the last line."`
	} `cmd:"" help:"Manage tokens of the Stats API. Works beside a running server and without one."`
	Clock struct {
		Confirm clockConfirmCommand `cmd:"" help:"Say that this machine's clock is right after it jumped, so that deletion by age goes on."`
	} `cmd:"" help:"Tell what to think of the clock. Works beside a running server and without one."`
	Ledger  ledgerCommand  `cmd:"" help:"Show what became of every event, and fail if the books do not balance. Works beside a running server and without one."`
	Health  healthCommand  `cmd:"" help:"Ask a running server whether it accepts events; for container health checks."`
	Version versionCommand `cmd:"" help:"Print version, commit and Go version."`
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "engine" {
		os.Exit(engine.Main(os.Args[2:])) // the supervised child: not for people
	}
	if len(os.Args) > 1 && os.Args[1] == crashCommand {
		os.Exit(crashMain(os.Stdin, os.Stderr)) // likewise
	}
	hideDSN()
	if slices.Contains(os.Args[1:], "serve") { // no other command sees a visitor
		if stderr, err := guardCrashes(); err != nil {
			fmt.Fprintln(os.Stderr, "halfmask:", err)
		} else {
			os.Stderr = stderr
		}
	}
	if err := harden(); err != nil {
		fmt.Fprintln(os.Stderr, "halfmask:", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-asked
		signal.Stop(asked) // first: whoever sees that we stop can end us at once with a second signal
		stop()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run parses the arguments and runs one command. It returns the exit status:
// 0, 1 for a failure and 2 for a usage error.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var c commands
	exit := -1
	parser, err := kong.New(&c,
		kong.Name("halfmask"),
		kong.Description("Self-hosted web analytics that only ever sees half of an address."),
		kong.UsageOnError(),
		kong.DefaultEnvars("HALFMASK"),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.ValueFormatter(helpText),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exit = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(&streams{stdin, stdout, stderr}),
	)
	if err != nil {
		fmt.Fprintln(stderr, "halfmask:", err)
		return 2
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if exit >= 0 { // --help was asked for and printed
		return exit
	}
	if err != nil {
		var usage *kong.ParseError
		if errors.As(err, &usage) {
			_ = usage.Context.PrintUsage(true)
		}
		fmt.Fprintln(stderr, "halfmask:", err)
		return 2
	}
	if err := k.Run(); err != nil {
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(stderr, "halfmask:", err)
		return 1
	}
	return 0
}

// helpText adds to a flag's help what it defaults to, where a placeholder
// stands in the default's place, and its twin in the environment.
func helpText(v *kong.Value) string {
	if v.HasDefault && v.Flag != nil && v.Flag.PlaceHolder != "" {
		shown := *v
		shown.Help = strings.TrimSuffix(v.Help, ".") + ". Default: " + v.Default
		v = &shown
	}
	return kong.DefaultHelpValueFormatter(v)
}

// streams are the standard streams, passed so that tests can have their own.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}
