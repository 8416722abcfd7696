package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

// kill is one way to end a life.
type kill struct {
	name  string
	often int // how often, relative to the others
	do    func(*rig, context.Context, *rand.Rand) (name string, err error)
}

const (
	killedHalfmask = "halfmask, at random"
	killedEngine   = "engine, at random"
	killedBoth     = "both at once"
	killedStarting = "halfmask, while it starts"
	inHalfmask     = "halfmask, in a system call"
	inEngine       = "engine, in a system call"
)

// kills is the mix. The random ones are what a machine does; those in a system
// call are what it does seldom, at the worst moments.
var kills = []kill{
	{killedHalfmask, 3, func(r *rig, ctx context.Context, _ *rand.Rand) (string, error) {
		r.kill()
		return killedHalfmask, r.restart(ctx, killedHalfmask)
	}},
	{killedEngine, 3, func(r *rig, ctx context.Context, _ *rand.Rand) (string, error) {
		return killedEngine, r.engineGone(ctx, r.signalEngine(syscall.SIGKILL))
	}},
	{killedBoth, 1, func(r *rig, ctx context.Context, random *rand.Rand) (string, error) {
		if random.IntN(2) == 0 {
			r.signalEngine(syscall.SIGKILL)
			time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
		}
		r.kill()
		return killedBoth, r.restart(ctx, killedBoth)
	}},
	{killedStarting, 2, func(r *rig, ctx context.Context, random *rand.Rand) (string, error) {
		r.kill()
		if err := r.start(); err != nil {
			return "", err
		}
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
		r.kill()
		return killedStarting, r.restart(ctx, killedStarting)
	}},
	{inHalfmask, 4, (*rig).killInHalfmask},
	{inEngine, 4, (*rig).killInEngine},
}

func draw(random *rand.Rand) kill {
	sum := 0
	for _, k := range kills {
		sum += k.often
	}
	n := random.IntN(sum)
	for _, k := range kills {
		if n -= k.often; n < 0 {
			return k
		}
	}
	panic("unreachable")
}

// killInHalfmask injects a kill into one of the calls that the spool and the door
// make.
func (r *rig) killInHalfmask(ctx context.Context, random *rand.Rand) (string, error) {
	call := []point{{"write", 300}, {"openat", 30}, {"fdatasync", 30}, {"fallocate", 3}, {"ftruncate", 3}, {"unlinkat", 5}, {"renameat", 2},
		{"fsync", 3}, {"pwrite64", 30}, {"mmap", 10}, {"munmap", 3}, {"close", 30}, {"syncfs", 2}}[random.IntN(13)]
	hit, err := inject(ctx, r.pid(), call, random, func() bool { return !r.running() })
	if err != nil {
		return "", err
	}
	name := inHalfmask
	if !hit {
		name = killedHalfmask
	}
	r.noteCall("halfmask", call, hit)
	r.kill()
	return name, r.restart(ctx, name)
}

// killInEngine injects a kill into one of the calls with which ClickHouse writes,
// publishes, merges and deletes parts.
func (r *rig) killInEngine(ctx context.Context, random *rand.Rand) (string, error) {
	call := []point{{"rename", 8}, {"write", 200}, {"fdatasync", 10}, {"openat", 100}, {"unlink", 30}, {"mkdir", 6}, {"fsync", 5},
		{"close", 100}, {"rmdir", 5}, {"link", 3}, {"rename", 3}}[random.IntN(11)]
	pid := r.engine()
	if pid == 0 {
		return killedEngine, r.engineGone(ctx, pid)
	}
	hit, err := inject(ctx, pid, call, random, func() bool { return r.engine() != pid })
	if err != nil {
		return "", err
	}
	r.noteCall("engine", call, hit)
	if !hit && r.engine() == pid {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		return killedEngine, r.engineGone(ctx, pid)
	}
	return inEngine, r.engineGone(ctx, pid)
}

// engineGone waits until another engine answers, mostly: now and then what comes
// next comes before.
func (r *rig) engineGone(ctx context.Context, pid int) error {
	began := time.Now()
	if err := eventually(ctx, "another engine is there", func() bool { now := r.engine(); return now != 0 && now != pid && r.storageUp() }); err != nil {
		return err
	}
	r.engineBack = append(r.engineBack, time.Since(began))
	return nil
}

func (r *rig) noteCall(who string, p point, hit bool) {
	name := who + " " + p.call
	if !hit {
		name = "(not reached)"
	}
	r.calls[name]++
}

// runKills kills.
func (r *rig) runKills(ctx context.Context) error {
	random := rand.New(rand.NewPCG(r.seed, 1))
	ptrace := tracing(ctx)
	if ptrace != nil {
		fmt.Fprintf(r.out, "  no kills in chosen system calls, random ones instead: %v\n", ptrace)
	}
	count := map[string]int{}
	said := time.Now()
	for i := range r.kills {
		k := draw(random)
		wait := time.Duration(50+random.IntN(300)) * time.Millisecond
		if ptrace != nil && (k.name == inHalfmask || k.name == inEngine) {
			k = kills[i%2]
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
		r.first = append(r.first, r.load.next.Load())
		name, err := k.do(r, ctx, random)
		if err != nil {
			return fmt.Errorf("kill %d, %s: %w", i, k.name, err)
		}
		r.killed = append(r.killed, name)
		count[name]++
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			t := r.load.tally()
			fmt.Fprintf(r.out, "  %d of %d kills, %d events accepted, %d answers cut off\n", i+1, r.options.kills, t.accepted, t.cut)
		}
	}
	var names []string
	for _, k := range kills {
		names = append(names, k.name)
	}
	r.sayStarts(names, count)
	fmt.Fprintf(r.out, "  engine, killed to answering, ms: %s (p50 p99 max)\n", percentiles(r.engineBack))
	r.sayCalls()
	return nil
}
