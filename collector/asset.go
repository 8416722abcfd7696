package collector

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// Asset is a file to hand out as it is.
type Asset struct {
	ContentType  string
	CacheControl string
	ETag         string // weak (W/"..."), for Body and Gzip alike; "" for none
	Body         []byte
	Gzip         []byte // Body compressed once, or nil
}

// asset is an Asset with its headers ready.
type asset struct {
	contentType, cacheControl, etag []byte
	body, gzip                      []byte
}

func prepare(assets map[string]Asset) map[string]*asset {
	ready := make(map[string]*asset, len(assets))
	for path, a := range assets {
		ready[path] = &asset{
			contentType:  []byte(a.ContentType),
			cacheControl: []byte(a.CacheControl),
			etag:         []byte(a.ETag),
			body:         a.Body,
			gzip:         a.Gzip,
		}
	}
	return ready
}

var (
	ifNoneMatchKey = []byte("If-None-Match")
	acceptEncoding = []byte("Accept-Encoding")
	gzipCoding     = []byte("gzip")
)

// serve answers GET and HEAD. Any site may load the file: there is nothing in
// it that depends on who asks.
func (a *asset) serve(ctx *fasthttp.RequestCtx) {
	h := &ctx.Response.Header
	h.SetCanonical(allowOriginKey, anyOrigin)
	h.SetCanonical(corpKey, crossOrigin)
	h.SetCanonical(nosniffKey, nosniff)
	if len(a.cacheControl) > 0 {
		h.SetCanonical(cacheControlKey, a.cacheControl)
	}
	if len(a.gzip) > 0 {
		h.SetCanonical(varyKey, acceptEncoding)
	}
	if len(a.etag) > 0 {
		h.SetCanonical(etagKey, a.etag)
		if matches(ctx.Request.Header.PeekCanonical(ifNoneMatchKey), a.etag) {
			ctx.SetStatusCode(fasthttp.StatusNotModified)
			return
		}
	}
	h.SetContentTypeBytes(a.contentType)
	if len(a.gzip) > 0 && ctx.Request.Header.HasAcceptEncodingBytes(gzipCoding) {
		h.SetContentEncodingBytes(gzipCoding)
		ctx.Response.SetBodyRaw(a.gzip)
		return
	}
	ctx.Response.SetBodyRaw(a.body)
}

// matches is the weak comparison of RFC 9110, section 13.1.2.
func matches(list, etag []byte) bool {
	weak := []byte("W/")
	etag = bytes.TrimPrefix(etag, weak)
	for len(list) > 0 {
		var one []byte
		one, list, _ = bytes.Cut(list, []byte{','})
		one = bytes.TrimSpace(one)
		if len(one) == 1 && one[0] == '*' || bytes.Equal(bytes.TrimPrefix(one, weak), etag) {
			return true
		}
	}
	return false
}
