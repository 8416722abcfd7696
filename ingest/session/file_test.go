package session

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/halfmask/halfmask/event"
)

// openTable opens a file in some run of the machine.
func openTable(t testing.TB, file, boot string) *Table {
	t.Helper()
	table, err := Open(file, Options{boot: boot})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	return table
}

// copied is a file as a kill would leave it now: what is in the page cache.
func copied(t testing.TB, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "visits")
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// crowded fills a table with visits that have strings of all lengths.
func crowded(t testing.TB, table *Table, kept *keeper) {
	t.Helper()
	for i := range 900 {
		e := from(view(i/30, fmt.Sprintf("/%d/%s", i%40, strings.Repeat("x", i%7*50))), fmt.Sprint("source", i%11))
		e.Visitor = event.VisitorID(1+i%300) * 0x9e3779b97f4a7c15
		if _, err := table.Apply(&e, 0, today, kept); err != nil {
			t.Fatal(err)
		}
	}
	table.Completed()
}

// goesOn expects that all of kept's visits go on in a table where they were.
func goesOn(t *testing.T, table *Table, kept *keeper) {
	t.Helper()
	last := map[event.VisitorID]event.Event{}
	for _, e := range kept.kept {
		last[e.Visitor] = e
	}
	after := &keeper{}
	for visitor, was := range last {
		e := from(view(60, "/next"), "elsewhere")
		e.Visitor = visitor
		if _, err := table.Apply(&e, 0, today, after); err != nil {
			t.Fatal(err)
		}
		e = after.kept[len(after.kept)-1]
		if e.Visit != was.Visit || e.Facts.NewVisit != 0 || e.Facts.NewVisitor != 0 || e.Facts.PreviousPath != was.Path || e.Origin != was.Origin {
			t.Fatalf("the visit does not go on:\n was %+v\n now %+v", was, e)
		}
	}
}

func TestWhatOutlivesTheProcess(t *testing.T) {
	for _, c := range []struct {
		name           string
		end            func(t *testing.T, table *Table, file string) string
		boot           string
		killed, intact bool
	}{
		{"closed", func(t *testing.T, table *Table, file string) string { return closeTable(t, table, file) }, "one", false, true},
		{"closed, machine restarted", func(t *testing.T, table *Table, file string) string { return closeTable(t, table, file) }, "two", false, true},
		{"killed", func(t *testing.T, _ *Table, file string) string { return copied(t, file) }, "one", true, true},
		{"killed, machine restarted", func(t *testing.T, _ *Table, file string) string { return copied(t, file) }, "two", false, false},
		{"closed, then damaged", func(t *testing.T, table *Table, file string) string {
			closeTable(t, table, file)
			harm(t, file, func(data []byte) []byte { data[len(data)-100] ^= 1; data[chunksAt+70] ^= 1; return data })
			return file
		}, "one", false, false},
		{"another layout", func(t *testing.T, table *Table, file string) string {
			closeTable(t, table, file)
			harm(t, file, func(data []byte) []byte { data[8]++; return data })
			return file
		}, "one", false, false},
		{"no file of ours", func(t *testing.T, table *Table, file string) string {
			closeTable(t, table, file)
			harm(t, file, func([]byte) []byte { return []byte("hello") })
			return file
		}, "one", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "visits")
			table, kept := openTable(t, file, "one"), &keeper{}
			if table.Killed() || table.Complete() {
				t.Error("a new table is complete or was left behind")
			}
			crowded(t, table, kept)
			table = openTable(t, c.end(t, table, file), c.boot)
			if table.Killed() != c.killed || table.Complete() != c.intact {
				t.Errorf("killed %v, complete %v; want %v, %v", table.Killed(), table.Complete(), c.killed, c.intact)
			}
			if n := table.Live(noon.Add(time.Minute)); c.intact != (n == 300) || !c.intact && n != 0 {
				t.Errorf("%d visits go on", n)
			}
			if c.intact {
				goesOn(t, table, kept)
			}
		})
	}
}

func closeTable(t *testing.T, table *Table, file string) string {
	t.Helper()
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	e := view(0, "/late")
	if _, err := table.Apply(&e, 0, today, &keeper{}); !errors.Is(err, errClosed) {
		t.Errorf("a closed table says %v", err)
	}
	if n := table.Live(noon); n != 0 {
		t.Errorf("a closed table counts %d visits", n)
	}
	return file
}

