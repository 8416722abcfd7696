package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Set in the children of TestCrashesShowNoArguments, to the way to die.
const dieTwin = "HALFMASK_TEST_DIE"

// The sentinel: a visitor's addresses, as they are handed from call to call.
var (
	sentinel4 = netip.MustParseAddr("203.0.113.77")
	sentinel6 = netip.MustParseAddr("2001:db8:dead:beef::77")
)

// ways to die, each of which makes the runtime write its stacks.
var deaths = map[string]func(){
	"panic elsewhere":    func() { go func() { panic("of " + sentinel4.String()) }(); select {} },
	"index out of range": func() { go func() { _ = []int{}[len(os.Args)] }(); select {} },
	"nil":                func() { go func() { *(*int)(nil) = 1 }(); select {} },
	"an error's text": func() {
		go func() { panic(fmt.Errorf("line one\n%v\ngoroutine 7 [%v]:", sentinel4, sentinel6)) }()
		select {}
	},
	"two writers of maps": mapWrites,
	"stack overflow":      func() { go overflow(1); select {} },
	"mapped file cut off": cutOff,
	"a bad address":       func() { go func() { *(*int)(unsafe.Add(unsafe.Pointer(nil), 0xdeadbeef000)) = 1 }(); select {} },
	"a signal":            func() { _ = unix.Kill(os.Getpid(), unix.SIGSEGV); select {} },
}

func mapWrites() {
	m := map[int]int{}
	for range 4 {
		go func() {
			for i := 0; ; i++ {
				m[i%10] = i
			}
		}()
	}
	select {}
}

//go:noinline
func overflow(n int) int {
	if n < 0 {
		return 0
	}
	return overflow(n+1) + n // until there is no more stack, long before n is negative
}

// cutOff is what a full disk does to a mapped file.
func cutOff() {
	f, err := os.CreateTemp("", "halfmask-crash-")
	if err != nil {
		os.Exit(3)
	}
	defer os.Remove(f.Name())
	_ = f.Truncate(1 << 16)
	mapped, err := unix.Mmap(int(f.Fd()), 0, 1<<16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		os.Exit(3)
	}
	_ = os.Remove(f.Name())
	_ = f.Truncate(0)
	go func() { mapped[len(mapped)-1] = 1 }()
	select {}
}

// handling is where a request with an address is while somebody else dies. An
// array is handed over in memory, so that the runtime knows it for sure; of what
// is handed over in registers it shows what was there last.
//
//go:noinline
func handling(addrs [2]netip.Addr, ready chan<- bool, wait <-chan bool) bool {
	ready <- true
	<-wait
	return addrs[0].Is4() && addrs[1].Is6()
}

func dieIfAsked() {
	way := os.Getenv(dieTwin)
	if way == "" {
		return
	}
	way, guarded := strings.CutSuffix(way, " guarded")
	if guarded {
		stderr, err := guardCrashes()
		if err != nil {
			fmt.Println(err)
			os.Exit(3)
		}
		os.Stderr = stderr
	}
	debug.SetTraceback("all")
	debug.SetMaxStack(1 << 20)
	ready, never := make(chan bool), make(chan bool)
	go handling([2]netip.Addr{sentinel4, sentinel6}, ready, never)
	<-ready
	deaths[way]()
}

// However the runtime dies, what it says names no address; and it is shown
// where it died. Without the guard, some deaths do name it: else this test
// would prove nothing.
func TestCrashesShowNoArguments(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	die := func(way string) string {
		child := exec.Command(self)
		child.Env = append(os.Environ(), dieTwin+"="+way, "GORACE=atexit_sleep_ms=0")
		var out bytes.Buffer
		child.Stdout, child.Stderr = &out, &out
		child.WaitDelay = 10 * time.Second
		if err := child.Run(); err == nil || child.ProcessState.ExitCode() == 3 {
			t.Fatalf("%s: did not die: %v\n%s", way, err, out.Bytes())
		}
		return out.String()
	}
	leaks := 0
	for way := range deaths {
		if holdsSentinel(die(way)) {
			leaks++
		}
		out := die(way + " guarded")
		if holdsSentinel(out) {
			t.Errorf("%s: the output holds an address:\n%s", way, out)
		}
		if !strings.Contains(out, "goroutine ") || !regexp.MustCompile(`(?m)^\t\S+\.go:\d+$`).MatchString(out) ||
			!regexp.MustCompile(`(?m)^(panic|fatal error|SIG[A-Z]+|\[signal SIG[A-Z]+\])`).MatchString(out) {
			t.Errorf("%s: the output does not tell what and where:\n%s", way, out)
		}
	}
	if leaks < 6 {
		t.Errorf("only %d ways to die name an address without the guard", leaks)
	}
}

func holdsSentinel(out string) bool {
	four, six := sentinel4.As16(), sentinel6.As16()
	for _, part := range []string{
		sentinel4.String(), sentinel6.String(),
		fmt.Sprintf("%x", binary.BigEndian.Uint32(four[12:])),
		fmt.Sprintf("%x", binary.BigEndian.Uint64(six[:8])),
	} {
		if strings.Contains(out, part) {
			return true
		}
	}
	return false
}

// What is no crash's output is not passed on, whatever it is.
func TestOnlyWhatIsHarmlessIsShown(t *testing.T) {
	var out bytes.Buffer
	in := strings.Join([]string{
		"something printed 203.0.113.77", "panic: 203.0.113.77 [recovered]", "\tpanic: x", "rax    0xcb00714d", "r8     0x20010db8deadbeef",
		"goroutine 1 [running, 203.0.113.77]:", "main.f(0xcb00714d)", "main.(*T).g({0xcb00714d, 0x1?}, ...)", "\t/src/main.go:7 +0x1d fp=0xc0 sp=0xb0 pc=0xcb00714d",
		"created by main.h in goroutine 7", "[signal SIGSEGV: segmentation violation code=0x1 addr=0xcb00714d pc=0xcb00714d]", strings.Repeat("main.f(", 50_000), "tail",
		"fatal error: out of memory", "main.g(0xcb0", // cut off
	}, "\n")
	if err := withoutArguments(&out, strings.NewReader(in)); err == nil {
		t.Error("the end is no error")
	}
	want := strings.Join([]string{
		"panic: (what it says is not shown: it may hold an address)", "main.f(...)", "main.(*T).g(...)", "\t/src/main.go:7",
		"created by main.h in goroutine 7", "[signal SIGSEGV]", "fatal error: out of memory", "",
	}, "\n")
	if out.String() != want {
		t.Errorf("shown:\n%s\nwant:\n%s", out.String(), want)
	}
}
