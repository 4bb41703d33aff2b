package server

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/config"
)

// edge is a cache in front of a store, as a CDN is. It asks the store with the
// store's own Host, and path and query as they came; it keeps what it was given
// whole for as long as that says, by the URL and the headers that the answer
// varies with; and it cuts ranges out of what it keeps.
type edge struct {
	*httptest.Server
	mu    sync.Mutex
	store string // scheme and host
	pages bool   // keep answers to pages apart, whatever the store's vary with
	times int    // the store was asked
	kept  map[string][]copyOf
}

type copyOf struct {
	header, asked http.Header
	body          []byte
	until         time.Time
}

func newEdge(t *testing.T) *edge {
	e := &edge{kept: map[string][]copyOf{}}
	e.Server = httptest.NewServer(http.HandlerFunc(e.answer))
	t.Cleanup(e.Close)
	return e
}

func (e *edge) answer(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := r.RequestURI
	if e.pages {
		key += " " + r.Header.Get("Origin")
	}
	for _, c := range e.kept[key] {
		if r.Method == http.MethodGet && time.Now().Before(c.until) && c.fits(r) {
			c.give(w, r)
			return
		}
	}
	c, status, err := e.ask(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	if r.Method == http.MethodGet && status == http.StatusOK && time.Now().Before(c.until) {
		e.kept[key] = append(e.kept[key], c)
	}
	for name, values := range c.header {
		w.Header()[name] = values
	}
	w.WriteHeader(status)
	w.Write(c.body)
}

// fits reports whether a request is the one that was answered, in all that the
// answer varies with.
func (c *copyOf) fits(r *http.Request) bool {
	for _, list := range c.header.Values("Vary") {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); r.Header.Get(name) != c.asked.Get(name) {
				return false
			}
		}
	}
	return true
}

func (c *copyOf) give(w http.ResponseWriter, r *http.Request) {
	for name, values := range c.header {
		if name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(c.body))
}

func (e *edge) ask(r *http.Request) (c copyOf, status int, err error) {
	e.times++
	to := r.Clone(r.Context())
	if to.URL, err = url.Parse(e.store + r.RequestURI); err != nil {
		return c, 0, err
	}
	to.Host, to.RequestURI = to.URL.Host, ""
	res, err := http.DefaultTransport.RoundTrip(to)
	if err != nil {
		return c, 0, err
	}
	defer res.Body.Close()
	c.header, c.asked = res.Header, r.Header
	if says := res.Header.Get("Cache-Control"); !strings.Contains(says, "private") && !strings.Contains(says, "no-store") {
		c.until, _ = http.ParseTime(res.Header.Get("Expires"))
	}
	c.body, err = io.ReadAll(res.Body)
	return c, res.StatusCode, err
}

func (e *edge) asked() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.times
}

