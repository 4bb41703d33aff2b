package web

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/media"
	"github.com/rookery-chat/rookery/internal/media/folder"
)

const octets = "application/octet-stream"

// verifyName takes a user's name for their token.
func verifyName(_ context.Context, token string) (Identity, error) {
	u, err := chat.NewUser("", token)
	if err != nil {
		return Identity{}, chat.Errorf(chat.CodeUnauthorized, "no token")
	}
	return Identity{User: u, Expires: time.Now().Add(time.Hour)}, nil
}

// startMedia starts a listener with a folder of blobs.
func startMedia(t *testing.T, change func(*Options)) *Server {
	t.Helper()
	dir := t.TempDir()
	return startSite(t, func(o *Options) {
		o.Verify, o.BodyBytes, o.Rate, o.Origins = verifyName, 1000, 1000, []string{"https://app.example"}
		if change != nil {
			change(o)
		}
	}, func(s *Server) Site {
		names := media.NewNames([]byte("names"))
		f, err := folder.Open(dir, names, []byte("urls"), s.URL()+"/media/")
		if err != nil {
			t.Fatal(err)
		}
		l := media.Limits{Bytes: 100 << 20, Quota: 1 << 30, Types: []string{octets}, Messages: time.Hour, URLs: time.Minute}
		return Site{Sockets: socketsAddr, Media: media.NewDesk(names, f, l), Blobs: f}
	})
}

func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

func TestMediaRoundTrip(t *testing.T) {
	s := startMedia(t, nil)
	token := []string{"Authorization", "Bearer ann"}
	res, text := ask(t, s, "POST", "/v1/media", `{"size":5,"type":"application/octet-stream","ttl":60}`, token...)
	slot := decode[mediaSlot](t, text)
	if res.StatusCode != 200 || len(slot.Missing) != 1 || slot.Missing[0].Size != 5 || slot.Complete {
		t.Fatalf("%d %s", res.StatusCode, text)
	}
	path := strings.TrimPrefix(slot.Missing[0].URL, "http://"+s.Addr().String())
	if res, text := ask(t, s, "PUT", path, "hello", "Content-Type", octets, "Origin", "https://app.example"); res.StatusCode != 200 || res.Header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Fatalf("%d %s %v", res.StatusCode, text, res.Header)
	}
	if res, text := ask(t, s, "GET", "/v1/media/"+slot.Name+"/slot", "", token...); res.StatusCode != 200 || len(decode[mediaSlot](t, text).Missing) != 0 {
		t.Errorf("%d %s", res.StatusCode, text)
	}
	if res, text := ask(t, s, "POST", "/v1/media/"+slot.Name+"/end", "", token...); res.StatusCode != 200 {
		t.Fatalf("%d %s", res.StatusCode, text)
	}
	_, text = ask(t, s, "GET", "/v1/media/"+slot.Name, "", "Authorization", "Bearer bob")
	link := decode[mediaLink](t, text)
	res, text = ask(t, s, "GET", strings.TrimPrefix(link.URL, "http://"+s.Addr().String()), "")
	if res.StatusCode != 200 || text != "hello" || res.Header.Get("Content-Disposition") != "attachment" || !strings.Contains(res.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%d %s %v", res.StatusCode, text, res.Header)
	}
	if res, _ := ask(t, s, "DELETE", "/v1/media/"+slot.Name, "", "Authorization", "Bearer bob"); res.StatusCode != 403 {
		t.Errorf("somebody else removed it: %d", res.StatusCode)
	}
	if res, _ := ask(t, s, "DELETE", "/v1/media/"+slot.Name, "", token...); res.StatusCode != 200 {
		t.Errorf("its owner did not: %d", res.StatusCode)
	}
}

