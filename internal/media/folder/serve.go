package folder

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rookery-chat/rookery/internal/media"
)

const (
	leastRate = 16 << 10 // bytes a second, below which a transfer is cut off
	leastTime = 30 * time.Second
)

// ServeHTTP answers the URLs that Folder signs; the path is the key alone.
func (f *Folder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := f.names.ParseKey(strings.TrimPrefix(r.URL.Path, "/"))
	q := r.URL.Query()
	expires, err2 := strconv.ParseInt(q.Get("expires"), 10, 64)
	if err != nil || err2 != nil {
		deny(w)
		return
	}
	g := grant{method: r.Method, key: b.Key(), expires: expires}
	switch r.Method {
	case http.MethodPut:
		g.part, _ = strconv.Atoi(q.Get("part"))
		g.size, g.kind = r.ContentLength, r.Header.Get("Content-Type")
	case http.MethodHead:
		g.method = http.MethodGet
	}
	if !f.signer.allows(&g, q.Get("signature"), time.Now()) {
		deny(w)
		return
	}
	if r.Method == http.MethodPut {
		f.put(w, r, &b, &g)
	} else {
		f.get(w, r, &b, &g)
	}
}

func deny(w http.ResponseWriter) {
	http.Error(w, "the URL was not signed for this request, or its time is over", http.StatusForbidden)
}

// put takes a part: as a whole, or not at all.
func (f *Folder) put(w http.ResponseWriter, r *http.Request, b *media.Blob, g *grant) {
	http.NewResponseController(w).SetReadDeadline(deadline(g.size)) // where it cannot be set, the listener's holds
	err := f.write(r.Body, f.part(b, g.part), g.size)
	switch {
	case err == nil:
		w.WriteHeader(http.StatusOK)
	case errors.Is(err, fs.ErrNotExist):
		http.Error(w, "the upload was ended or given up", http.StatusNotFound)
	case errors.Is(err, syscall.ENOSPC):
		http.Error(w, "no room", http.StatusInsufficientStorage)
	default:
		http.Error(w, "the part did not come whole", http.StatusBadRequest)
	}
}

func (f *Folder) write(body io.Reader, to string, size int64) error {
	out, err := os.CreateTemp(filepath.Dir(to), "part-*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	if n, err := io.Copy(out, io.LimitReader(body, size)); err != nil || n != size {
		return errors.Join(io.ErrUnexpectedEOF, err)
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}

// get gives a blob, or a range of it. A browser shows none of them by itself, and
// a cache on the way may keep it as long as the URL is good.
func (f *Folder) get(w http.ResponseWriter, r *http.Request, b *media.Blob, g *grant) {
	in, err := os.Open(f.blob(b))
	if err != nil {
		http.Error(w, "there is no such blob", http.StatusNotFound)
		return
	}
	defer in.Close()
	http.NewResponseController(w).SetWriteDeadline(deadline(b.Size))
	h := w.Header()
	h.Set("Content-Type", b.Type)
	h.Set("Content-Disposition", "attachment")
	h.Set("Cache-Control", "public, immutable")
	h.Set("Expires", time.Unix(g.expires, 0).UTC().Format(http.TimeFormat))
	h.Set("ETag", `"`+b.Name+`"`)
	http.ServeContent(w, r, "", time.Time{}, in)
}

func deadline(bytes int64) time.Time {
	return time.Now().Add(leastTime + time.Duration(bytes)*time.Second/leastRate)
}
