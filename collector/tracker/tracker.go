// Package tracker holds the script that sites embed, ready to be served: its
// TypeScript source is in src, what `make build` makes of it is in dist and
// ends up in the binary. It knows what the script is called, how long it may
// be cached and which line a site pastes; it serves nothing itself and never
// sees a visitor.
package tracker

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"strings"

	"github.com/halfmask/halfmask/collector"
)

// ScriptPath is where the collector serves the script.
const ScriptPath = "/js/hm.js"

//go:embed dist
var dist embed.FS

// Assets returns what the collector serves beside its endpoints, by path. It
// fails if the script was not built.
func Assets() (map[string]collector.Asset, error) { return assets(dist) }

func assets(files fs.FS) (map[string]collector.Asset, error) {
	script, err := fs.ReadFile(files, "dist/hm.js")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("cannot serve the tracker script: it was not built into this binary; run `make build`")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the tracker script: %w", err)
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("cannot compress the tracker script: %w", err)
	}
	if _, err := w.Write(script); err != nil {
		return nil, fmt.Errorf("cannot compress the tracker script: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("cannot compress the tracker script: %w", err)
	}
	sum := sha256.Sum256(script)
	return map[string]collector.Asset{ScriptPath: {
		ContentType: "text/javascript; charset=utf-8",
		// An upgrade reaches every page within the hour, and no page waits for it.
		CacheControl: "public, max-age=3600, stale-while-revalidate=86400",
		ETag:         `W/"` + hex.EncodeToString(sum[:8]) + `"`,
		Body:         script,
		Gzip:         packed.Bytes(),
	}}, nil
}

// Snippet returns the line that the site domain pastes into its pages, for a
// collector that browsers reach at publicURL.
func Snippet(publicURL, domain string) string {
	return fmt.Sprintf(`<script defer src="%s" data-site="%s"></script>`,
		html.EscapeString(strings.TrimRight(publicURL, "/")+ScriptPath), html.EscapeString(domain))
}