func harm(t testing.TB, file string, how func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, how(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What is under way when a process is killed is in the spool: with that the
// visit goes on as if nothing had happened.
func TestAKillWhileAnEventIsApplied(t *testing.T) {
	for _, c := range []struct {
		name   string
		before []event.Event
		during event.Event
	}{
		{"the first of a visit", nil, from(view(1, "/a"), "one")},
		{"one that ends the bounce", []event.Event{from(view(0, "/a"), "one")}, view(1, "/b")},
		{"an action", []event.Event{from(view(0, "/a"), "one"), view(1, "/b")}, action(2, "/b")},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "visits")
			table, kept := openTable(t, file, "one"), &keeper{}
			for _, e := range c.before {
				if _, err := table.Apply(&e, 0, today, kept); err != nil {
					t.Fatal(err)
				}
			}
			dying := &dying{keeper: kept, die: func() { file = copied(t, file) }}
			if _, err := table.Apply(&c.during, 0, today, dying); err != nil {
				t.Fatal(err)
			}
			next := view(9, "/next")
			if _, err := table.Apply(&next, 0, today, kept); err != nil {
				t.Fatal(err)
			}
			want := kept.kept[len(kept.kept)-1]
			table = openTable(t, file, "one")
			for i := range kept.kept[:len(kept.kept)-1] {
				table.Restore(&kept.kept[i], today)
			}
			again, after := view(9, "/next"), &keeper{}
			if _, err := table.Apply(&again, 0, today, after); err != nil {
				t.Fatal(err)
			}
			if got := after.kept[0]; got.Facts != want.Facts || got.Visit != want.Visit || got.Origin != want.Origin {
				t.Errorf("after the kill\n %+v, want\n %+v", got, want)
			}
		})
	}
}

// dying is killed right after an event is kept.
type dying struct {
	*keeper
	die func()
}

func (d *dying) Keep(e *event.Event) error {
	defer d.die()
	return d.keeper.Keep(e)
}

// A visit that a kill left half written is not believed.
func TestAHalfWrittenVisit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "visits")
	table, kept := openTable(t, file, "one"), &keeper{}
	crowded(t, table, kept)
	torn := kept.kept[len(kept.kept)-1]
	s := table.shard(key{1, torn.Visitor})
	i := s.locate(key{1, torn.Visitor})
	s.pool.visit(i).state = writing
	table = openTable(t, copied(t, file), "one")
	if n := table.Live(noon.Add(time.Minute)); n != 299 {
		t.Errorf("%d visits go on, want all but one of 300", n)
	}
	table.Restore(&torn, today) // it is in the spool
	kept.kept = []event.Event{torn}
	goesOn(t, table, kept)
}

// A file that lies loads without a fault and works on.
func TestLoadBelievesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "visits")
	table, kept := openTable(t, file, "one"), &keeper{}
	crowded(t, table, kept)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 30 {
		data := append([]byte(nil), whole...)
		for range 3000 {
			at := chunksAt + r.IntN(len(data)-chunksAt)/4*4
			data[at+r.IntN(2)*3] = byte(r.IntN(6))
		}
		bad := filepath.Join(t.TempDir(), "visits")
		if err := os.WriteFile(bad, data, 0o600); err != nil {
			t.Fatal(err)
		}
		table := openTable(t, bad, "one")
		if !table.Killed() {
			t.Fatal("the file was not taken over")
		}
		crowded(t, table, &keeper{})
		if n := table.Live(noon.Add(2 * time.Hour)); n != 0 {
			t.Errorf("%d visits go on two hours later", n)
		}
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Where the file cannot grow, visits are kept in memory, and the next start
// knows that the file is not all.
func TestAFileThatCannotGrow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "visits")
	table, kept := openTable(t, file, "one"), &keeper{}
	table.Completed()
	table.arena.room = table.arena.reserved
	crowded(t, table, kept)
	goesOn(t, table, kept)
	if table = openTable(t, closeTable(t, table, file), "one"); table.Complete() {
		t.Error("a file without some visits passes for complete")
	}
}

func FuzzOpen(f *testing.F) {
	file := filepath.Join(f.TempDir(), "visits")
	table, kept := openTable(f, file, "one"), &keeper{}
	e := from(view(0, "/a/"+strings.Repeat("long", 40)), "one")
	if _, err := table.Apply(&e, 0, today, kept); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(0, []byte{1})
	f.Add(chunksAt, []byte{2, 0, 0, 0, 255, 255})
	f.Add(directoryAt, []byte{9})
	f.Fuzz(func(t *testing.T, at int, bytes []byte) {
		data := append([]byte(nil), whole...)
		if at >= 0 && at < len(data) {
			copy(data[at:], bytes)
		}
		file := filepath.Join(t.TempDir(), "visits")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		table := openTable(t, file, "one")
		e := view(5, "/b")
		if _, err := table.Apply(&e, 0, today, &keeper{}); err != nil {
			t.Error(err)
		}
		table.Live(noon.Add(time.Hour))
	})
}
