package engine

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// self is this program's own file, also after an upgrade has replaced it on disk: a
// restarted engine must be of the same version as its parent.
func self() string { return "/proc/self/exe" }

// processAttributes puts the child into a group of its own, so that no signal meant
// for it reaches us nor the reverse, and has the kernel kill it when we die.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// harden leaves no file of the process's memory behind (there are visitors' rows in
// it) and keeps other processes of the same user from reading it.
func harden() error {
	unix.Umask(0o077)
	// The name that ps and top show; before the next step takes the right away.
	_ = os.WriteFile("/proc/self/comm", []byte("halfmask-engine"), 0)
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("cannot forbid core dumps: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot forbid reading its memory: %w", err)
	}
	raiseFileLimit()
	return nil
}

// raiseFileLimit lets the engine open as many files as the system permits: every
// part of a table has several.
func raiseFileLimit() {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
}

func syncFileSystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// residentBytes reads the resident memory of a process; 0 if it is gone.
func residentBytes(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, resident float64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return 0
	}
	return resident * float64(os.Getpagesize())
}
