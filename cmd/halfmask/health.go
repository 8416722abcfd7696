package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// healthCommand asks a running server whether it accepts events: what a
// container's health check calls, because an image without a shell has no curl.
type healthCommand struct {
	OpsListen string `help:"Address of the operations listener to ask." default:"127.0.0.1:8082" placeholder:"ADDR"`
}

// Run succeeds if the server answers that it is ready.
func (c *healthCommand) Run(ctx context.Context, s *streams) error {
	host, port, err := net.SplitHostPort(c.OpsListen)
	if err != nil {
		return fmt.Errorf("--ops-listen %q is not an address: want HOST:PORT or :PORT", c.OpsListen)
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("cannot reach the server: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New("the server is not ready")
	}
	fmt.Fprintln(s.out, "ready")
	return nil
}