func TestAPIRefuses(t *testing.T) {
	s := startMedia(t, nil)
	good := []string{"Authorization", "Bearer ann"}
	for what, c := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
		code               string
	}{
		"no token":           {"POST", "/v1/media", `{}`, nil, 401, "unauthorized"},
		"a bad token":        {"POST", "/v1/media", `{}`, []string{"Authorization", "Bearer a/b"}, 401, "unauthorized"},
		"a token in the URL": {"GET", "/v1/media/x?token=ann", ``, nil, 401, "unauthorized"},
		"another page":       {"POST", "/v1/media", `{}`, append(good, "Origin", "https://evil.example"), 403, "bad_origin"},
		"no JSON":            {"POST", "/v1/media", `size=1`, good, 400, "bad_packet"},
		"an unknown key":     {"POST", "/v1/media", `{"siez":1}`, good, 400, "bad_packet"},
		"two of them":        {"POST", "/v1/media", `{"size":1}{}`, good, 400, "bad_packet"},
		"a large body":       {"POST", "/v1/media", `{"type":"` + strings.Repeat("x", 1000) + `"}`, good, 413, "too_large"},
		"too large":          {"POST", "/v1/media", `{"size":104857601,"type":"application/octet-stream"}`, good, 413, "too_large"},
		"a bad type":         {"POST", "/v1/media", `{"size":1,"type":"text/html"}`, good, 400, "bad_media"},
		"a ttl":              {"POST", "/v1/media", `{"size":1,"type":"application/octet-stream","ttl":-1}`, good, 400, "bad_ttl"},
		"no such blob":       {"GET", "/v1/media/x", ``, good, 404, "not_found"},
		"no such call":       {"GET", "/v1/nothing", ``, good, 404, "not_found"},
		"an unsigned blob":   {"GET", "/media/d/x/y", ``, nil, 403, ""},
	} {
		res, text := ask(t, s, c.method, c.path, c.body, c.headers...)
		if res.StatusCode != c.status || c.code != "" && decode[failure](t, text).Code != c.code {
			t.Errorf("%s: %d %s", what, res.StatusCode, text)
		}
	}
}

func TestPreflight(t *testing.T) {
	s := startMedia(t, nil)
	for path, origins := range map[string]map[string]int{
		"/v1/media":    {"https://app.example": 204, "https://evil.example": 403},
		"/media/d/x/y": {"https://app.example": 204, "https://evil.example": 403},
	} {
		for from, want := range origins {
			if res, _ := ask(t, s, "OPTIONS", path, "", "Origin", from, "Access-Control-Request-Method", "PUT"); res.StatusCode != want {
				t.Errorf("%s of %s: %d", path, from, res.StatusCode)
			}
		}
	}
}

// TestMediaRate holds that the rate is a user's own.
func TestMediaRate(t *testing.T) {
	s := startMedia(t, func(o *Options) { o.Rate = 2 })
	for i, want := range []int{404, 404, 429} {
		res, text := ask(t, s, "GET", "/v1/media/x", "", "Authorization", "Bearer ann")
		if res.StatusCode != want {
			t.Errorf("request %d: %d %s", i, res.StatusCode, text)
		}
		if want == http.StatusTooManyRequests && (res.Header.Get("Retry-After") == "" || decode[failure](t, text).RetryMs == 0) {
			t.Errorf("it does not say when: %v %s", res.Header, text)
		}
	}
	if res, _ := ask(t, s, "GET", "/v1/media/x", "", "Authorization", "Bearer bob"); res.StatusCode != 404 {
		t.Errorf("somebody else: %d", res.StatusCode)
	}
}

func TestNoMedia(t *testing.T) {
	s := start(t, func(o *Options) { o.Verify, o.BodyBytes, o.Rate = verifyName, 1000, 10 })
	for _, path := range []string{"/v1/media/x", "/media/d/x/y"} {
		if res, text := ask(t, s, "GET", path, "", "Authorization", "Bearer ann"); res.StatusCode != 404 {
			t.Errorf("%s: %d %s", path, res.StatusCode, text)
		}
	}
}

// TestPageAtAnotherNameReachesBlobs holds that the page may be at localhost while
// URLs of blobs name the address.
func TestPageAtAnotherNameReachesBlobs(t *testing.T) {
	s := startMedia(t, nil)
	host := "localhost:" + s.port
	if res, _ := ask(t, s, "GET", "/", "", "Host", host); !strings.Contains(res.Header.Get("Content-Security-Policy"), " "+s.URL()) {
		t.Errorf("the page may not ask %s: %v", s.URL(), res.Header)
	}
	if res, _ := ask(t, s, "OPTIONS", "/media/d/x/y", "", "Origin", "http://"+host, "Access-Control-Request-Method", "PUT"); res.StatusCode != 204 || res.Header.Get("Access-Control-Allow-Origin") != "http://"+host {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}
