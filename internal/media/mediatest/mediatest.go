// Package mediatest is the contract of a media store, as tests that every back
// end runs: signed URLs that allow what they say and nothing else, uploads that
// go on where they were cut off, and what is swept.
package mediatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/media"
)

const (
	kind = "application/octet-stream"
	life = time.Minute
	week = 7 * 24 * time.Hour
)

// suite is one store under test.
type suite struct {
	*testing.T
	store media.Store
	names *media.Names
	user  int
}

// Run holds a store against the contract. Its URLs have to be served.
func Run(t *testing.T, store media.Store, names *media.Names) {
	for name, f := range map[string]func(*suite){
		"Whole": (*suite).whole, "Resumed": (*suite).resumed, "Pinned": (*suite).pinned, "Ended": (*suite).ended,
		"Missing": (*suite).missing, "Used": (*suite).used, "Sweep": (*suite).sweep,
	} {
		t.Run(name, func(t *testing.T) { f(&suite{T: t, store: store, names: names}) })
	}
	http.DefaultClient.CloseIdleConnections()
}

// begin begins an upload of a user of the test's own.
func (s *suite) begin(size int64, until time.Time) media.Blob {
	s.Helper()
	user, err := chat.NewUser("tenant", fmt.Sprintf("%x.%d", rand.Uint64(), s.user))
	if err != nil {
		s.Fatal(err)
	}
	return s.beginFor(user, size, until)
}

func (s *suite) beginFor(user chat.User, size int64, until time.Time) media.Blob {
	s.Helper()
	b, err := s.names.New(user, size, kind, until)
	if err != nil {
		s.Fatal(err)
	}
	s.must(s.store.Begin(s.Context(), &b))
	s.Cleanup(func() { s.store.Drop(context.Background(), &b) })
	return b
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// do sends a request and returns its status and body.
func (s *suite) do(method, link string, body []byte, headers ...string) (int, []byte) {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), method, link, bytes.NewReader(body))
	s.must(err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	s.must(err)
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	s.must(err)
	return res.StatusCode, got
}

func (s *suite) put(link string, body []byte) int {
	s.Helper()
	status, _ := s.do("PUT", link, body, "Content-Type", kind)
	return status
}

func (s *suite) puts(b *media.Blob, parts ...int) []string {
	s.Helper()
	links, err := s.store.PutURLs(s.Context(), b, parts, life)
	s.must(err)
	return links
}

func (s *suite) get(b *media.Blob) string {
	s.Helper()
	link, err := s.store.GetURL(s.Context(), b, life)
	s.must(err)
	return link
}

// have holds which parts are there.
func (s *suite) have(b *media.Blob, complete bool, want ...int) {
	s.Helper()
	got, done, err := s.store.Have(s.Context(), b)
	s.must(err)
	if !slices.Equal(got, want) || done != complete {
		s.Errorf("parts %v are there, complete %v; want %v, %v", got, done, want, complete)
	}
}

func (s *suite) whole() {
	b := s.begin(11, time.Now().Add(week))
	s.have(&b, false)
	if err := s.store.Complete(s.Context(), &b); !errors.Is(err, media.ErrParts) {
		s.Errorf("ended without its part: %v", err)
	}
	if status, _ := s.do("GET", s.get(&b), nil); status != 404 {
		s.Errorf("a blob that is not whole: %d", status)
	}
	if status := s.put(s.puts(&b, 1)[0], []byte("hello world")); status != 200 {
		s.Fatalf("put: %d", status)
	}
	s.have(&b, false, 1)
	s.must(s.store.Complete(s.Context(), &b))
	s.must(s.store.Complete(s.Context(), &b)) // the answer was lost
	s.have(&b, true)
	link := s.get(&b)
	if status, got := s.do("GET", link, nil); status != 200 || string(got) != "hello world" {
		s.Errorf("get: %d %q", status, got)
	}
	if status, got := s.do("GET", link, nil, "Range", "bytes=6-"); status != 206 || string(got) != "world" {
		s.Errorf("get the rest: %d %q", status, got)
	}
	s.kept(link)
	s.must(s.store.Drop(s.Context(), &b))
	s.must(s.store.Drop(s.Context(), &b))
	if status, _ := s.do("GET", link, nil); status != 404 {
		s.Errorf("after it was dropped: %d", status)
	}
}

