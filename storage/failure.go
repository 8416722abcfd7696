package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
)

// Class says what kind of thing went wrong. It is a metric label.
type Class string

// The classes.
const (
	Network   Class = "network"   // the connection could not be made, or broke
	Timeout   Class = "timeout"   // ClickHouse took longer than it may
	Cancelled Class = "cancelled" // the caller left
	Memory    Class = "memory"    // ClickHouse refused to use more memory
	Disk      Class = "disk"      // no space left
	Busy      Class = "busy"      // too many parts or statements; later it will work
	Access    Class = "access"    // wrong password, missing grant
	Schema    Class = "schema"    // a table, column or database is not there
	Data      Class = "data"      // a value that ClickHouse will never take
	Keeper    Class = "keeper"    // a cluster's replicas cannot agree at present
	Other     Class = "other"
)

var classes = []Class{Network, Timeout, Cancelled, Memory, Disk, Busy, Access, Schema, Data, Keeper, Other}

// Failure is what went wrong at ClickHouse or on the way there. The server's
// own words can quote rows and parameters, so they are not kept: what is left
// is a class, the number of ClickHouse's error and a hint.
type Failure struct {
	Class Class
	Code  int32 // ClickHouse's error number, 0 if it did not answer
	hint  string
}

// Error implements error.
func (f *Failure) Error() string {
	switch {
	case f.Code == 0:
		return f.hint
	case f.hint == "":
		return fmt.Sprintf("ClickHouse error %d (%s)", f.Code, f.Class)
	}
	return fmt.Sprintf("ClickHouse error %d: %s", f.Code, f.hint)
}

// Is makes the end of the caller's own context recognisable.
func (f *Failure) Is(target error) bool {
	return f.Code == 0 &&
		(f.Class == Cancelled && target == context.Canceled || f.Class == Timeout && target == context.DeadlineExceeded)
}

// codes explains the errors that an operator can meet, by the numbers of
// ClickHouse's src/Common/ErrorCodes.cpp.
var codes = map[int32]struct {
	class Class
	hint  string
}{
	10:  {Schema, "a column is missing: run the migrations"},
	16:  {Schema, "a column is missing: run the migrations"},
	47:  {Schema, "a column is missing: run the migrations"},
	60:  {Schema, "a table is missing: run the migrations"},
	81:  {Schema, "the database does not exist: run the migrations"},
	53:  {Data, "a value has the wrong type"},
	69:  {Data, "a value is out of range"},
	70:  {Data, "a value cannot be converted"},
	117: {Data, "a block was malformed"},
	131: {Data, "a text is too long"},
	321: {Data, "a value is out of range"},
	469: {Data, "a constraint of the table is violated"},
	691: {Data, "an enumeration has no such value"},
	427: {Data, "a regular expression is not valid"},
	457: {Data, "a parameter is not valid"},
	158: {Memory, "too many rows to read: ask for a shorter time"},
	159: {Timeout, "it took too long: ask for a shorter time"},
	160: {Timeout, "it would take too long: ask for a shorter time"},
	209: {Timeout, "the connection timed out"},
	241: {Memory, "it needs more memory than it may use: ask for a shorter time, or raise the server's limit"},
	396: {Memory, "the answer has too many rows: use a limit"},
	394: {Cancelled, "the statement was stopped"},
	202: {Busy, "too many statements at once: try again"},
	252: {Busy, "too many parts: ClickHouse merges more slowly than data arrives"},
	243: {Disk, "no space left on the server's disk"},
	164: {Access, "the user may only read"},
	192: {Access, "there is no such user"},
	193: {Access, "the password is wrong"},
	497: {Access, "the user lacks a grant"},
	516: {Access, "user or password is wrong"},
	225: {Keeper, "the server has no Keeper or ZooKeeper, which a cluster needs"},
	242: {Keeper, "the replica can only be read: it has lost its Keeper"},
	253: {Schema, "a replica of that name exists: give each server a {replica} macro of its own"},
	285: {Keeper, "too few replicas are up to keep the batch as often as it must be: bring them back"},
	286: {Keeper, "the replicas have not confirmed an earlier batch yet"},
	319: {Keeper, "the replicas have not confirmed the batch in time"},
	999: {Keeper, "Keeper failed"},
	746: {Busy, "the user has too many sessions"},
}

// classify turns any error of the driver into a *Failure without its words.
// nil stays nil.
func classify(err error) *Failure {
	if err == nil {
		return nil
	}
	var f *Failure
	var exception *clickhouse.Exception
	var columnError *column.Error
	var converter *column.ColumnConverterError
	var dial *net.OpError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &exception):
		known, ok := codes[exception.Code]
		if !ok {
			return &Failure{Class: Other, Code: exception.Code}
		}
		return &Failure{Class: known.class, Code: exception.Code, hint: known.hint}
	case errors.Is(err, context.Canceled):
		return &Failure{Class: Cancelled, hint: context.Canceled.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return &Failure{Class: Timeout, hint: context.DeadlineExceeded.Error()}
	case errors.Is(err, clickhouse.ErrAcquireConnTimeout):
		return &Failure{Class: Busy, hint: "every connection to ClickHouse is in use"}
	case errors.Is(err, clickhouse.ErrConnectionClosed):
		return &Failure{Class: Network, hint: "the store is closed"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &Failure{Class: Timeout, hint: "ClickHouse did not answer in time"}
	case errors.As(err, &columnError), errors.As(err, &converter), errors.Is(err, clickhouse.ErrBatchInvalid):
		return &Failure{Class: Data, hint: "a value does not fit its column"}
	case errors.As(err, &dial):
		// It names the server's address and the system's reason, nothing else.
		return &Failure{Class: Network, hint: dial.Error()}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return &Failure{Class: Network, hint: "ClickHouse closed the connection"}
	}
	// Whatever else the driver says without having heard from the server.
	return &Failure{Class: Network, hint: "the connection to ClickHouse failed"}
}
