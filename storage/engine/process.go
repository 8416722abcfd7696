package engine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
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
	lifeLine *os.File // the child ends when this is closed
	terminal *os.File // see openTerminal; nil without
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
	lifeR, lifeW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make a pipe: %w", err), portR.Close(), portW.Close())
	}
	c := &child{
		options: o, lifeLine: lifeW,
		epoch: newSecret()[:16],
		begun: time.Now(),
		port:  make(chan int, 1),
		gone:  make(chan struct{}),
	}
	c.stderr = &opening{limit: 8 << 10, first: c.hangUp}
	args := []string{"engine", "--library", o.Library, "--dir", o.Dir}
	var stdin *os.File
	if c.terminal, stdin, err = openTerminal(); err == nil {
		args = append(args, "--terminal")
	} else {
		o.Logger.Warn("no terminal device for the engine: whoever connects to it and breaks off, or fails to log in, will make it restart", "error", err)
	}
	c.cmd = exec.Command(self(), args...)
	c.cmd.Args[0] = "halfmask"
	// Nothing of our environment: it may hold secrets, and the engine reads some of it.
	c.cmd.Env = []string{childMark + "=1", "LANG=C.UTF-8", "TZ=UTC", "GOTRACEBACK=none", "GOMAXPROCS=1", "CLICKHOUSE_HISTORY_FILE=/dev/null"}
	c.cmd.Dir = o.Dir
	if stdin != nil {
		c.cmd.Stdin = stdin
	}
	c.cmd.ExtraFiles = []*os.File{portFD - 3: portW, lifeFD - 3: lifeR}
	c.cmd.SysProcAttr = processAttributes()
	c.cmd.Stderr = c.stderr
	c.cmd.WaitDelay = time.Second
	err = c.cmd.Start()
	closeAll(portW, lifeR, stdin) // the child has its own
	if err != nil {
		closeAll(portR, lifeW, c.terminal)
		return nil, fmt.Errorf("cannot execute %s: %w", c.cmd.Path, err)
	}
	go c.readPort(portR)
	go func() {
		_ = c.cmd.Wait() // the exit is judged from ProcessState
		closeAll(lifeW, c.terminal)
		close(c.gone)
	}()
	return c, nil
}

// closeAll closes files that may be nil or closed already.
func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
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

// endLife closes the child's life-line, which it takes as the order to end.
func (c *child) endLife() { closeAll(c.lifeLine, c.terminal) }

// hangUp takes the child's terminal away: a boot script that failed would
// otherwise end in a prompt that waits for somebody to type.
func (c *child) hangUp() { closeAll(c.terminal) }

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
	case "62": // SYNTAX_ERROR
		return fmt.Errorf("the engine's data in %s are damaged; move the folder aside and restore a backup: %s", c.options.Dir, words)
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
	first func() // called at the first word
}

func (t *opening) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.buf.Len() == 0 {
		t.first()
	}
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
