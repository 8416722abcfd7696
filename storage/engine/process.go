package engine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// startTimeout bounds the first question to a child that already listens.
const startTimeout = 30 * time.Second

// child is one run of the engine's process.
type child struct {
	options  Options
	cmd      *exec.Cmd
	lifeLine io.Closer
	stderr   *opening
	epoch    string
	begun    time.Time
	port     chan int      // gets the port once; closed when the child's end of the pipe is
	gone     chan struct{} // closed when the process has been waited for

	address string    // set before it is shared
	ready   time.Time // set before it is shared
}

// startChild executes this program again as the engine. It must be called from a
// thread that outlives the child.
func startChild(o Options) (*child, error) {
	portR, portW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer portW.Close()
	args := []string{"engine", "--library", o.Library, "--dir", o.Dir}
	cmd := exec.Command(self(), args...)
	cmd.Args[0] = "halfmask"
	// Nothing of our environment: it may hold secrets, and the engine reads some of it.
	cmd.Env = []string{childMark + "=1", "LANG=C.UTF-8", "TZ=UTC", "GOTRACEBACK=none", "GOMAXPROCS=1"}
	cmd.Dir = o.Dir
	cmd.ExtraFiles = []*os.File{portW} // becomes portFD
	cmd.SysProcAttr = processAttributes()
	stderr := &opening{limit: 8 << 10}
	cmd.Stderr = stderr
	cmd.WaitDelay = time.Second
	lifeLine, err := cmd.StdinPipe()
	if err != nil {
		portR.Close()
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	c := &child{
		options: o, cmd: cmd, lifeLine: lifeLine, stderr: stderr,
		epoch: newSecret()[:16],
		begun: time.Now(),
		port:  make(chan int, 1),
		gone:  make(chan struct{}),
	}
	if err := cmd.Start(); err != nil {
		portR.Close()
		return nil, fmt.Errorf("cannot execute %s: %w", cmd.Path, err)
	}
	go c.readPort(portR)
	go func() {
		_ = cmd.Wait() // the exit is judged from ProcessState
		close(c.gone)
	}()
	return c, nil
}

func (c *child) readPort(r *os.File) {
	defer close(c.port)
	defer r.Close()
	line, err := bufio.NewReaderSize(r, 16).ReadString('\n')
	if err != nil {
		return
	}
	if p, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && p > 0 && p < 1<<16 {
		c.port <- p
	}
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// endLife closes the child's standard input, which it takes as the order to end.
func (c *child) endLife() { _ = c.lifeLine.Close() }

// kill ends the child and whatever it may have started. It does not wait.
func (c *child) kill() {
	select {
	case <-c.gone: // its number may be somebody else's by now
	default:
		killGroup(c.pid())
	}
}

// describeExit tells how the process ended, without its own words: after the start
// they may quote data.
func (c *child) describeExit() string {
	s := c.cmd.ProcessState.String()
	if code := c.stderr.code(); code != "" {
		s += ", engine error " + code
	}
	return s
}

// startError tells why the child ended before it was ready. Nothing was inserted
// yet, so the engine's own words hold no visitor's data.
func (c *child) startError() error {
	code, words := c.stderr.code(), c.stderr.firstLine()
	switch code {
	case "76": // CANNOT_OPEN_FILE
		if strings.Contains(words, "Cannot lock file") {
			return fmt.Errorf("%w %s: stop that process, or give this one a folder of its own", ErrLocked, c.options.Dir)
		}
	case "210": // NETWORK_ERROR
		return fmt.Errorf("the engine cannot listen on 127.0.0.1: %s", words)
	case "243": // NOT_ENOUGH_SPACE
		return fmt.Errorf("no space left for the engine in %s: %s", c.options.Dir, words)
	}
	if words == "" {
		return fmt.Errorf("the engine ended at its start (%s) without a word", c.cmd.ProcessState)
	}
	return fmt.Errorf("the engine ended at its start (%s): %s", c.cmd.ProcessState, words)
}

// query runs one statement as user over a connection of its own. After timeout
// the connection is cut: the statement is never cancelled by the driver, which
// would bring the engine down if it were an INSERT.
func (c *child) query(user Credentials, timeout time.Duration, sql string) error {
	var d net.Dialer
	d.Timeout = timeout
	raw, err := d.Dial("tcp4", c.address)
	if err != nil {
		return fmt.Errorf("cannot connect to the engine: %w", err)
	}
	cut := time.AfterFunc(timeout, func() { _ = raw.Close() })
	defer cut.Stop()
	conn, err := clickhouse.Open(&clickhouse.Options{
		Addr:         []string{c.address},
		Auth:         clickhouse.Auth{Username: user.User, Password: user.Password},
		DialContext:  func(context.Context, string) (net.Conn, error) { return raw, nil },
		ReadTimeout:  timeout,
		MaxOpenConns: 1,
	})
	if err != nil {
		_ = raw.Close()
		return fmt.Errorf("cannot log in to the engine: %w", err)
	}
	defer conn.Close()
	if err := conn.Exec(context.Background(), sql); err != nil {
		return fmt.Errorf("cannot query the engine: %w", err)
	}
	return nil
}

// isAnswer reports whether err is the engine's own word, not the lack of one.
func isAnswer(err error) bool {
	var exception *clickhouse.Exception
	return err == nil || errors.As(err, &exception)
}

// opening keeps the beginning of what the engine says and drops the rest: its
// first words tell why it ends.
type opening struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	limit int
}

func (t *opening) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p[:min(len(p), t.limit-t.buf.Len())])
	return len(p), nil
}

var codePattern = regexp.MustCompile(`(?m)^Code: (\d+)\.`)

func (t *opening) code() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := codePattern.FindSubmatch(t.buf.Bytes()); m != nil {
		return string(m[1])
	}
	return ""
}

func (t *opening) firstLine() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	line, _, _ := strings.Cut(strings.TrimSpace(t.buf.String()), "\n")
	if len(line) > 400 {
		line = line[:400] + " ..."
	}
	return line
}
