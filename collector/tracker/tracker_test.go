package tracker

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"
	"testing/fstest"
)

func TestAssetsHoldsTheBuiltScript(t *testing.T) {
	all, err := Assets()
	if err != nil {
		t.Fatal(err)
	}
	script, ok := all[ScriptPath]
	if !ok || len(all) != 1 {
		t.Fatalf("want %s alone, got %d assets", ScriptPath, len(all))
	}
	if !strings.HasPrefix(script.ContentType, "text/javascript") {
		t.Errorf("content type %q: browsers refuse a script with nosniff and another type", script.ContentType)
	}
	if !strings.HasPrefix(script.ETag, `W/"`) {
		t.Errorf("ETag %s is strong, but stands for two encodings", script.ETag)
	}
	if len(script.Gzip) > 1024 {
		t.Errorf("the script has %d bytes gzipped, more than 1024", len(script.Gzip))
	}
	r, err := gzip.NewReader(bytes.NewReader(script.Gzip))
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(unpacked, script.Body) {
		t.Error("the gzip variant unpacks to something else than the script")
	}
}

func TestAssetsChangeTheirETagWithTheScript(t *testing.T) {
	etag := func(script string) string {
		all, err := assets(fstest.MapFS{"dist/hm.js": {Data: []byte(script)}})
		if err != nil {
			t.Fatal(err)
		}
		return all[ScriptPath].ETag
	}
	first, again, other := etag("one"), etag("one"), etag("two")
	if first == other {
		t.Error("two scripts have one ETag: browsers would keep the old one")
	}
	if first != again {
		t.Error("one script has two ETags: browsers would fetch it again")
	}
}

func TestAssetsSaysWhatToDoBeforeTheFirstBuild(t *testing.T) {
	_, err := assets(fstest.MapFS{"dist/README": {}})
	if err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("got %v, want an error that names `make build`", err)
	}
}

func TestSnippet(t *testing.T) {
	for _, c := range []struct{ url, domain, want string }{
		{"https://stats.example.com", "example.com",
			`<script defer src="https://stats.example.com/js/hm.js" data-site="example.com"></script>`},
		{"http://localhost:8080/", "localhost",
			`<script defer src="http://localhost:8080/js/hm.js" data-site="localhost"></script>`},
		{`https://a/"><i>`, `"><b>`,
			`<script defer src="https://a/&#34;&gt;&lt;i&gt;/js/hm.js" data-site="&#34;&gt;&lt;b&gt;"></script>`},
	} {
		if got := Snippet(c.url, c.domain); got != c.want {
			t.Errorf("Snippet(%q, %q) =\n%s\nwant\n%s", c.url, c.domain, got, c.want)
		}
	}
}
