package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What this process knows and nobody else should, a ClickHouse password and for
// a moment each visitor's address, stays out of what the system shows of it.

// harden forbids core dumps and reading the process's memory, and has the
// signals that ask for a stack trace, or for a crash, answered without the
// arguments of calls: in the runtime's own traces an address can be among them.
func harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("cannot forbid core dumps: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot forbid reading this process's memory: %w", err)
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGSYS)
	go func() {
		which := <-asked
		fmt.Fprintln(os.Stderr, "halfmask: ended by", which)
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1) // 2 would show arguments
		os.Exit(2)
	}()
	return nil
}

const (
	dsnFlag = "--clickhouse"
	dsnTwin = "HALFMASK_CLICKHOUSE"
)

// withoutDSN moves the DSN, which holds a password, from the arguments, which
// every user of the machine can list, to the environment, which they cannot.
func withoutDSN(args, env []string) (newArgs, newEnv []string, moved bool) {
	dsn := ""
	for i := 0; i < len(args); i++ {
		value, inline := strings.CutPrefix(args[i], dsnFlag+"=")
		switch {
		case args[i] == "--":
			newArgs = append(newArgs, args[i:]...)
			i = len(args)
		case inline:
			dsn, moved = value, true
		case args[i] == dsnFlag && i+1 < len(args):
			i++
			dsn, moved = args[i], true
		default:
			newArgs = append(newArgs, args[i])
		}
	}
	if !moved {
		return args, env, false
	}
	newEnv = slices.DeleteFunc(slices.Clone(env), func(e string) bool { return strings.HasPrefix(e, dsnTwin+"=") })
	return newArgs, append(newEnv, dsnTwin+"="+dsn), true
}

// hideDSN executes the program again without the DSN among its arguments. Where
// that cannot be done it goes on as it is.
func hideDSN() {
	args, env, moved := withoutDSN(os.Args, os.Environ())
	if !moved {
		return
	}
	if exe, err := os.Executable(); err == nil {
		_ = syscall.Exec(exe, args, env)
	}
}
