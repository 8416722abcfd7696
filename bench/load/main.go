// Command load drives a running Halfmask and a bare fasthttp server that
// answers 204 in turns, and prints how fast the one is as a ratio to the
// other, the latencies, the CPU per event, and whether every accepted event
// was stored. It talks to 127.0.0.1 only and stops by itself.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/halfmask/halfmask/bench/workload"
)

type options struct {
	binary      string
	rounds      int
	duration    time.Duration
	connections int
	pin         bool
	hold        bool
	rate        float64
	durability  string
	mix         workload.Mix
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "floor" {
		if err := floor(); err != nil {
			fmt.Fprintln(os.Stderr, "floor:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.StringVar(&o.binary, "halfmask", "bin/halfmask", "the binary to measure")
	flag.IntVar(&o.rounds, "rounds", 3, "how often to measure each server, in turns")
	flag.DurationVar(&o.duration, "duration", 10*time.Second, "how long each measurement takes")
	flag.IntVar(&o.connections, "connections", 64, "connections")
	flag.BoolVar(&o.pin, "pin", true, "give the server one core and the load (with the engine) another")
	flag.BoolVar(&o.hold, "hold", false, "stop the engine while measuring, so that the door and the spool are measured alone")
	flag.Float64Var(&o.rate, "rate", 0, "requests per second, all connections together; 0: as many as are answered")
	flag.StringVar(&o.durability, "durability", "process", "Halfmask's --durability: process or power")
	o.mix = workload.Realistic
	flag.IntVar(&o.mix.Paths, "paths", o.mix.Paths, "distinct paths")
	flag.IntVar(&o.mix.Agents, "agents", o.mix.Agents, "distinct user agents")
	flag.IntVar(&o.mix.Addresses, "addresses", o.mix.Addresses, "distinct client addresses")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &o); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options) error {
	beacons := o.mix.Beacons()
	requests := make([][]byte, len(beacons))
	for i := range beacons {
		requests[i] = beacons[i].HTTP()
	}
	if o.pin {
		// The engine inherits no pin: it shares the load's core, so that the
		// server's core does the server's work only.
		if err := pinSelf(1); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	bare, err := startFloor(ctx, exec.CommandContext(ctx, self, "floor"))
	if err != nil {
		return err
	}
	defer bare.stop()
	halfmask, err := startHalfmask(ctx, o.binary, o.durability)
	if err != nil {
		return err
	}
	defer halfmask.stop()
	if o.pin {
		for _, s := range []*server{bare, halfmask.server} {
			if err := pinProcess(s.cmd.Process.Pid, 0); err != nil {
				return err
			}
		}
	}
	fmt.Printf("%d connections, %v a measurement, %d rounds, pinned: %v, engine held: %v, durability: %s\n",
		o.connections, o.duration, o.rounds, o.pin, o.hold, o.durability)
	if err := printSyncTime(halfmask.data); err != nil {
		return err
	}
	fmt.Printf("%-10s %10s %12s %9s %9s %9s\n", "server", "requests/s", "CPU us/req", "p50 us", "p99 us", "RSS MiB")
	var ratios, cpuRatios []float64
	accepted, stored := 0, 0
	for range o.rounds {
		b, err := measure(ctx, "bare", bare, requests, o)
		if err != nil {
			return err
		}
		if o.hold {
			halfmask.signalEngine(syscall.SIGSTOP)
		}
		h, err := measure(ctx, "halfmask", halfmask.server, requests, o)
		halfmask.signalEngine(syscall.SIGCONT)
		if err != nil {
			return err
		}
		accepted += h.accepted
		// What is still to be stored must not disturb the next measurement.
		if stored, err = halfmask.stored(ctx, accepted); err != nil {
			return err
		}
		ratios = append(ratios, h.rate/b.rate)
		cpuRatios = append(cpuRatios, b.cpu/h.cpu)
	}
	fmt.Printf("ratio of requests/s, median: %.2f   ratio of CPU per request, median: %.2f\n", median(ratios), median(cpuRatios))
	fmt.Printf("accepted %d, stored %d, engine: %.2f us of CPU an event\n", accepted, stored, halfmask.engineCPU()*1e6/float64(max(stored, 1)))
	if stored != accepted {
		return fmt.Errorf("%d accepted events are not stored", accepted-stored)
	}
	return nil
}

func measure(ctx context.Context, name string, s *server, requests [][]byte, o *options) (result, error) {
	before, err := cpuSeconds(s.cmd.Process.Pid)
	if err != nil {
		return result{}, err
	}
	r, err := drive(ctx, s.addr, requests, o)
	if err != nil {
		return result{}, fmt.Errorf("cannot drive %s: %w", name, err)
	}
	after, err := cpuSeconds(s.cmd.Process.Pid)
	if err != nil {
		return result{}, err
	}
	r.cpu = (after - before) * 1e6 / float64(r.requests)
	fmt.Printf("%-10s %10.0f %12.2f %9.0f %9.0f %9.1f\n", name, r.rate, r.cpu, r.p50, r.p99, residentMiB(s.cmd.Process.Pid))
	return r, nil
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return (s[len(s)/2] + s[(len(s)-1)/2]) / 2
}
