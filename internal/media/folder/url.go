package folder

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/rookery-chat/rookery/internal/media"
)

// signer signs URLs, and knows its own.
type signer struct {
	key  []byte
	base string
}

// grant is what a URL allows.
type grant struct {
	method  string
	key     string
	part    int    // of a PUT
	size    int64  // of the part
	kind    string // the Content-Type
	expires int64  // seconds since 1970
}

func (s *signer) mac(g *grant) string {
	h := hmac.New(sha256.New, s.key)
	fmt.Fprintf(h, "rookery media url\n%s\n%s\n%d\n%d\n%s\n%d", g.method, g.key, g.part, g.size, g.kind, g.expires)
	return hex.EncodeToString(h.Sum(nil))
}

func (s *signer) url(g *grant) string {
	q := url.Values{"expires": {strconv.FormatInt(g.expires, 10)}, "signature": {s.mac(g)}}
	if g.method == http.MethodPut {
		q.Set("part", strconv.Itoa(g.part))
	}
	return s.base + g.key + "?" + q.Encode()
}

// allows reports whether a request is what its signature was made for, now.
func (s *signer) allows(g *grant, signature string, now time.Time) bool {
	return hmac.Equal([]byte(s.mac(g)), []byte(signature)) && now.Unix() < g.expires
}

// PutURLs implements media.Store.
func (f *Folder) PutURLs(_ context.Context, b *media.Blob, parts []int, life time.Duration) ([]string, error) {
	var list []string
	for _, n := range parts {
		g := grant{http.MethodPut, b.Key(), n, b.PartSize(n), b.Type, time.Now().Add(life).Unix()}
		list = append(list, f.signer.url(&g))
	}
	return list, nil
}

// GetURL implements media.Store.
func (f *Folder) GetURL(_ context.Context, b *media.Blob, life time.Duration) (string, error) {
	g := grant{method: http.MethodGet, key: b.Key(), expires: time.Now().Add(life).Unix()}
	return f.signer.url(&g), nil
}
