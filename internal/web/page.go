package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/web"
)

// file is one of the page's files.
type file struct {
	kind   string // its Content-Type
	tag    string // its ETag
	plain  []byte
	zipped []byte // nil where it would not be smaller
}

// kinds are types that the machine's own table may not have.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".wasm": "application/wasm", ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json",
}

// loadPage reads the page's files and compresses them, once.
func loadPage() (map[string]*file, error) {
	files := map[string]*file{}
	all := web.Files()
	err := fs.WalkDir(all, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(all, name)
		if err != nil {
			return err
		}
		files["/"+name] = newFile(name, text)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("web: the page: %w", err)
	}
	if files["/"] = files["/index.html"]; files["/"] == nil {
		return nil, fmt.Errorf("web: the page has no index.html")
	}
	return files, nil
}

func newFile(name string, text []byte) *file {
	sum := sha256.Sum256(text)
	f := &file{kind: kinds[path.Ext(name)], tag: hex.EncodeToString(sum[:8]), plain: text}
	if f.kind == "" {
		f.kind = mime.TypeByExtension(path.Ext(name))
	}
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level exists
	z.Write(text)                                           // a buffer takes all
	z.Close()
	if out.Len() < len(text) {
		f.zipped = out.Bytes()
	}
	return f
}

// page answers with a file. A browser asks each time whether it is still the
// same, so that a new binary is a new page at once.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	f := s.files[r.URL.Path]
	if f == nil {
		fail(w, chat.Errorf(chat.CodeNotFound, "there is no %.100q here", r.URL.Path))
		return
	}
	body, tag, h := f.plain, f.tag, w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "Accept-Encoding")
	if f.zipped != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		body, tag = f.zipped, f.tag+"-gzip"
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// siteConfig is what the page has to know of its server.
type siteConfig struct {
	Sockets string `json:"sockets"` // base of the sockets' URL; /ws/<user> follows
	Pick    bool   `json:"pick"`    // whether /dev/token gives a token for any name
	Media   int64  `json:"media"`   // bytes of the largest blob, 0 where there is no media
}

func (s *Server) config(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodGet) {
		return
	}
	c := siteConfig{Sockets: s.socketsURL(r), Pick: s.mayPick(r) == nil}
	if s.site.Media != nil {
		c.Media = s.site.Media.Limits().Bytes
	}
	reply(w, http.StatusOK, c)
}
