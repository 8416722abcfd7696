package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// howToGet ends every error about a missing library.
const howToGet = "run `make engine` to fetch it, or give --engine PATH (a libchdb.so or a clickhouse binary)"

// Find returns the engine's library: the one named explicitly if that is not
// empty, else the first that exists of those beside the program, installed with
// it, fetched by `make engine`, or installed for the system. exeDir is the folder
// of the running program.
func Find(explicit, exeDir string) (string, error) {
	if explicit != "" {
		return checkLibrary(explicit)
	}
	places := []string{
		filepath.Join(exeDir, "libchdb.so"),
		filepath.Join(exeDir, "..", "lib", "halfmask", "libchdb.so"),
		filepath.Join(exeDir, "..", Cached()),
		filepath.Join("/usr/lib/halfmask", "libchdb.so"),
	}
	for _, p := range places {
		if library, err := checkLibrary(p); err == nil {
			return library, nil
		}
	}
	return "", fmt.Errorf("cannot find the ClickHouse engine in any of %s: %s", strings.Join(places, ", "), howToGet)
}

// Cached is where `make engine` puts the library, relative to the top of the
// source tree.
func Cached() string {
	cpu := map[string]string{"amd64": "x64"}[runtime.GOARCH]
	if cpu == "" {
		cpu = runtime.GOARCH
	}
	return filepath.Join(".cache", "engine", "node_modules", "@chdb", "lib-linux-"+cpu+"-gnu", "libchdb.so")
}

// checkLibrary returns path made absolute if a file is there.
func checkLibrary(path string) (string, error) {
	if path == "" {
		return "", errors.New("no ClickHouse engine given: " + howToGet)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("cannot find the ClickHouse engine: %w", err)
	}
	info, err := os.Stat(abs)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("the ClickHouse engine is not at %s: %s", abs, howToGet)
	case err != nil:
		return "", fmt.Errorf("cannot look at the ClickHouse engine: %w", err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a file: %s", abs, howToGet)
	}
	return abs, nil
}
