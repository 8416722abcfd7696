package engine

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"github.com/ebitengine/purego"
	"golang.org/x/sys/unix"
)

// childMark is set in the child's environment, so that a program that forgot to
// call Main does not start children without end.
const childMark = "HALFMASK_ENGINE_CHILD"

// What the child inherits besides its standard streams: the file descriptors
// through which the boot script tells its port, and reads its life-line.
const (
	portFD = 3
	lifeFD = 4
)

// Main is the child's side: what `halfmask engine ...` runs, hidden from the
// help. args are the arguments after "engine"; the caller exits with what it
// returns. It ends well only when its life-line ends.
func Main(args []string) int {
	if err := serve(args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serve(args []string) error {
	flags := flag.NewFlagSet("engine", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	library := flags.String("library", "", "")
	dir := flags.String("dir", "", "")
	terminal := flags.Bool("terminal", false, "")
	if err := flags.Parse(args); err != nil || os.Getenv(childMark) == "" {
		return fmt.Errorf("this command is only for `halfmask serve`, which runs the engine with it")
	}
	boot, err := os.ReadFile(filepath.Join(*dir, bootFile))
	if err != nil {
		return fmt.Errorf("cannot read the engine's boot script: %w", err)
	}
	// The thread stays the engine's, whose code may keep things per thread.
	runtime.LockOSThread()
	// The parent decides when the engine ends. A terminal or a service manager
	// signals the whole group of processes at once, and the engine, which dies at
	// once from these, must stay until the parent has drained into it.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	if err := harden(); err != nil {
		return fmt.Errorf("cannot harden the engine's process: %w", err)
	}
	argv := []string{"--config-file=" + filepath.Join(*dir, configFile), "--query=" + string(boot)}
	if *terminal {
		argv = append(argv, "--interactive") // see openTerminal
	}
	if !isLibrary(*library) {
		argv = append([]string{"clickhouse", "local"}, argv...)
		return fmt.Errorf("cannot execute %s: %w", *library, syscall.Exec(*library, argv, os.Environ()))
	}
	if err := runLibrary(*library, append([]string{"clickhouse"}, argv...)); err != nil {
		return err
	}
	if !lifeLineEnded() {
		// The engine has said why on standard error, but returns success.
		return fmt.Errorf("the engine ended on its own")
	}
	return nil
}

// isLibrary tells a shared library from a program by its name.
func isLibrary(path string) bool { return strings.Contains(filepath.Base(path), ".so") }

// runLibrary loads the library and runs its command line, which returns when the
// boot script ends.
func runLibrary(path string, argv []string) error {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return fmt.Errorf("cannot load the engine's library (is it built for %s/%s with glibc?): %w", runtime.GOOS, runtime.GOARCH, err)
	}
	run, err := purego.Dlsym(handle, "chdb_query_cmdline")
	if err != nil {
		return fmt.Errorf("%s is not a ClickHouse engine: %w", path, err)
	}
	pointers := make([]*byte, len(argv)+1) // null-terminated, as C has it
	for i, a := range argv {
		if pointers[i], err = unix.BytePtrFromString(a); err != nil {
			return fmt.Errorf("cannot pass argument %d to the engine: %w", i, err)
		}
	}
	var pins runtime.Pinner
	defer pins.Unpin()
	for _, p := range pointers[:len(argv)] {
		pins.Pin(p)
	}
	pins.Pin(&pointers[0])
	purego.SyscallN(run, uintptr(len(argv)), uintptr(unsafe.Pointer(&pointers[0])))
	return nil
}

// lifeLineEnded reports whether the parent has closed the life-line, or is gone.
func lifeLineEnded() bool {
	fds := []unix.PollFd{{Fd: lifeFD, Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1 && fds[0].Revents&unix.POLLHUP != 0
}
