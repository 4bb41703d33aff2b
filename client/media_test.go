package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// parts is a server and its store that hold one upload of parts of a byte.
// Requests go wrong as fail says, before they arrive.
type parts struct {
	text  string
	have  []bool
	asked map[string]int // requests, by method
	ended bool
	fail  func(method string, n int) error // n: of that method, from 1
}

func newParts(text string, fail func(method string, n int) error) *parts {
	return &parts{text: text, have: make([]bool, len(text)), asked: map[string]int{}, fail: fail}
}

func (p *parts) media() *Media {
	return &Media{Web: "http://rookery", HTTP: &http.Client{Transport: p}, Token: func(context.Context) (string, error) { return "t", nil }}
}

func (p *parts) upload() (string, error) {
	return p.media().Upload(context.Background(), strings.NewReader(p.text), Upload{Size: int64(len(p.text))})
}

func (p *parts) RoundTrip(r *http.Request) (*http.Response, error) {
	p.asked[r.Method]++
	w := httptest.NewRecorder()
	if err := p.fail(r.Method, p.asked[r.Method]); err != nil {
		var no refusal
		if !errors.As(err, &no) {
			return nil, err
		}
		w.Header().Set("Retry-After", no.after)
		w.WriteHeader(no.status)
		io.WriteString(w, no.body)
		return w.Result(), nil
	}
	switch {
	case r.URL.Path == "/blob":
		w.Header().Set("Content-Length", strconv.Itoa(len(p.text)))
		io.WriteString(w, p.text)
	case r.Method == http.MethodPut:
		var part int
		fmt.Sscanf(r.URL.Path, "/store/%d", &part)
		b, err := io.ReadAll(r.Body)
		p.have[part-1] = err == nil && string(b) == p.text[part-1:part]
	case strings.HasSuffix(r.URL.Path, "/end"):
		p.ended = true
	default:
		missing := []map[string]any{}
		for i, have := range p.have {
			if !have {
				missing = append(missing, map[string]any{"part": i + 1, "size": 1, "url": fmt.Sprintf("http://store/store/%d", i+1)})
			}
		}
		json.NewEncoder(w).Encode(map[string]any{"name": "x", "size": len(p.text), "part_bytes": 1, "complete": p.ended, "missing": missing, "url": "http://store/blob"})
	}
	return w.Result(), nil
}

// refusal is an answer that a request gets instead.
type refusal struct {
	status      int
	after, body string // after: Retry-After
}

func (r refusal) Error() string { return http.StatusText(r.status) }

var errAway = errors.New("the network went away")

// TestUploadGetsFurther holds that an upload that gets a part further with each
// try goes on, however often it is cut off.
func TestUploadGetsFurther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParts(strings.Repeat("ab", mediaTries), func(method string, n int) error {
			if method == http.MethodPut && n%2 == 0 {
				return errAway
			}
			return nil
		})
		if name, err := p.upload(); name != "x" || err != nil || !p.ended {
			t.Errorf("%q, %v, ended: %v, parts: %v", name, err, p.ended, p.have)
		}
	})
}

// TestUploadAsksAgain holds that an upload outlives tries that do not even
// reach the server, before it is begun, in the middle, and at its end.
func TestUploadAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParts("ab", func(method string, n int) error {
			if (method == http.MethodPost && (n < mediaTries || n == mediaTries+1)) || (method == http.MethodGet && n == 1) {
				return errAway
			}
			return nil
		})
		if name, err := p.upload(); name != "x" || err != nil || !p.ended {
			t.Errorf("%q, %v, ended: %v, asked: %v", name, err, p.ended, p.asked)
		}
		if p.asked[http.MethodPut] != 2 {
			t.Errorf("%d parts were sent, not 2", p.asked[http.MethodPut])
		}
	})
}

// TestUploadGivesUp holds that a network that stays away ends an upload after so
// many tries, whatever it was about to do.
func TestUploadGivesUp(t *testing.T) {
	for _, away := range []string{http.MethodPost, http.MethodPut} {
		t.Run(away, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newParts("ab", func(method string, _ int) error {
					if method == away {
						return errAway
					}
					return nil
				})
				if _, err := p.upload(); chat.CodeOf(err) != chat.CodeUnavailable || p.asked[away] != mediaTries {
					t.Errorf("%v after %d tries", err, p.asked[away])
				}
			})
		})
	}
}