// through starts a server whose media is downloaded through a cache, with a page
// of another origin that may.
func through(t *testing.T, change func(*config.Config), urls time.Duration) (*Server, *edge) {
	t.Helper()
	e, endpoint := newEdge(t), ""
	s := startServer(t, t.TempDir(), func(c *config.Config) {
		if change != nil {
			change(c)
		}
		c.Media.CDN, c.Media.URLs, c.Auth.Origins, endpoint = e.URL, urls, []string{otherPage}, c.Media.Endpoint
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.store, e.pages = endpoint, true // services say that an answer varies where they were asked by a page alone
	if endpoint == "" {
		e.store, e.pages = "http://"+s.WebAddr().String(), false
	}
	return s, e
}

const otherPage = "https://app.example"

// linkTo asks for a blob's URL.
func linkTo(t *testing.T, s *Server, name string) string {
	t.Helper()
	status, _, body := fetch(t, "GET", "http://"+s.WebAddr().String()+"/v1/media/"+name, "Authorization", "Bearer "+token(t, s, "bob", "", time.Hour))
	var link struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal([]byte(body), &link); err != nil || status != http.StatusOK {
		t.Fatal(status, body, err)
	}
	return link.URL
}

func fetch(t *testing.T, method, link string, headers ...string) (status int, header http.Header, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

// throughBoth are the stores that a cache may stand in front of.
func throughBoth(t *testing.T, f func(t *testing.T, change func(*config.Config))) {
	t.Run("folder", func(t *testing.T) { f(t, nil) })
	t.Run("bucket", func(t *testing.T) { f(t, bucket(t)) })
}

// TestDownloadsThroughACDN holds that the SDK's downloads, and nothing else of
// it, go through media.cdn, whole and in ranges, and that the store still judges
// what the cache does not have.
func TestDownloadsThroughACDN(t *testing.T) {
	throughBoth(t, func(t *testing.T, change func(*config.Config)) {
		s, e := through(t, change, time.Minute)
		text := strings.Repeat("0123456789", 1<<20) // two parts
		name, err := mediaOf(t, s, "ann").Upload(t.Context(), strings.NewReader(text), client.Upload{Size: int64(len(text))})
		if err != nil {
			t.Fatal(err)
		}
		if n := e.asked(); n != 0 {
			t.Errorf("the upload asked the cache %d times", n)
		}
		for _, from := range []int64{0, 5, int64(len(text)) - 1} {
			var got bytes.Buffer
			have, err := mediaOf(t, s, "bob").Download(t.Context(), name, &got, client.Download{From: from})
			if err != nil || have != int64(len(text)) || got.String() != text[from:] {
				t.Errorf("from %d: %d bytes, %v", from, have, err)
			}
		}
		if e.asked() == 0 {
			t.Error("no download asked the cache")
		}

		link := linkTo(t, s, name)
		if !strings.HasPrefix(link, e.URL+"/") {
			t.Fatalf("the URL is %s", link)
		}
		fetch(t, "GET", link)
		asked := e.asked()
		if status, _, body := fetch(t, "GET", link); status != http.StatusOK || body != text {
			t.Errorf("again: %d, %d bytes", status, len(body))
		}
		if status, header, body := fetch(t, "GET", link, "Range", "bytes=5-9"); status != http.StatusPartialContent || body != text[5:10] || header.Get("Content-Range") == "" {
			t.Errorf("a range: %d %q %v", status, body, header)
		}
		if n := e.asked() - asked; n != 0 {
			t.Errorf("what the cache has was asked of the store %d times", n)
		}
		other, err := mediaOf(t, s, "ann").Upload(t.Context(), strings.NewReader("x"), client.Upload{Size: 1})
		if err != nil {
			t.Fatal(err)
		}
		path, query, _ := strings.Cut(link, "?")
		for what, bad := range map[string]string{"no signature": path, "another blob": strings.Replace(link, name, other, 1), "another end": path + "?" + strings.ReplaceAll(query, "xpires=", "xpires=1")} {
			if status, _, _ := fetch(t, "GET", bad); status != http.StatusForbidden {
				t.Errorf("%s: %d", what, status)
			}
		}
	})
}

// TestPagesThroughACDN holds that pages read what comes from the cache, our own
// among them, for which it is another's too; also when an app, which has no
// origin, had the same before.
func TestPagesThroughACDN(t *testing.T) {
	throughBoth(t, func(t *testing.T, change func(*config.Config)) {
		s, e := through(t, change, time.Minute)
		name, err := mediaOf(t, s, "ann").Upload(t.Context(), strings.NewReader("hello"), client.Upload{Size: 5})
		if err != nil {
			t.Fatal(err)
		}
		link := linkTo(t, s, name)
		if status, _, body := fetch(t, "GET", link); status != http.StatusOK || body != "hello" {
			t.Fatalf("an app: %d %s", status, body)
		}
		for _, origin := range []string{otherPage, "http://" + s.WebAddr().String()} {
			status, header, _ := fetch(t, "OPTIONS", link, "Origin", origin, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "range")
			if allowed := header.Get("Access-Control-Allow-Headers"); status/100 != 2 || !lets(header, origin) || !strings.Contains(strings.ToLower(allowed), "range") {
				t.Errorf("%s may not ask for a range: %d %v", origin, status, header)
			}
			for range 2 { // of the store, of the cache
				status, header, body := fetch(t, "GET", link, "Origin", origin)
				if status != http.StatusOK || body != "hello" || !lets(header, origin) {
					t.Errorf("%s may not read it: %d %s %v", origin, status, body, header)
				}
			}
		}
		if n := e.asked(); n != 5 {
			t.Errorf("of 5 GETs by three kinds of askers and 2 preflights the store was asked %d times", n)
		}
	})
}

// lets reports whether pages of an origin may read an answer.
func lets(header http.Header, origin string) bool {
	allowed := header.Get("Access-Control-Allow-Origin")
	return allowed == origin || allowed == "*"
}

// TestACDNKeepsNothingBeyondTheURL holds that a cache, too, gives a blob no
// longer than its URL is good.
func TestACDNKeepsNothingBeyondTheURL(t *testing.T) {
	throughBoth(t, func(t *testing.T, change func(*config.Config)) {
		s, e := through(t, change, 2*time.Second)
		name, err := mediaOf(t, s, "ann").Upload(t.Context(), strings.NewReader("hello"), client.Upload{Size: 5})
		if err != nil {
			t.Fatal(err)
		}
		link, status := "", 0
		for until := time.Now().Add(patience); status != http.StatusOK; { // a machine may need longer than the URL is good
			if link = linkTo(t, s, name); time.Now().After(until) {
				t.Fatal(status)
			}
			status, _, _ = fetch(t, "GET", link)
		}
		asked, begun := e.asked(), time.Now()
		for status == http.StatusOK && time.Since(begun) < patience {
			status, _, _ = fetch(t, "GET", link)
		}
		if status != http.StatusForbidden || e.asked() != asked+1 {
			t.Errorf("in the end %d; the cache asked the store %d times", status, e.asked()-asked)
		}
	})
}
