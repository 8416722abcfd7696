package main

import (
	"context"
	"log/slog"
)

// silent passes on that something happened but not what: net/http's own error
// lines contain the peer's whole address.
type silent struct{ slog.Handler }

// Handle implements slog.Handler.
func (s silent) Handle(ctx context.Context, r slog.Record) error {
	return s.Handler.Handle(ctx, slog.NewRecord(r.Time, r.Level, "an HTTP connection failed (its details hold an address and are not kept)", r.PC))
}

// WithAttrs implements slog.Handler.
func (s silent) WithAttrs([]slog.Attr) slog.Handler { return s }

// WithGroup implements slog.Handler.
func (s silent) WithGroup(string) slog.Handler { return s }
