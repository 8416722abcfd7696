package engine

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

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

// freeBytes is the room on a folder's file system for those who are not root.
func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
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

// ticksPerSecond is USER_HZ, the unit of times in /proc, which is 100 wherever
// Linux runs.
const ticksPerSecond = 100

// effortOf reads what a process and each of its threads do (proc_pid_stat(5):
// field 3 is the state, 14 and 15 are the CPU time).
func effortOf(pid int) (e effort) {
	fields := func(path string) []string {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		_, after, _ := bytes.Cut(b[max(bytes.LastIndexByte(b, ')'), 0):], []byte(" "))
		return strings.Fields(string(after))
	}
	f := fields(fmt.Sprintf("/proc/%d/stat", pid))
	if len(f) < 13 {
		return e
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	e.known = err1 == nil && err2 == nil
	e.cpu = time.Duration(user+system) * time.Second / ticksPerSecond
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, t := range threads {
		if f := fields(fmt.Sprintf("/proc/%d/task/%s/stat", pid, t.Name())); len(f) > 0 && f[0] == "D" {
			e.disk = true
		}
	}
	return e
}

// openTerminal makes a pseudo-terminal: ours, and the end that becomes the
// child's standard input. Nothing is ever written to it. With a terminal and its
// option --interactive the local engine reports an exception in a connection's
// handler and goes on, as a server does; otherwise it ends the whole process, so
// that a wrong password or a port scanner would bring it down (ClickHouse issue
// 115666, in 26.7).
func openTerminal() (ours, childs *os.File, err error) {
	ours, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open a terminal: %w", err)
	}
	// Without O_NOCTTY it would become the terminal of a service's whole session.
	number := 0
	raw, err := ours.SyscallConn()
	if err == nil {
		err = errors.Join(err, raw.Control(func(fd uintptr) {
			if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
				number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
			}
		}))
	}
	if err == nil {
		childs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		closeAll(ours)
		return nil, nil, fmt.Errorf("cannot open a terminal: %w", err)
	}
	return ours, childs, nil
}
