// Package batch ships sealed segments to a Sink. So far it holds the shapes that
// its neighbours compile against.
package batch

import (
	"errors"
	"iter"

	"github.com/halfmask/halfmask/event"
)

// Batch is one sealed segment's events.
type Batch struct {
	Spool, Seq uint64
	Token      string // makes a repetition within one run of the server harmless
	Events     iter.Seq[*event.Event]
	Count      int
}

// BadData is what a Sink's error wraps if the same batch will never be taken.
var BadData = errors.New("the data can never be stored")
