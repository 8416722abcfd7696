// Package cluster is for tests only: two real ClickHouse engines that replicate
// each other's tables through a real ZooKeeper. It promises that nothing it
// starts outlives the test.
//
// A package that uses it lets its test binary be a replica:
//
//	if os.Args[1] == cluster.ChildCommand { os.Exit(cluster.Main(os.Args[2:])) }
package cluster

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// Name is the cluster's name, and User and Password those of the one user.
const (
	Name     = "two"
	User     = "writer"
	Password = "s3cret"
)

// Cluster is replicas and their keeper.
type Cluster struct {
	Replicas []*Replica
	library  string
	keeper   int
}

// Replica is one engine. Kill and Start are for one goroutine.
type Replica struct {
	cluster     *Cluster
	Name        string
	Dir         string
	Port        int
	interserver int
	process     *exec.Cmd
	life        io.Closer
	up          atomic.Bool
}

// Start starts ZooKeeper and two replicas, and waits until they answer.
func Start(t testing.TB, library string) *Cluster {
	t.Helper()
	c := &Cluster{library: library}
	c.keeper = startKeeper(t)
	for i := range 2 {
		r := &Replica{cluster: c, Name: fmt.Sprintf("r%d", i+1), Dir: t.TempDir(), Port: freePort(t)}
		server := httptest.NewServer(exchange{data: filepath.Join(r.Dir, "data"), up: r.up.Load})
		t.Cleanup(server.Close)
		r.interserver = server.Listener.Addr().(*net.TCPAddr).Port
		c.Replicas = append(c.Replicas, r)
	}
	for _, r := range c.Replicas {
		r.configure(t)
		r.Start(t)
		t.Cleanup(r.Kill)
	}
	return c
}

// Hosts are the replicas' addresses, with commas between.
func (c *Cluster) Hosts() string {
	var all []string
	for _, r := range c.Replicas {
		all = append(all, r.Address())
	}
	return strings.Join(all, ",")
}

// Address is where the replica's native protocol is spoken.
func (r *Replica) Address() string { return fmt.Sprintf("127.0.0.1:%d", r.Port) }

// PID is the replica's process.
func (r *Replica) PID() int { return r.process.Process.Pid }

// Start starts the replica, and waits until it listens.
func (r *Replica) Start(t testing.TB) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r.process = exec.Command(self, ChildCommand, "-library", r.cluster.library, "-dir", r.Dir, "-interserver", fmt.Sprint(r.interserver))
	r.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said := &bytes.Buffer{}
	r.process.Stderr = said
	if r.life, err = r.process.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && said.Len() > 0 {
			t.Logf("replica %s said:\n%s", r.Name, said)
		}
	})
	r.up.Store(true)
	await(t, r.Address(), nil, func() string { return "replica " + r.Name + ": " + said.String() })
}

// Kill kills the replica without warning.
func (r *Replica) Kill() {
	if !r.up.Swap(false) {
		return
	}
	_ = r.process.Process.Kill()
	_ = r.process.Wait()
	_ = r.life.Close()
}

//go:embed config.xml.tmpl
var configText string

//go:embed users.xml.tmpl
var usersText string

func (r *Replica) configure(t testing.TB) {
	t.Helper()
	for name, text := range map[string]string{"config.xml": configText, "users.xml": usersText} {
		var b bytes.Buffer
		err := template.Must(template.New(name).Parse(text)).Execute(&b, map[string]any{
			"Dir": r.Dir, "Port": r.Port, "Replica": r.Name, "Keeper": r.cluster.keeper, "All": r.cluster.Replicas,
			"Name": Name, "User": User, "Password": Password,
		})
		if err == nil {
			err = os.WriteFile(filepath.Join(r.Dir, name), b.Bytes(), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// keeperJar is where Debian's package libzookeeper-java has it; its manifest
// names what else it needs.
const keeperJar = "/usr/share/java/zookeeper.jar"

func startKeeper(t testing.TB) (port int) {
	t.Helper()
	dir := t.TempDir()
	port = freePort(t)
	config := fmt.Sprintf("tickTime=500\ndataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxClientCnxns=0\n", dir, port)
	file := filepath.Join(dir, "zoo.cfg")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	k := exec.Command("java", "-Xmx128m", "-XX:+UseSerialGC", "-cp", keeperJar, "org.apache.zookeeper.server.quorum.QuorumPeerMain", file)
	said := &bytes.Buffer{}
	k.Stderr = said
	if err := k.Start(); err != nil {
		t.Fatalf("cannot start ZooKeeper, which `make test-cluster` installs: %v", err)
	}
	t.Cleanup(func() {
		_ = k.Process.Kill()
		_ = k.Wait()
	})
	await(t, fmt.Sprintf("127.0.0.1:%d", port), serves, func() string { return "ZooKeeper: " + said.String() })
	return port
}

// serves asks ZooKeeper whether it is more than a listener yet.
func serves(conn net.Conn) bool {
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(conn, "srvr")
	answer, _ := io.ReadAll(conn)
	return bytes.Contains(answer, []byte("Mode:"))
}

// await waits until somebody listens and, if it is given, is says yes.
func await(t testing.TB, address string, is func(net.Conn) bool, who func() string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			ok := is == nil || is(conn)
			_ = conn.Close()
			if ok {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens at %s: %s", address, who())
		}
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

var _ http.Handler = exchange{}
