// Command chaos runs the real halfmask under load and does to it what a bad week
// does: kills it and its engine at random moments and in the middle of chosen
// system calls, stops and withholds the engine, fills the disk and the spool. Its
// own load keeps the number of every event that was answered 202; in the end it
// compares them with what ClickHouse holds, one by one. One that is missing or
// there twice makes it fail. It knows of Halfmask what its command line and its
// listeners tell, and the columns of the events it sent.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/halfmask/halfmask/storage/engine"
)

// options say what to do to whom.
type options struct {
	binary  string
	library string
	dir     string // for data and logs; removed after success unless it was given
	out     io.Writer

	kills  int
	outage time.Duration // how long the engine is stopped, withheld, and the disk full
	rate   int           // events a second
	seed   uint64
	only   string // names of scenarios, joined by commas; empty: all
}

// Exit status: a loss or a double, or what could not be done, is worse than a target
// of speed that was missed.
const (
	statusFailed = 1
	statusSlow   = 3
)

// errSlow means that nothing was lost and something took longer than it should.
var errSlow = errors.New("nothing was lost, but a target was missed")

func main() {
	if len(os.Args) > 1 && os.Args[1] == "engine" {
		os.Exit(engine.Main(os.Args[2:])) // the child of the engine that the check starts
	}
	var o options
	flag.StringVar(&o.binary, "halfmask", "bin/halfmask", "the binary to torment")
	flag.StringVar(&o.library, "engine", os.Getenv("HALFMASK_ENGINE"), "the engine's library; by default where 'make engine' puts it")
	flag.StringVar(&o.dir, "dir", "", "folder for data and logs, which then stay; by default a temporary one")
	flag.IntVar(&o.kills, "kills", 500, "how often to kill")
	flag.DurationVar(&o.outage, "outage", time.Minute, "how long each outage lasts")
	flag.IntVar(&o.rate, "rate", 1000, "events a second")
	flag.Uint64Var(&o.seed, "seed", 0, "replays the order of kills; 0 draws one")
	flag.StringVar(&o.only, "only", "", "run these scenarios only, such as kills,full")
	flag.Parse()
	o.out = os.Stdout
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, o); {
	case errors.Is(err, errSlow):
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(statusSlow)
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(statusFailed)
	}
}

// scenario is one way to make life hard, with a halfmask and a data folder of its
// own.
type scenario struct {
	name string
	what string
	args []string // of halfmask serve
	run  func(*rig, context.Context) error
	disk int64 // bytes of a file system of its own; 0: the folder's
}

func scenarios() []scenario {
	return []scenario{
		{name: "kills", what: "halfmask and its engine are killed", run: (*rig).runKills},
		{name: "stopped", what: "each engine that comes up is stopped (SIGSTOP)", run: (*rig).runStopped},
		{name: "killed", what: "the engine is killed and kept from coming back", run: (*rig).runKilled},
		{name: "full", what: "the disk is full, then freed", run: (*rig).runFull, disk: 224 << 20},
		{name: "cap", what: "the spool is at its cap", run: (*rig).runCap, args: []string{"--spool-max", "64"}},
	}
}

// run runs the scenarios and says how they went.
func run(ctx context.Context, o options) (err error) {
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	if o.library, err = engine.Find(o.library, filepath.Dir(o.binary)); err != nil {
		return err
	}
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	keep := o.dir != ""
	if !keep {
		if o.dir, err = os.MkdirTemp("", "halfmask-chaos-"); err != nil {
			return err
		}
	}
	fmt.Fprintf(o.out, "seed %d, %d kills, outages of %v, %d events/s; data and logs in %s\n", o.seed, o.kills, o.outage, o.rate, o.dir)
	var failed []error
	slow := false
	for _, s := range scenarios() {
		if o.only != "" && !strings.Contains(","+o.only+",", ","+s.name+",") || ctx.Err() != nil {
			continue
		}
		switch err := o.play(ctx, s); {
		case errors.Is(err, errSlow):
			slow = true
		case errors.Is(err, errImpossible):
			fmt.Fprintf(o.out, "  left out: %v\n", err)
		case err != nil:
			failed = append(failed, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	if err := errors.Join(append(failed, ctx.Err())...); err != nil {
		return fmt.Errorf("%w\nreplay with -seed %d; logs and data are in %s", err, o.seed, o.dir)
	}
	if !keep {
		_ = os.RemoveAll(o.dir)
	}
	if slow {
		return errSlow
	}
	return nil
}

// play sets a scenario up, runs it, and checks what is stored.
func (o *options) play(ctx context.Context, s scenario) (err error) {
	fmt.Fprintf(o.out, "\n%s: %s\n", s.name, s.what)
	r, err := newRig(o, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.open(ctx); err != nil {
		return err
	}
	if err := s.run(r, ctx); err != nil {
		return errors.Join(err, r.explain())
	}
	if err := r.check(ctx); err != nil {
		return errors.Join(err, r.explain())
	}
	if r.slow {
		return errSlow
	}
	return nil
}
