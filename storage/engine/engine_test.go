package engine_test

import (
	"testing"

	"github.com/halfmask/halfmask/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestX(t *testing.T) {
	e := testkit.Engine(t)
	t.Log(e.PID(), e.Epoch())
}
func TestY(t *testing.T) {
	d := t.TempDir()
	e := testkit.NewEngine(t, d)
	t.Log(e.PID(), e.Epoch())
}