// kept holds that a cache keeps an answer no longer than its URL is good.
func (s *suite) kept(link string) {
	s.Helper()
	res, err := http.Get(link)
	s.must(err)
	res.Body.Close()
	until, err := http.ParseTime(res.Header.Get("Expires"))
	if left := time.Until(until); err != nil || left > life || left < life/2 || strings.Contains(res.Header.Get("Cache-Control"), "max-age") {
		s.Errorf("caches keep an answer for %v (%v), its URL is good for %v: %v", left, err, life, res.Header)
	}
}

// resumed puts parts in any order, one of them twice.
func (s *suite) resumed() {
	body := make([]byte, 2*media.PartBytes+5)
	rand.NewChaCha8([32]byte{1}).Read(body)
	b := s.begin(int64(len(body)), time.Now().Add(week))
	if b.Parts() != 3 {
		s.Fatalf("%d parts", b.Parts())
	}
	links := s.puts(&b, 1, 2, 3)
	at := func(n int) []byte { return body[(n-1)*media.PartBytes : min(n*media.PartBytes, len(body))] }
	for _, n := range []int{3, 1, 1} {
		if status := s.put(links[n-1], at(n)); status != 200 {
			s.Fatalf("put of part %d: %d", n, status)
		}
	}
	s.have(&b, false, 1, 3)
	if err := s.store.Complete(s.Context(), &b); !errors.Is(err, media.ErrParts) {
		s.Errorf("ended without a part: %v", err)
	}
	if status := s.put(s.puts(&b, 2)[0], at(2)); status != 200 {
		s.Fatalf("put of part 2: %d", status)
	}
	s.must(s.store.Complete(s.Context(), &b))
	if status, got := s.do("GET", s.get(&b), nil); status != 200 || !bytes.Equal(got, body) {
		s.Errorf("get: %d, %d bytes", status, len(got))
	}
}

// pinned tries everything that a URL was not signed for.
func (s *suite) pinned() {
	b, other := s.begin(4, time.Now().Add(week)), s.begin(4, time.Now().Add(week))
	put, get := s.puts(&b, 1)[0], s.get(&b)
	old, err := s.store.PutURLs(s.Context(), &b, []int{1}, time.Second)
	s.must(err)
	oldGet, err := s.store.GetURL(s.Context(), &b, time.Second)
	s.must(err)
	for what, try := range map[string]func() (int, []byte){
		"a longer part":  func() (int, []byte) { return s.do("PUT", put, []byte("12345"), "Content-Type", kind) },
		"a shorter part": func() (int, []byte) { return s.do("PUT", put, []byte("123"), "Content-Type", kind) },
		"another type":   func() (int, []byte) { return s.do("PUT", put, []byte("1234"), "Content-Type", "text/html") },
		"no type":        func() (int, []byte) { return s.do("PUT", put, []byte("1234")) },
		"another blob": func() (int, []byte) {
			return s.do("PUT", strings.Replace(put, b.Key(), other.Key(), 1), []byte("1234"), "Content-Type", kind)
		},
		"another signature": func() (int, []byte) { return s.do("PUT", tampered(put), []byte("1234"), "Content-Type", kind) },
		"no signature": func() (int, []byte) {
			link, _, _ := strings.Cut(put, "?")
			return s.do("PUT", link, []byte("1234"), "Content-Type", kind)
		},
		"put to a get":        func() (int, []byte) { return s.do("PUT", get, []byte("1234"), "Content-Type", kind) },
		"get of a put":        func() (int, []byte) { return s.do("GET", put, nil) },
		"delete by a get":     func() (int, []byte) { return s.do("DELETE", get, nil) },
		"get of another":      func() (int, []byte) { return s.do("GET", strings.Replace(get, b.Key(), other.Key(), 1), nil) },
		"get, tampered":       func() (int, []byte) { return s.do("GET", tampered(get), nil) },
		"put, longer allowed": func() (int, []byte) { return s.do("PUT", extended(put), []byte("1234"), "Content-Type", kind) },
		"get, longer allowed": func() (int, []byte) { return s.do("GET", extended(get), nil) },
	} {
		if status, body := try(); status != 403 {
			s.Errorf("%s: %d %.200s", what, status, body)
		}
	}
	for expired := false; !expired; { // until the second is over
		status, _ := s.do("GET", oldGet, nil)
		expired = status == 403
	}
	if status := s.put(old[0], []byte("1234")); status != 403 {
		s.Errorf("after its time: %d", status)
	}
	s.have(&b, false)
	s.have(&other, false)
}

