package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"
)

// A running server owns the data folder. Commands that people type reach it
// through a socket in that folder, which only the folder's owner can open;
// without a server they take the folder's lock and do the same work
// themselves. Either way it is the same operations table that runs.

// operation does one administrative thing: JSON in, a value to encode out.
type operation func(ctx context.Context, args json.RawMessage) (any, error)

// handle makes an operation of a function with typed arguments.
func handle[A, R any](f func(context.Context, A) (R, error)) operation {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var args A
		if err := json.Unmarshal(raw, &args); err != nil {
			return nil, fmt.Errorf("cannot read the arguments: %w", err)
		}
		return f(ctx, args)
	}
}

const (
	socketName      = "control.sock"
	lockName        = "lock"
	maxControlBytes = 1 << 20
)

// errBusy means that another process holds the data folder.
var errBusy = errors.New("another halfmask holds the data folder")

// lock takes the data folder for this process, until release is called.
func (p *place) lock() (release func(), err error) {
	if err := p.own(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(p.path(lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the data folder's lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", errBusy, p.Data)
		}
		return nil, fmt.Errorf("cannot lock the data folder: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

// socket opens the folder so that its socket has a short name: the path of a
// Unix socket may not exceed 107 bytes, a data folder's may.
func (p *place) socket() (name string, closeDir func(), err error) {
	dir, err := os.Open(p.Data)
	if err != nil {
		return "", nil, err
	}
	return "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + socketName, func() { _ = dir.Close() }, nil
}

// control serves operations on the data folder's socket until its close
// function is called.
func (p *place) control(ops map[string]operation, log *slog.Logger) (closeControl func(), err error) {
	name, closeDir, err := p.socket()
	if err != nil {
		return nil, err
	}
	_ = os.Remove(p.path(socketName)) // of a killed predecessor: we hold the lock
	l, err := net.Listen("unix", name)
	if err != nil {
		closeDir()
		return nil, fmt.Errorf("cannot listen for commands: %w", err)
	}
	if err := os.Chmod(p.path(socketName), 0o600); err != nil {
		closeDir()
		return nil, errors.Join(err, l.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{operation}", func(w http.ResponseWriter, r *http.Request) {
		op, ok := ops[r.PathValue("operation")]
		if !ok {
			reply(w, nil, fmt.Errorf("the running server does not know %q: is it an older version?", r.PathValue("operation")))
			return
		}
		raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControlBytes))
		if err != nil {
			reply(w, nil, err)
			return
		}
		result, err := op(r.Context(), raw)
		reply(w, result, err)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // returns when closed
	}()
	return func() {
		_ = server.Close()
		<-done
		_ = os.Remove(p.path(socketName))
		closeDir()
	}, nil
}

type controlReply struct {
	Error  string          `json:"error,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

func reply(w http.ResponseWriter, result any, err error) {
	var answer controlReply
	if err == nil {
		answer.Result, err = json.Marshal(result)
	}
	if err != nil {
		answer.Error = err.Error()
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the other end may be gone
}

// caller runs operations by name, here or in the running server.
type caller func(ctx context.Context, operation string, args any) (json.RawMessage, error)

// remote returns a caller for the server that runs on this data folder, or
// false if none answers.
func (p *place) remote() (caller, bool) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		name, closeDir, err := p.socket()
		if err != nil {
			return nil, err
		}
		defer closeDir()
		return (&net.Dialer{}).DialContext(ctx, "unix", name)
	}
	probe, err := dial(context.Background(), "", "")
	if err != nil {
		return nil, false
	}
	_ = probe.Close()
	client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	return func(ctx context.Context, operation string, args any) (json.RawMessage, error) {
		body, writer := io.Pipe()
		go func() { _ = writer.CloseWithError(json.NewEncoder(writer).Encode(args)) }()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control/"+operation, body)
		if err != nil {
			return nil, err
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, fmt.Errorf("cannot reach the running server: %w", err)
		}
		defer response.Body.Close()
		var answer controlReply
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
			return nil, fmt.Errorf("cannot understand the running server: %w", err)
		}
		if answer.Error != "" {
			return nil, errors.New(answer.Error)
		}
		return answer.Result, nil
	}, true
}

// local returns a caller that runs operations in this process.
func local(ops map[string]operation) caller {
	return func(ctx context.Context, name string, args any) (json.RawMessage, error) {
		raw, err := json.Marshal(args)
		if err != nil {
			return nil, err
		}
		result, err := ops[name](ctx, raw)
		if err != nil {
			return nil, err
		}
		return json.Marshal(result)
	}
}