// TestUploadRefused holds that what the server refuses is asked for once.
func TestUploadRefused(t *testing.T) {
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"number":%d,"text":"it is full"}`, chat.CodeQuota)
	}))
	defer srv.Close()
	m := Media{Web: srv.URL, HTTP: srv.Client(), Token: func(context.Context) (string, error) { return "t", nil }}
	if _, err := m.Upload(t.Context(), strings.NewReader("a"), Upload{Size: 1}); chat.CodeOf(err) != chat.CodeQuota || asked != 1 {
		t.Errorf("%v after %d tries", err, asked)
	}
}

// TestDropAfter holds how often a blob is tried to be dropped where the web
// listener is away, and comes back, and that it stays where the deletion of its
// message does not arrive.
func TestDropAfter(t *testing.T) {
	for what, c := range map[string]struct {
		refusal     error
		away, tries int
		code        chat.Code
	}{
		"away":    {nil, mediaTries, mediaTries, chat.CodeUnavailable},
		"back":    {nil, mediaTries - 1, mediaTries, chat.CodeOK},
		"refused": {chat.Errorf(chat.CodeNotMember, "she has left"), 0, 0, chat.CodeNotMember},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newParts("a", func(_ string, n int) error {
					if n <= c.away {
						return errAway
					}
					return nil
				})
				err := p.media().DropAfter(context.Background(), deleted(c.refusal), "x")
				if chat.CodeOf(err) != c.code || p.asked[http.MethodDelete] != c.tries {
					t.Errorf("%v after %d tries", err, p.asked[http.MethodDelete])
				}
			})
		})
	}
}

// deleted is a deletion that the server has, or refused.
func deleted(refusal error) *Sent {
	s := &Sent{c: new(Client), accepted: make(chan struct{}), place: 1, err: refusal, peer: new(peer)}
	close(s.accepted)
	return s
}

// TestMediaRetryAfter holds when all that is asked of the server and the store is
// asked again: when the answer says, however it says that, for as long as the limit.
func TestMediaRetryAfter(t *testing.T) {
	ctx := context.Background()
	acts := map[string]func(p *parts) error{
		"upload": func(p *parts) error { _, err := p.upload(); return err },
		"download": func(p *parts) error {
			_, err := p.media().Download(ctx, "x", io.Discard, Download{})
			return err
		},
		"drop": func(p *parts) error { return p.media().DropAfter(ctx, deleted(nil), "x") },
	}
	for _, c := range []struct {
		what, act, method string
		n                 int // of the method, that is refused
		answer            refusal
		wait              time.Duration
	}{
		{"its body", "upload", http.MethodPost, 1, refusal{429, "8", fmt.Sprintf(`{"number":%d,"retry_ms":7300}`, chat.CodeRateLimited)}, 7300 * time.Millisecond},
		{"a proxy", "upload", http.MethodPost, 1, refusal{503, "9", "<html>"}, 9 * time.Second},
		{"no word", "upload", http.MethodPost, 1, refusal{503, "", ""}, DefaultBackoffMin},
		{"the store", "upload", http.MethodPut, 2, refusal{503, "11", "SlowDown"}, 11 * time.Second},
		{"the end", "upload", http.MethodPost, 2, refusal{503, "12", ""}, 12 * time.Second},
		{"the link", "download", http.MethodGet, 1, refusal{429, "13", ""}, 13 * time.Second},
		{"the store, by a date", "download", http.MethodGet, 2, refusal{503, "Sat, 01 Jan 2000 00:00:14 GMT", ""}, 14 * time.Second},
		{"a date that was", "download", http.MethodGet, 2, refusal{503, "Fri, 31 Dec 1999 00:00:14 GMT", ""}, DefaultBackoffMin},
		{"its body", "drop", http.MethodDelete, 1, refusal{429, "", fmt.Sprintf(`{"number":%d,"retry_ms":15000}`, chat.CodeRateLimited)}, 15 * time.Second},
		{"the most", "drop", http.MethodDelete, 1, refusal{503, "120", ""}, maxMediaWait},
		{"a day", "drop", http.MethodDelete, 1, refusal{503, "86400", ""}, maxMediaWait},
		{"a day", "upload", http.MethodPut, 1, refusal{503, "86400", ""}, maxMediaWait},
		{"a day", "download", http.MethodGet, 2, refusal{503, "86400", ""}, maxMediaWait},
	} {
		t.Run(c.act+", "+c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // its clock begins with the year 2000
				p := newParts("ab", func(method string, n int) error {
					if method == c.method && n == c.n {
						return c.answer
					}
					return nil
				})
				began := time.Now()
				err := acts[c.act](p)
				if waited := time.Since(began); err != nil || waited != c.wait {
					t.Errorf("%v after %v, want %v", err, waited, c.wait)
				}
			})
		})
	}
}

// TestDownloadThroughAProxy holds that a download needs no Content-Length, which
// a proxy may not pass on, and takes no more than the blob has.
func TestDownloadThroughAProxy(t *testing.T) {
	for _, c := range []struct {
		from                   int64
		status                 int
		header, body, complete string
	}{
		{0, http.StatusOK, "", "hello", "hello"},
		{0, http.StatusOK, "", "hello, and more", "hello"},
		{2, http.StatusPartialContent, "bytes 2-4/5", "llo, and more", "llo"},
	} {
		var got strings.Builder
		p := &proxied{parts: newParts("hello", func(string, int) error { return nil }), status: c.status, contentRange: c.header, body: c.body}
		m := p.media()
		m.HTTP.Transport = p
		have, err := m.Download(t.Context(), "x", &got, Download{From: c.from})
		if err != nil || have != 5 || got.String() != c.complete {
			t.Errorf("%q from %d on: %d bytes, %q, %v", c.body, c.from, have, got.String(), err)
		}
	}
}

// proxied answers a download without its length.
type proxied struct {
	*parts
	status             int
	contentRange, body string
}

func (p *proxied) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != "/blob" {
		return p.parts.RoundTrip(r)
	}
	return &http.Response{StatusCode: p.status, Header: http.Header{"Content-Range": {p.contentRange}}, Body: io.NopCloser(strings.NewReader(p.body)), ContentLength: -1}, nil
}
