package dashboard

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed all:dist
var built embed.FS

// dist is what web/ is built into.
func dist() fs.FS {
	sub, err := fs.Sub(built, "dist")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return sub
}

// asset is a built file, ready to be sent.
type asset struct {
	contentType string
	plain       []byte
	zipped      []byte // nil if it is no smaller
	hashed      bool   // its name changes with its content
}

// contentTypes names the kinds of files that are served; package mime would
// ask the machine.
var contentTypes = map[string]string{
	".js":  "text/javascript; charset=utf-8",
	".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml",
	".txt": "text/plain; charset=utf-8",
}

// assets are the built files by name.
type assets struct {
	files    map[string]asset
	manifest map[string]string // "app.js" -> "app-HASH.js"
}

// readAssets reads the built front end. Before the first build there is
// none, and no manifest.
func readAssets(fsys fs.FS) assets {
	a := assets{files: make(map[string]asset), manifest: make(map[string]string)}
	manifest, err := fs.ReadFile(fsys, "manifest.json")
	if err != nil || json.Unmarshal(manifest, &a.manifest) != nil {
		return a
	}
	hashed := make(map[string]bool)
	for _, name := range a.manifest {
		hashed[name] = true
	}
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return a
	}
	for _, entry := range entries {
		name := entry.Name()
		contentType := contentTypes[path.Ext(name)]
		content, err := fs.ReadFile(fsys, name)
		if err != nil || contentType == "" {
			continue
		}
		a.files[name] = asset{contentType, content, zip(content), hashed[name]}
	}
	return a
}

func zip(content []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is valid
	_, _ = w.Write(content)                                 // into memory
	_ = w.Close()
	if out.Len() >= len(content) {
		return nil
	}
	return out.Bytes()
}

// url returns where a file of the manifest is served; "" if there is none.
func (a assets) url(name string) string {
	if hashed, ok := a.manifest[name]; ok {
		name = hashed
	}
	if _, ok := a.files[name]; !ok {
		return ""
	}
	return "/assets/" + name
}

// asset answers GET /assets/{name}.
func (d *Dashboard) asset(w http.ResponseWriter, r *http.Request) {
	file, ok := d.pages.assets.files[r.PathValue("name")]
	if !ok {
		d.noSuchPage(w, r)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=3600")
	if file.hashed {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("Vary", "Accept-Encoding")
	content := file.plain
	if file.zipped != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		content = file.zipped
	}
	writeBody(w, http.StatusOK, file.contentType, content)
}
