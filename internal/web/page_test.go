package web

import (
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/web"
)

func TestPage(t *testing.T) {
	s := start(t, nil)
	res, body := ask(t, s, "GET", "/", "", "Accept-Encoding", "identity")
	if res.StatusCode != 200 || !strings.Contains(body, "Rookery") || res.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	csp := res.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "connect-src 'self' ws://127.0.0.1:8080;"} {
		if !strings.Contains(csp, want) {
			t.Errorf("the policy %q lacks %q", csp, want)
		}
	}
	if strings.Contains(csp, "unsafe-inline") || strings.Contains(csp, "'unsafe-eval'") {
		t.Errorf("the policy lets anything run: %q", csp)
	}
	if res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("headers: %v", res.Header)
	}

	tag := res.Header.Get("Etag")
	if res, _ := ask(t, s, "GET", "/index.html", "", "If-None-Match", tag, "Accept-Encoding", "identity"); res.StatusCode != http.StatusNotModified {
		t.Errorf("the same file again: %d", res.StatusCode)
	}
	if res, body := ask(t, s, "GET", "/", "", "Accept-Encoding", "gzip"); res.Header.Get("Content-Encoding") != "gzip" || res.Header.Get("Etag") == tag || strings.Contains(body, "Rookery") {
		t.Errorf("compressed: %v, %d bytes", res.Header, len(body))
	}
	for _, path := range []string{"/nothing", "/../server.go", "/static/index.html"} {
		if res, _ := ask(t, s, "GET", path, ""); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	if res, _ := ask(t, s, "POST", "/", ""); res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", res.StatusCode)
	}
	if s.Stats.Responses[2].Load() != 2 || s.Stats.Responses[3].Load() < 1 || s.Stats.Responses[4].Load() != 4 {
		t.Errorf("answers were counted as %d, %d, %d", s.Stats.Responses[2].Load(), s.Stats.Responses[3].Load(), s.Stats.Responses[4].Load())
	}
}

// TestNothingFromElsewhere holds that no file of the page loads anything of
// somebody else's, nor has a script or style in it that the policy would stop.
func TestNothingFromElsewhere(t *testing.T) {
	elsewhere := regexp.MustCompile(`(?i)(src|href|action)\s*=\s*["']?(https?:)?//|@import|url\(\s*["']?(https?:)?//`)
	inline := regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>\s*[^<\s]|<style|\sstyle\s*=|\son[a-z]+\s*=`)
	all := web.Files()
	fs.WalkDir(all, ".", func(name string, d fs.DirEntry, err error) error {
		if d.IsDir() || !regexp.MustCompile(`\.(html|css|svg)$`).MatchString(name) {
			return err
		}
		text, _ := fs.ReadFile(all, name)
		if found := elsewhere.Find(text); found != nil {
			t.Errorf("%s: %s", name, found)
		}
		if found := inline.Find(text); found != nil && strings.HasSuffix(name, ".html") {
			t.Errorf("%s: %s", name, found)
		}
		return err
	})
}

// TestEncryptionOfThePage holds that a binary says whether it has the page's
// encryption, which `make build` compiles and `go build` alone does not, and
// gives it out compressed to whoever takes that.
func TestEncryptionOfThePage(t *testing.T) {
	s := start(t, nil)
	_, config := ask(t, s, "GET", "/config", "")
	res, zipped := ask(t, s, "GET", "/crypto/e2ee.wasm", "", "Accept-Encoding", "gzip")
	if res.StatusCode == http.StatusNotFound {
		if !strings.Contains(config, `"encryption":false`) {
			t.Errorf("there is none, and the page is told %s", config)
		}
		return // a build without it is whole: what `make build` makes has it, and then the rest is held
	}
	if !strings.Contains(config, `"encryption":true`) {
		t.Errorf("the page is told %s", config)
	}
	if h := res.Header; h.Get("Content-Encoding") != "gzip" || h.Get("Content-Type") != "application/wasm" {
		t.Errorf("%v", h)
	}
	unzip, err := gzip.NewReader(strings.NewReader(zipped))
	if err != nil {
		t.Fatal(err)
	}
	want, err := io.ReadAll(unzip)
	if err != nil {
		t.Fatal(err)
	}
	plain, got := ask(t, s, "GET", "/crypto/e2ee.wasm", "", "Accept-Encoding", "identity")
	if got != string(want) || !strings.HasPrefix(got, "\x00asm") || plain.Header.Get("Content-Encoding") != "" {
		t.Errorf("plain: %d bytes, want %d, %v", len(got), len(want), plain.Header)
	}
	if again, _ := ask(t, s, "GET", "/crypto/e2ee.wasm", "", "Accept-Encoding", "gzip", "If-None-Match", res.Header.Get("Etag")); again.StatusCode != http.StatusNotModified {
		t.Errorf("the same again: %d", again.StatusCode)
	}
}
