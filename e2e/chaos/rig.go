package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// startWithin is how soon after its execution every halfmask must answer a beacon
// with 202.
const startWithin = 300 * time.Millisecond

// catchUp is how many times faster than the live rate what waited is to be stored.
const catchUp = 5

// acceptWithin is how soon events are accepted again once the disk or the spool
// has room.
const acceptWithin = 10 * time.Second

// errImpossible means that this machine does not allow it.
var errImpossible = errors.New("this machine does not allow it")

// rig is a halfmask with its load.
type rig struct {
	*options
	server
	load     *load
	scenario scenario
	link     string   // the name under which the engine's library is found
	undo     []func() // what is to be taken back in the end, last first
	slow     bool     // a target was missed

	starts     map[string][]time.Duration // restarts to their first 202, by kind of kill
	engineBack []time.Duration            // engines' ends to the answer of the next
	calls      map[string]int             // in which kills fell
	killed     []string                   // the kind of each kill
	first      []uint64                   // the event at which each kill began
}

func newRig(o *options, s scenario) (*rig, error) {
	dir := filepath.Join(o.dir, s.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	r := &rig{options: o, scenario: s, link: filepath.Join(dir, "libchdb.so"), starts: map[string][]time.Duration{}, calls: map[string]int{}}
	if s.disk > 0 {
		disk := filepath.Join(dir, "disk")
		if err := os.MkdirAll(disk, 0o700); err != nil {
			return nil, err
		}
		if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", s.disk)); err != nil {
			return nil, fmt.Errorf("%w: cannot mount a small disk (it needs root): %w", errImpossible, err)
		}
		r.undo = append(r.undo, func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
		dir = disk
	}
	r.server = server{binary: o.binary, library: r.link, data: filepath.Join(dir, "data"), args: s.args}
	return r, r.prepare()
}

func (r *rig) prepare() (err error) {
	if err := os.Symlink(r.options.library, r.link); err != nil {
		return err
	}
	for _, address := range []*string{&r.collector, &r.operations} {
		if *address, err = freeAddress(); err != nil {
			return err
		}
	}
	r.log, err = os.OpenFile(filepath.Join(r.dir, r.scenario.name, "halfmask.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return err
}

// open starts halfmask for the first time, makes its site, and begins the load.
func (r *rig) open(ctx context.Context) error {
	if err := r.start(); err != nil {
		return err
	}
	// Before it is up a command would take the folder for itself.
	if err := eventually(ctx, "halfmask is up", func() bool { return r.storageUp() || !r.running() }); err != nil {
		return err
	}
	if err := r.command(ctx, "site", "add", site); err != nil {
		return err
	}
	r.load = startLoad(r.collector, r.rate)
	return eventually(ctx, "an event is accepted", func() bool { return r.load.tally().accepted > 0 })
}

func (r *rig) close() error {
	if r.load != nil {
		r.load.stop()
	}
	if r.running() {
		if pid := r.engine(); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
		r.kill()
	}
	for _, f := range slices.Backward(r.undo) {
		f()
	}
	return r.log.Close()
}

// explain says where to look, with the end of what halfmask said.
func (r *rig) explain() error {
	name := filepath.Join(r.dir, r.scenario.name, "halfmask.log")
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return fmt.Errorf("halfmask's last words, of %s:\n%s", name, strings.Join(lines[max(0, len(lines)-15):], "\n"))
}

// restart begins another life and measures how long it takes to a beacon's 202, on
// behalf of what ended the one before.
func (r *rig) restart(ctx context.Context, after string) error {
	if err := r.start(); err != nil {
		return err
	}
	for {
		var c conversation
		status, _ := r.load.send(&c)
		c.close()
		if status == 202 {
			r.starts[after] = append(r.starts[after], time.Since(r.begun))
			return nil
		}
		if !r.running() {
			return fmt.Errorf("halfmask ended while it was starting: %v", r.cmd.ProcessState)
		}
		if time.Since(r.begun) > patience {
			return fmt.Errorf("halfmask has not accepted an event for %v after its start", patience)
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// drained ends the load and waits until everything accepted is stored.
func (r *rig) drained(ctx context.Context) error {
	r.load.stop()
	began := time.Now()
	if err := eventually(ctx, "nothing waits in the spool", func() bool {
		n, err := r.metric("halfmask_spool_pending_events")
		return err == nil && n == 0
	}); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "  drained in %v\n", time.Since(began).Round(time.Millisecond))
	return nil
}

// pending is what waits in the spool, stored what this life has stored.
func (r *rig) flow() (pending, stored float64, err error) {
	if pending, err = r.metric("halfmask_spool_pending_events"); err != nil {
		return 0, 0, err
	}
	stored, err = r.metric("halfmask_batch_stored_events_total")
	return pending, stored, err
}

// sayStarts prints how long halfmask took to accept an event, by what came before.
func (r *rig) sayStarts(kinds []string, count map[string]int) {
	fmt.Fprintf(r.out, "  %-34s %6s   %s\n", "kind of kill", "kills", "restart to the first 202, ms: p50 p99 max")
	var all []time.Duration
	for _, k := range kinds {
		fmt.Fprintf(r.out, "  %-34s %6d   %s\n", k, count[k], percentiles(r.starts[k]))
		all = append(all, r.starts[k]...)
	}
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(r.out, "  %-34s %6d   %s\n", "all", total(count), percentiles(all))
	late := 0
	for _, d := range all {
		if d > startWithin {
			late++
		}
	}
	if late > 0 {
		r.slow = true
		fmt.Fprintf(r.out, "  MISSED: %d of %d restarts took more than %v\n", late, len(all), startWithin)
	}
}

func total(count map[string]int) (n int) {
	for _, c := range count {
		n += c
	}
	return n
}

func percentiles(d []time.Duration) string {
	if len(d) == 0 {
		return "halfmask was not restarted"
	}
	d = slices.Sorted(slices.Values(d))
	ms := func(i int) int64 { return d[i].Milliseconds() }
	return fmt.Sprintf("%4d %4d %4d", ms(len(d)/2), ms(len(d)*99/100), ms(len(d)-1))
}
