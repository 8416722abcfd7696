// Package halfmask_test guards the walls of the house: who may import whom,
// who may handle whole addresses, and that every room says what it is. See
// docs/architecture.md.
package halfmask_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/halfmask/halfmask/"

// allowed says which of Halfmask's own packages each room may import. A room
// that is missing here is a mistake, and so is a room that is only listed.
var allowed = map[string][]string{
	"event":                {},
	"stats":                {"event"},
	"account":              {"event"},
	"collector":            {"event", "collector/consent", "collector/beacon", "collector/poll"},
	"collector/consent":    {},
	"collector/poll":       {},
	"collector/beacon":     {"event"},
	"collector/anonymize":  {"event"},
	"collector/tracker":    {"collector"},
	"ingest":               {"event", "ingest/enrich", "ingest/session", "ingest/record", "ingest/spool"},
	"ingest/enrich":        {"event"},
	"ingest/session":       {"event"},
	"ingest/record":        {"event"},
	"ingest/spool":         {},
	"ingest/ledger":        {"event"},
	"ingest/batch":         {"event", "ingest/record", "ingest/spool"},
	"storage":              {"event", "stats", "account", "ingest/batch", "collector/anonymize"},
	"storage/engine":       {},
	"dashboard":            {"event", "stats", "account", "dashboard/statsapi"},
	"dashboard/statsapi":   {"event", "stats"},
	"internal/demo":        {"collector/tracker"},
	"internal/registry":    {"event"},
	"internal/testkit":     {"storage/engine"},
	"internal/testkit/...": {"storage/engine"},
	"cmd/halfmask":         {"..."}, // the only package that knows everyone
	"e2e":                  {"..."},
	"e2e/chaos":            {"e2e", "storage/engine"}, // to look at what is stored; else it knows what people know
	"bench":                {"..."},
	"scripts":              {},
}

// restricted says which rooms may import a package of the outside world.
var restricted = []struct {
	imports string // an import path; of a module, or ending in a slash, with all below it
	rooms   []string
	why     string
}{
	{"net/netip", []string{"collector", "collector/anonymize", "cmd/halfmask", "dashboard", "bench/workload", "bench/load"},
		"only the door and anonymize handle whole addresses (and the dashboard's login throttle, in memory)"},
	{"net", []string{"collector", "collector/poll", "cmd/halfmask", "storage", "storage/engine", "scripts/geoip", "bench/load", "internal/testkit/cluster", "e2e/chaos"},
		"its types hold whole addresses too, as bytes and text: only who listens or dials needs them"},
	{"net/http", []string{"dashboard", "cmd/halfmask", "internal/demo", "e2e", "bench/load", "internal/testkit/cluster", "e2e/chaos"},
		"a request holds everything that a visitor sends, and nothing may be asked of the outside world"},
	{"github.com/ClickHouse/", []string{"storage", "storage/engine", "e2e/chaos"}, "only storage speaks ClickHouse, and the engine's keeper asks it whether it is well"},
	{"github.com/valyala/fasthttp", []string{"collector", "collector/consent", "bench/load"}, "only the door speaks fasthttp"},
	{"github.com/oschwald/", []string{"collector/anonymize", "scripts/geoip"}, "only anonymize looks addresses up"},
	{"github.com/maxmind/", []string{"scripts/geoip"}, "only the database converter writes address databases"},
	{"github.com/ebitengine/purego", []string{"storage/engine", "internal/testkit/cluster"}, "only the engine's launcher loads libraries"},
	{"unsafe", []string{"event", "collector", "collector/beacon", "collector/consent", "collector/poll", "ingest", "ingest/record", "ingest/spool", "ingest/enrich", "ingest/session", "ingest/ledger", "storage", "storage/engine", "internal/testkit/cluster"},
		"borrowed strings are made where memory is owned, nowhere else"},
}

type source struct {
	room string // folder, relative to the module
	file string
	test bool
	ast  *ast.File
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if p != "." && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(filepath.Dir(p)), p, strings.HasSuffix(name, "_test.go"), f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found only %d Go files: the walk is broken", len(all))
	}
	return all
}

// permits finds the entry of allowed for a room: its own, or that of the
// nearest folder above which ends in "/..." or is scripts or bench.
func permits(room string) ([]string, bool) {
	if list, ok := allowed[room]; ok {
		return list, true
	}
	for up := path.Dir(room); up != "."; up = path.Dir(up) {
		if list, ok := allowed[up+"/..."]; ok {
			return list, true
		}
		if up == "scripts" || up == "bench" {
			return allowed[up], true
		}
	}
	return nil, false
}

func TestWalls(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.room == "." {
			continue // tests may look into neighbouring rooms
		}
		list, ok := permits(s.room)
		if !ok {
			t.Errorf("%s: room %q is not in the plan; add it to house_test.go and docs/architecture.md", s.file, s.room)
			continue
		}
		for _, imp := range s.ast.Imports {
			p, _ := strconv.Unquote(imp.Path.Value)
			own, isOwn := strings.CutPrefix(p, module)
			if isOwn && !slices.Contains(list, "...") && !slices.Contains(list, own) {
				t.Errorf("%s: %s may not import %s", s.file, s.room, own)
			}
			for _, r := range restricted {
				below := strings.Contains(r.imports, ".") && strings.HasPrefix(p, strings.TrimSuffix(r.imports, "/")+"/")
				if (p == r.imports || below) && !slices.Contains(r.rooms, s.room) {
					t.Errorf("%s: %s may not import %s: %s", s.file, s.room, p, r.why)
				}
			}
		}
	}
}

// TestTestkitStaysInTests keeps the test tools out of the binary.
func TestTestkitStaysInTests(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.room, "internal/testkit") || s.room == "e2e" {
			continue
		}
		for _, imp := range s.ast.Imports {
			if strings.Contains(imp.Path.Value, "internal/testkit") {
				t.Errorf("%s imports the test kit", s.file)
			}
		}
	}
}

func TestEveryRoomHasADoorPlate(t *testing.T) {
	type plate struct{ file, text string }
	plates := map[string][]plate{}
	rooms := map[string]bool{}
	for _, s := range sources(t) {
		if s.test || s.room == "." {
			continue
		}
		rooms[s.room] = true
		if s.ast.Doc != nil {
			plates[s.room] = append(plates[s.room], plate{filepath.Base(s.file), s.ast.Doc.Text()})
		}
	}
	for room := range rooms {
		got := plates[room]
		if len(got) != 1 {
			t.Errorf("%s: want one package comment, found %d", room, len(got))
			continue
		}
		if len(strings.Fields(got[0].text)) < 12 {
			t.Errorf("%s: the package comment does not say what the room is", room)
		}
		if name := path.Base(room) + ".go"; got[0].file != name && got[0].file != "main.go" {
			t.Errorf("%s: the package comment belongs in %s, not in %s", room, name, got[0].file)
		}
	}
	for room := range allowed {
		if base, open := strings.CutSuffix(room, "/..."); !open && base != "scripts" && base != "bench" && base != "e2e" && !rooms[room] {
			t.Errorf("%s is in the plan but has no code", room)
		}
	}
}
