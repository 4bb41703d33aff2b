package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
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
	plain  []byte // nil where it is kept zipped only
	zipped []byte // nil where it would not be smaller
	packed string // the name among the page's files, of what lies there zipped and is large
}

// wasm is the page's encryption, which `make build` compiles; other builds do
// not have it.
const wasm = "/crypto/e2ee.wasm"

// kinds are types that the machine's own table may not have.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".wasm": "application/wasm", ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json",
}

// loadPage reads the page's files and compresses them, once. What lies there
// compressed stays where it is, in the binary.
func loadPage() (map[string]*file, error) {
	files := map[string]*file{}
	all := web.Files()
	err := fs.WalkDir(all, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if plain, zipped := strings.CutSuffix(name, ".gz"); zipped {
			files["/"+plain], err = packedFile(all, name, plain)
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

func packedFile(all fs.FS, name, plain string) (*file, error) {
	src, err := all.Open(name)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, src); err != nil {
		return nil, err
	}
	return &file{kind: kindOf(plain), tag: hex.EncodeToString(sum.Sum(nil)[:8]), packed: name}, nil
}

func newFile(name string, text []byte) *file {
	sum := sha256.Sum256(text)
	f := &file{kind: kindOf(name), tag: hex.EncodeToString(sum[:8]), plain: text}
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level exists
	z.Write(text)                                           // a buffer takes all
	z.Close()
	if out.Len() < len(text) {
		f.zipped = out.Bytes()
	}
	return f
}

func kindOf(name string) string {
	if kind := kinds[path.Ext(name)]; kind != "" {
		return kind
	}
	return mime.TypeByExtension(path.Ext(name))
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
	zipped := strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
	if zipped && (f.zipped != nil || f.packed != "") {
		body, tag = f.zipped, f.tag+"-gzip"
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", `"`+tag+`"`)
	if f.packed != "" {
		servePacked(w, r, f.packed, zipped)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// servePacked answers with a file of the binary that is zipped there, without
// another copy of it in memory. Who does not take it so gets it unpacked, whole.
func servePacked(w http.ResponseWriter, r *http.Request, name string, zipped bool) {
	src, err := web.Files().Open(name)
	if err != nil {
		fail(w, chat.Errorf(chat.CodeInternal, "the page's files: %v", err))
		return
	}
	defer src.Close()
	if zipped {
		http.ServeContent(w, r, "", time.Time{}, src.(io.ReadSeeker)) // as files of a binary are
		return
	}
	plain, err := gzip.NewReader(src)
	if err != nil {
		fail(w, chat.Errorf(chat.CodeInternal, "the page's files: %v", err))
		return
	}
	if r.Method == http.MethodGet {
		io.Copy(w, plain) // who has gone does not read the error
	}
}

// siteConfig is what the page has to know of its server.
type siteConfig struct {
	Sockets string `json:"sockets"` // base of the sockets' URL; /ws/<user> follows
	Pick    bool   `json:"pick"`    // whether /dev/token gives a token for any name
	Media   int64  `json:"media"`   // bytes of the largest blob, 0 where there is no media
	// Encryption is whether this binary has the page's encryption.
	Encryption bool `json:"encryption"`
}

func (s *Server) config(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodGet) {
		return
	}
	c := siteConfig{Sockets: s.socketsURL(r), Pick: s.mayPick(r) == nil, Encryption: s.files[wasm] != nil}
	if s.site.Media != nil {
		c.Media = s.site.Media.Limits().Bytes
	}
	reply(w, http.StatusOK, c)
}
