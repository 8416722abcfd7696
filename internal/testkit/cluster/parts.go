package cluster

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-faster/city"
)

// exchange stands in for the port on which a replica gives its parts to others:
// it sends a part's files as they lie on the disk, in the fourth version of the
// protocol (see ClickHouse's DataPartsExchange).
type exchange struct {
	data string // the replica's folder
	up   func() bool
}

func (x exchange) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !x.up() {
		panic(http.ErrAbortHandler) // as a killed replica answers
	}
	// DataPartsExchange:/clickhouse/tables/SHARD/DATABASE/TABLE/replicas/REPLICA
	path := strings.Split(r.FormValue("endpoint"), "/")
	part := r.FormValue("part")
	if len(path) < 6 || strings.Contains(part, "/") {
		http.Error(w, "no such endpoint", http.StatusNotFound)
		return
	}
	body, err := packPart(filepath.Join(x.data, "data", path[4], path[5], part))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: "server_protocol_version", Value: "4"})
	_, _ = w.Write(body)
}

func packPart(dir string) ([]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files bytes.Buffer
	var count, size uint64
	kind, ttl := "Compact", "ttl format version: 1\n{}"
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		switch e.Name() {
		case "txn_version.txt":
			continue
		case "ttl.txt":
			ttl = string(content)
		case "ts.bin":
			kind = "Wide"
		}
		count, size = count+1, size+uint64(len(content))
		text(&files, e.Name())
		number(&files, uint64(len(content)))
		files.Write(content)
		hash := hashFile(content)
		number(&files, hash.Low)
		number(&files, hash.High)
	}
	var body bytes.Buffer
	number(&body, size)
	text(&body, ttl)
	text(&body, kind)
	number(&body, count)
	body.Write(files.Bytes())
	return body.Bytes(), nil
}

func number(b *bytes.Buffer, n uint64) { b.Write(binary.LittleEndian.AppendUint64(nil, n)) }

func text(b *bytes.Buffer, s string) {
	b.Write(binary.AppendUvarint(nil, uint64(len(s))))
	b.WriteString(s)
}

// hashFile hashes a file as ClickHouse does: in blocks, each seeded with the one
// before.
func hashFile(content []byte) (state city.U128) {
	const block = 2048
	for len(content) > 0 {
		n := min(block, len(content))
		state = city.CH128Seed(content[:n], state)
		content = content[n:]
	}
	return state
}
