package event

import (
	"fmt"
	"log/slog"
)

// UserAgent is a browser's raw user agent on its way to the room that turns
// it into a Client. Printing, logging or encoding it shows a placeholder, so
// that it cannot slip into a log by accident. It borrows memory as Hit does.
type UserAgent string

const redacted = "[user agent]"

// Format implements fmt.Formatter: every verb prints a placeholder.
func (UserAgent) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer with a placeholder.
func (UserAgent) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler with a placeholder.
func (UserAgent) MarshalText() ([]byte, error) { return []byte(redacted), nil }
