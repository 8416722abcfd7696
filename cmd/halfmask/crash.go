package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"syscall"

	"golang.org/x/sys/unix"
)

// When the runtime dies, of a panic in the wrong place, of memory that is used
// up, of a disk that does not give back what was mapped from it, it writes the
// stacks of all goroutines to file descriptor 2, with the arguments of calls in
// hexadecimal digits; and a visitor's address is two of them. Nothing in the
// runtime can forbid that for every way to die. So that descriptor leads to a
// child, `halfmask crash`, which passes on where it happened and no arguments.
// What Halfmask itself says goes the direct way.

// crashCommand is the hidden command that is the child.
const crashCommand = "crash"

// guardCrashes puts the child in place and returns what stands for standard
// error from now on.
func guardCrashes() (*os.File, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot tell where this program is: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a pipe for a crash's output: %w", err)
	}
	defer r.Close()
	defer w.Close()
	direct, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("cannot duplicate standard error: %w", err)
	}
	stderr := os.NewFile(uintptr(direct), "standard error")
	child := exec.Command(exe, crashCommand)
	child.Stdin, child.Stderr = r, stderr
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is not for it
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("cannot start what keeps addresses out of a crash's output: %w", err)
	}
	if err := unix.Dup3(int(w.Fd()), 2, 0); err != nil {
		return nil, fmt.Errorf("cannot redirect a crash's output: %w", err)
	}
	return stderr, nil
}

// crashMain is the child: it reads until its parent is gone.
func crashMain(in io.Reader, out io.Writer) int {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	// A read that fails is the end, too.
	_ = withoutArguments(out, in)
	return 0
}

// harmless are the lines of a crash that may be shown, each with what is shown
// of it. What fits none of them is left out: registers, memory, the values that
// somebody panicked with.
var harmless = []struct {
	line  *regexp.Regexp
	shown string
}{
	{regexp.MustCompile(`^(fatal error: [a-zA-Z ,.:'/()_-]+)`), "$1"},
	{regexp.MustCompile(`^(panic: runtime error: (?:index out of range|slice bounds out of range|invalid memory address or nil pointer dereference|integer divide by zero|makeslice: [a-z ]+))`), "$1"},
	{regexp.MustCompile(`^panic: `), "panic: (what it says is not shown: it may hold an address)"},
	{regexp.MustCompile(`^\[signal (SIG[A-Z]+):.*`), "[signal $1]"},
	{regexp.MustCompile(`^(SIG[A-Z]+: [a-z -]+)$`), "$1"},
	{regexp.MustCompile(`^(runtime stack:|goroutine \d+)(?: gp=\S+ m=\S+(?: mp=\S+)?)?( \[[a-zA-Z0-9 ,()]+\]:)?$`), "$1$2"},
	{regexp.MustCompile(`^([a-zA-Z0-9_./·*()\[\]{}-]+)\([^()]*\)$`), "$1(...)"},
	{regexp.MustCompile(`^(\t\S+\.(?:go|s):\d+)(?: \+0x[0-9a-f]+)?`), "$1"},
	{regexp.MustCompile(`^(created by [a-zA-Z0-9_./·*()\[\]{}-]+(?: in goroutine \d+)?)$`), "$1"},
	{regexp.MustCompile(`^(\.\.\.\d+ frames elided\.\.\.)$`), "$1"},
	{regexp.MustCompile(`^$`), ""},

	// The race detector's reports, of programs built to look for races.
	{regexp.MustCompile(`^(={18}|WARNING: DATA RACE|Found \d+ data race\(s\))$`), "$1"},
	{regexp.MustCompile(`^((?:Previous )?[a-zA-Z ]+ at )0x[0-9a-f]+( by .*)$`), "$1$2"},
	{regexp.MustCompile(`^(Goroutine \d+ \([a-z]+\) created at:)$`), "$1"},
	{regexp.MustCompile(`^(  [a-zA-Z0-9_./·*()\[\]-]+\(\))$`), "$1"},
	{regexp.MustCompile(`^(      \S+\.(?:go|s):\d+)(?: \+0x[0-9a-f]+)?$`), "$1"},
}

// withoutArguments copies a crash's output without what could be a visitor's.
func withoutArguments(out io.Writer, in io.Reader) error {
	lines := bufio.NewReaderSize(in, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if whole := bytes.TrimSuffix(line, []byte("\n")); len(whole) < len(line) || len(line) > 0 && err != bufio.ErrBufferFull {
			if shown, ok := show(whole); ok {
				if _, err := fmt.Fprintf(out, "%s\n", shown); err != nil {
					return err
				}
			}
		}
		if err != nil && err != bufio.ErrBufferFull { // of a line that long, nothing is shown
			return err
		}
	}
}

func show(line []byte) (shown []byte, ok bool) {
	for _, h := range harmless {
		if match := h.line.FindSubmatchIndex(line); match != nil {
			return h.line.Expand(nil, []byte(h.shown), line, match), true
		}
	}
	return nil, false
}