// tampered changes the last digit of the signature.
func tampered(link string) string {
	u, _ := url.Parse(link)
	q := u.Query()
	for _, name := range []string{"signature", "X-Amz-Signature"} {
		if v := q.Get(name); v != "" {
			last := "0"
			if v[len(v)-1] == '0' {
				last = "1"
			}
			q.Set(name, v[:len(v)-1]+last)
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// extended has a later end.
func extended(link string) string {
	u, _ := url.Parse(link)
	q := u.Query()
	for _, name := range []string{"expires", "X-Amz-Expires"} {
		if v := q.Get(name); v != "" {
			q.Set(name, v+"0")
		}
	}
	if q.Get("X-Amz-Expires") != "" {
		q.Set("X-Amz-Expires", "3600")
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// ended holds that an upload takes nothing more once it is a blob.
func (s *suite) ended() {
	b := s.begin(4, time.Now().Add(week))
	link := s.puts(&b, 1)[0]
	if status := s.put(link, []byte("good")); status != 200 {
		s.Fatalf("put: %d", status)
	}
	s.must(s.store.Complete(s.Context(), &b))
	if status := s.put(link, []byte("evil")); status != 404 {
		s.Errorf("a part after the end: %d", status)
	}
	if _, got := s.do("GET", s.get(&b), nil); string(got) != "good" {
		s.Errorf("the blob is %q", got)
	}
}

func (s *suite) missing() {
	b, err := s.names.New("nobody", 4, kind, time.Now().Add(week))
	s.must(err)
	if _, _, err := s.store.Have(s.Context(), &b); !errors.Is(err, media.ErrNotFound) {
		s.Errorf("have: %v", err)
	}
	if err := s.store.Complete(s.Context(), &b); !errors.Is(err, media.ErrNotFound) {
		s.Errorf("complete: %v", err)
	}
	s.must(s.store.Drop(s.Context(), &b))
}

func (s *suite) used() {
	user := chat.User(fmt.Sprintf("tenant/%x", rand.Uint64()))
	usage := func() int64 {
		n, err := s.store.Used(s.Context(), "tenant", s.names.Owner(user))
		s.must(err)
		return n
	}
	if usage() != 0 {
		s.Errorf("%d bytes of nothing", usage())
	}
	b := s.beginFor(user, media.LeastCharge+10, time.Now().Add(week))
	small := s.beginFor(user, 1, time.Now().Add(week))
	if got := usage(); got != 2*media.LeastCharge+10 {
		s.Errorf("uploads count %d", got)
	}
	if status := s.put(s.puts(&small, 1)[0], []byte("x")); status != 200 {
		s.Fatalf("put: %d", status)
	}
	s.must(s.store.Complete(s.Context(), &small))
	if got := usage(); got != 2*media.LeastCharge+10 {
		s.Errorf("an upload and a blob count %d", got)
	}
	s.must(s.store.Drop(s.Context(), &b))
	if got := usage(); got != media.LeastCharge {
		s.Errorf("the blob counts %d", got)
	}
}

func (s *suite) sweep() {
	now := time.Now()
	short, long, open := s.begin(1, now.Add(time.Hour)), s.begin(1, now.Add(week)), s.begin(1, now.Add(week))
	for _, b := range []*media.Blob{&short, &long} {
		if status := s.put(s.puts(b, 1)[0], []byte("x")); status != 200 {
			s.Fatalf("put: %d", status)
		}
		s.must(s.store.Complete(s.Context(), b))
	}
	sweep := func(at, uploadsBefore time.Time) {
		_, err := s.store.Sweep(s.Context(), at, uploadsBefore)
		s.must(err)
	}
	sweep(now, now.Add(-time.Hour))
	s.have(&short, true)
	s.have(&open, false)
	sweep(now.Add(2*time.Hour), now.Add(-time.Hour))
	s.gone(&short)
	s.have(&long, true)
	s.have(&open, false)
	sweep(now, now.Add(time.Minute))
	s.gone(&open)
	s.have(&long, true)
}

func (s *suite) gone(b *media.Blob) {
	s.Helper()
	if _, _, err := s.store.Have(s.Context(), b); !errors.Is(err, media.ErrNotFound) {
		s.Errorf("it is still there: %v", err)
	}
}
