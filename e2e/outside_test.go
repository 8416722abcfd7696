package e2e_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfmask/halfmask/e2e"
)

// netns is set in the child of TestNothingIsAskedOutside.
const netns = "HALFMASK_TEST_NETNS"

// TestNothingIsAskedOutside runs Halfmask where there is no network but the
// machine's own, and has the kernel count what wanted to leave.
func TestNothingIsAskedOutside(t *testing.T) {
	if os.Getenv(netns) == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		child := exec.Command(self, "-test.run=^TestNothingIsAskedOutside$", "-test.v")
		child.Env = append(os.Environ(), netns+"=1", "HALFMASK_BINARY="+e2e.Binary(t, false))
		child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		if os.Geteuid() != 0 {
			child.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
			child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
		}
		out, err := child.CombinedOutput()
		if _, ran := err.(*exec.ExitError); err != nil && !ran {
			t.Skipf("this user may not make a network of its own: %v", err)
		}
		if err != nil || !bytes.Contains(out, []byte("--- PASS: TestNothingIsAskedOutside")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	loopbackUp(t)
	idle := strayed(t)
	if conn, err := net.DialTimeout("udp", "192.0.2.1:53", time.Second); err == nil {
		_ = conn.Close()
		t.Fatal("there is a way out")
	}
	if strayed(t) == idle {
		t.Fatal("the kernel does not count what has no way out")
	}

	server := e2e.Start(t, e2e.Options{Demo: true})
	server.AddSite(t, "example.com")
	token := server.AddToken(t, "example.com")
	server.RunWith(t, "half past four\n", "user", "add", "ada")
	idle = strayed(t)
	for _, request := range songs() {
		whisper(strings.TrimPrefix(server.Collector, "http://"), request)
	}
	singDashboard(t, server)
	send(t, server, "/one")
	e2e.Eventually(t, "it is stored", func() bool { return server.Totals(t, token, "example.com", "events")[0] > 0 })
	fetch(t, server.Operations+"/metrics")
	server.Stop(t)
	if got := strayed(t) - idle; got != 0 {
		t.Errorf("Halfmask tried %d times to reach somebody outside", got)
	}
}

// loopbackUp switches on the only device of a new network.
func loopbackUp(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		t.Fatal(err)
	}
}

// strayed is how often something had no way to go: OutNoRoutes of both
// protocols.
func strayed(t *testing.T) (times int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if fields[0] != "Ip:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		_, _ = fmt.Sscan(fields[slices.Index(names, "OutNoRoutes")], &times)
	}
	text, err = os.ReadFile("/proc/self/net/snmp6")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var n int
		if _, err := fmt.Sscanf(line, "Ip6OutNoRoutes %d", &n); err == nil {
			times += n
		}
	}
	return times
}
