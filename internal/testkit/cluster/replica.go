package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/ebitengine/purego"
	"golang.org/x/sys/unix"
)

// ChildCommand is the first argument of a test binary that is to be a replica.
const ChildCommand = "replica"

// The engine as a library knows replicated tables but not where other replicas
// reach it and how, because it opens no port for them: it would keep such tables
// read-only. So the three routines that tell are replaced, in the memory of the
// child. They are found by their distance from an exported one, and known by
// their first bytes: with another build of the engine they have to be looked up
// again, near the text "Parameter 'interserver_http(s)_port' required".
const exported = 0xf211700 // chdb_query_cmdline

type routine struct {
	at    uintptr // as in the file
	bytes []byte  // how it begins
	code  []byte  // what it becomes
}

func routines(port uint16, noCredentials uintptr) []routine {
	return []routine{
		{0x1417c9c0, []byte{0x41, 0x56, 0x53, 0x48, 0x83, 0xec, 0x48, 0x4c, 0x8b, 0x36}, address(port)},
		{0x1417c940, []byte{0x41, 0x57, 0x41, 0x56, 0x53, 0x4c, 0x8b, 0x3f, 0x49, 0x8d}, credentials(noCredentials)},
		{0x1417cac0, []byte{0x48, 0x8b, 0x06, 0x80, 0xb8, 0x87, 0x01, 0x00, 0x00, 0x00}, scheme()},
	}
}

// The next two return what they make at the place that rdi names. A short string of the
// C++ library's lies in place, its length in the last of its 24 bytes.

func address(port uint16) []byte {
	code := []byte{0x48, 0xb8}
	code = append(code, "127.0.0."...)
	code = append(code, 0x48, 0x89, 0x07, 0x48, 0xc7, 0x47, 0x08, '1', 0, 0, 0, 0x48, 0xb8)
	code = binary.LittleEndian.AppendUint64(code, uint64(len("127.0.0.1"))<<56)
	code = append(code, 0x48, 0x89, 0x47, 0x10, 0x66, 0xc7, 0x47, 0x18)
	code = binary.LittleEndian.AppendUint16(code, port)
	return append(code, 0x48, 0x89, 0xf8, 0xc3)
}

func scheme() []byte {
	code := []byte{0x48, 0xc7, 0x07, 'h', 't', 't', 'p', 0x48, 0xc7, 0x47, 0x08, 0, 0, 0, 0, 0x48, 0xb8}
	code = binary.LittleEndian.AppendUint64(code, uint64(len("http"))<<56)
	return append(code, 0x48, 0x89, 0x47, 0x10, 0x48, 0x89, 0xf8, 0xc3)
}

// credentials are a shared pointer that nobody counts, in two registers.
func credentials(none uintptr) []byte {
	code := binary.LittleEndian.AppendUint64([]byte{0x48, 0xb8}, uint64(none))
	return append(code, 0x31, 0xd2, 0xc3)
}

// Main is the child's side: it runs the engine until standard input ends.
func Main(args []string) int {
	if err := run(args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func run(args []string) error {
	flags := flag.NewFlagSet(ChildCommand, flag.ContinueOnError)
	library := flags.String("library", "", "")
	dir := flags.String("dir", "", "")
	port := flags.Uint("interserver", 0, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	runtime.LockOSThread()
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	handle, err := purego.Dlopen(*library, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return err
	}
	query, err := purego.Dlsym(handle, "chdb_query_cmdline")
	if err != nil {
		return err
	}
	nothing, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	for _, r := range routines(uint16(*port), uintptr(unsafe.Pointer(&nothing[0]))) {
		if err := replace(query-exported+r.at, r.bytes, r.code); err != nil {
			return err
		}
	}
	boot := "CREATE DATABASE IF NOT EXISTS halfmask; SYSTEM START LISTEN TCP;" +
		"SELECT count() FROM file('/dev/stdin', 'LineAsString', 'line String') FORMAT Null"
	var pins runtime.Pinner
	defer pins.Unpin()
	argv := make([]*byte, 4)
	for i, a := range []string{"clickhouse", "--config-file=" + filepath.Join(*dir, "config.xml"), "--query=" + boot} {
		if argv[i], err = unix.BytePtrFromString(a); err != nil {
			return err
		}
		pins.Pin(argv[i])
	}
	pins.Pin(&argv[0])
	purego.SyscallN(query, 3, uintptr(unsafe.Pointer(&argv[0])))
	return nil
}

// replace puts code in the place of a routine that begins with known bytes.
func replace(at uintptr, known, code []byte) error {
	page := uintptr(os.Getpagesize())
	start := at &^ (page - 1)
	if !mapped(start) {
		return errors.New("the engine is another build than this rig knows")
	}
	//nolint:govet // the memory of a C library, which never moves
	routine := unsafe.Slice(*(**byte)(unsafe.Pointer(&at)), len(code))
	if !bytes.HasPrefix(routine, known) {
		return errors.New("the engine is another build than this rig knows")
	}
	pages := unsafe.Slice(*(**byte)(unsafe.Pointer(&start)), 2*page)
	if err := unix.Mprotect(pages, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC); err != nil {
		return err
	}
	copy(routine, code)
	return unix.Mprotect(pages, unix.PROT_READ|unix.PROT_EXEC)
}

// mapped reports whether a page is there at all.
func mapped(page uintptr) bool {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return false
	}
	for line := range bytes.Lines(maps) {
		var from, to uintptr
		if _, err := fmt.Sscanf(string(line), "%x-%x", &from, &to); err == nil && from <= page && page < to {
			return true
		}
	}
	return false
}
