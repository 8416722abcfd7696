package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/halfmask/halfmask/internal/testkit"
	"github.com/halfmask/halfmask/storage/engine"
)

// built holds the binaries of this test run, by whether they look for races.
var built = map[bool]func() (string, error){
	false: sync.OnceValues(func() (string, error) { return build(false) }),
	true:  sync.OnceValues(func() (string, error) { return build(true) }),
}

var (
	folderOnce sync.Once
	folder     string
)

// Main runs a package's tests and removes what Binary built; or the engine, when
// the test binary was executed as the child of one that a test started. It is
// for TestMain.
func Main(m *testing.M) {
	testkit.Main(m, func() {
		if folder == "" {
			return
		}
		if err := os.RemoveAll(folder); err != nil {
			fmt.Fprintln(os.Stderr, "cannot remove the binaries:", err)
		}
	})
}

// Binary builds halfmask, once per test run, and returns its path.
// HALFMASK_BINARY names one to use instead.
func Binary(t testing.TB, race bool) string {
	t.Helper()
	path, err := built[race]()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func build(race bool) (string, error) {
	if path := os.Getenv("HALFMASK_BINARY"); path != "" && !race {
		return filepath.Abs(path)
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	folderOnce.Do(func() { folder, err = os.MkdirTemp("", "halfmask-e2e-") })
	if err != nil {
		return "", fmt.Errorf("cannot make a folder for the binary: %w", err)
	}
	path := filepath.Join(folder, "halfmask")
	args := []string{"build", "-trimpath"}
	environment := append(os.Environ(), "CGO_ENABLED=0")
	if race {
		path += "-race"
		args = append(args, "-race")
		environment = append(os.Environ(), "CGO_ENABLED=1")
	}
	c := exec.Command("go", append(args, "-o", path, "./cmd/halfmask")...)
	c.Dir, c.Env = root, environment
	if output, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build halfmask: %w\n%s", err, output)
	}
	return path, nil
}

// surroundings is the environment that makes a binary in a temporary folder
// find what `make engine` and `make geoip` fetched.
func surroundings(t testing.TB) []string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	library, err := engine.Find(os.Getenv("HALFMASK_ENGINE"), filepath.Join(root, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	environment := []string{"HALFMASK_ENGINE=" + library}
	places := filepath.Join(root, ".cache", "geoip", "country.mmdb")
	if _, err := os.Stat(places); err == nil && os.Getenv("HALFMASK_GEOIP") == "" {
		environment = append(environment, "HALFMASK_GEOIP="+places)
	}
	return environment
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("cannot tell the working folder: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the working folder: run the tests inside the repository")
		}
		dir = up
	}
}
