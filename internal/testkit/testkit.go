// Package testkit is what tests share: real parts to test against. It is for
// tests only, and promises that nothing it starts outlives the test binary.
//
// A package that uses an engine hands its TestMain over:
//
//	func TestMain(m *testing.M) { testkit.Main(m) }
package testkit

import (
	"os"
	"testing"

	"github.com/halfmask/halfmask/storage/engine"
)

// hooked is whether TestMain went through Main: without it an engine's child
// would run the tests again instead of the engine.
var hooked bool

// Main runs a package's tests, or the engine when the test binary was executed
// as its child, then what is to be done afterwards, and exits.
func Main(m *testing.M, afterwards ...func()) {
	if len(os.Args) > 1 && os.Args[1] == "engine" {
		os.Exit(engine.Main(os.Args[2:]))
	}
	hooked = true
	code := m.Run()
	shared.close()
	for _, f := range afterwards {
		f()
	}
	os.Exit(code)
}
