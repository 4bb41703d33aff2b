package web

import (
	"encoding/json"
	"strings"
	"testing"
)

const jsonType = "application/json"

func TestTokenOfAPickedName(t *testing.T) {
	s := start(t, nil)
	self := "http://" + s.Addr().String()
	res, body := ask(t, s, "POST", "/dev/token", `{"user":"ann"}`, "Origin", self, "Content-Type", jsonType, "Sec-Fetch-Site", "same-origin")
	var got tokenAnswer
	if err := json.Unmarshal([]byte(body), &got); res.StatusCode != 200 || err != nil || got.Token != "token of ann" || got.User != "ann" {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	if res.Header.Get("Cache-Control") != "no-store" {
		t.Error("a token may be kept in a cache")
	}
	if res, body := ask(t, s, "GET", "/config", ""); res.StatusCode != 200 || !strings.Contains(body, `"pick":true`) || !strings.Contains(body, `"sockets":"ws://127.0.0.1:8080"`) {
		t.Errorf("config: %d %s", res.StatusCode, body)
	}
	byName := "localhost:" + s.port
	if res, body := ask(t, s, "POST", "/dev/token", `{"user":"ann"}`, "Host", byName, "Origin", "http://"+byName, "Content-Type", jsonType); res.StatusCode != 200 {
		t.Errorf("by localhost: %d %s", res.StatusCode, body)
	}
}

// TestTokenRefused tries what a page of somebody else's can do, and a proxy.
func TestTokenRefused(t *testing.T) {
	s := start(t, nil)
	self := "http://" + s.Addr().String()
	for what, c := range map[string]struct {
		status  int
		code    string
		body    string
		headers []string
	}{
		"another page":     {403, "bad_origin", `{"user":"ann"}`, []string{"Origin", "http://evil.example", "Content-Type", jsonType}},
		"another port":     {403, "bad_origin", `{"user":"ann"}`, []string{"Origin", "http://127.0.0.1:1", "Content-Type", jsonType}},
		"no page":          {403, "bad_origin", `{"user":"ann"}`, []string{"Content-Type", jsonType}},
		"a sandboxed page": {403, "bad_origin", `{"user":"ann"}`, []string{"Origin", "null", "Content-Type", jsonType}},
		"a page beside":    {403, "bad_origin", `{"user":"ann"}`, []string{"Origin", self, "Content-Type", jsonType, "Sec-Fetch-Site", "same-site"}},
		"a plain form":     {403, "bad_packet", `{"user":"ann"}`, []string{"Origin", self, "Content-Type", "text/plain"}},
		"rebinding":        {421, "bad_origin", `{"user":"ann"}`, []string{"Host", "evil.example:" + s.port, "Origin", "http://evil.example:" + s.port, "Content-Type", jsonType}},
		"a wrong port":     {421, "bad_origin", `{"user":"ann"}`, []string{"Host", "localhost:1", "Origin", "http://localhost:1", "Content-Type", jsonType}},
		"a proxy":          {403, "forbidden", `{"user":"ann"}`, []string{"Origin", self, "Content-Type", jsonType, "X-Forwarded-For", "10.0.0.1"}},
		"no name":          {400, "bad_name", `{}`, []string{"Origin", self, "Content-Type", jsonType}},
		"a bad name":       {400, "bad_name", `{"user":"a/b"}`, []string{"Origin", self, "Content-Type", jsonType}},
		"an unknown key":   {400, "bad_packet", `{"user":"ann","admin":true}`, []string{"Origin", self, "Content-Type", jsonType}},
		"too long":         {400, "bad_packet", `{"user":"` + strings.Repeat("a", tokenBody) + `"}`, []string{"Origin", self, "Content-Type", jsonType}},
		"no JSON":          {400, "bad_packet", `user=ann`, []string{"Origin", self, "Content-Type", jsonType}},
	} {
		res, body := ask(t, s, "POST", "/dev/token", c.body, c.headers...)
		var f failure
		if err := json.Unmarshal([]byte(body), &f); err != nil || res.StatusCode != c.status || f.Code != c.code || strings.Contains(body, "token of") {
			t.Errorf("%s: %d %s", what, res.StatusCode, body)
		}
	}
	if s.Stats.WrongHost.Load() != 2 {
		t.Errorf("%d requests for another host were counted", s.Stats.WrongHost.Load())
	}
}

// TestTokenElsewhere holds that names cannot be picked where others may come.
func TestTokenElsewhere(t *testing.T) {
	for what, change := range map[string]func(*Options){
		"reachable by others": func(o *Options) { o.Listen = "0.0.0.0:0" },
		"no development key":  func(o *Options) { o.Token = nil },
	} {
		s := start(t, change)
		host := "127.0.0.1:" + s.port
		res, body := ask(t, s, "POST", "/dev/token", `{"user":"ann"}`, "Host", host, "Origin", "http://"+host, "Content-Type", jsonType)
		if res.StatusCode != 403 || !strings.Contains(body, `"forbidden"`) {
			t.Errorf("%s: %d %s", what, res.StatusCode, body)
		}
		if res, body := ask(t, s, "GET", "/config", ""); !strings.Contains(body, `"pick":false`) {
			t.Errorf("%s: config: %d %s", what, res.StatusCode, body)
		}
	}
}

// TestPublicURL holds that a name that the operator gave is taken.
func TestPublicURL(t *testing.T) {
	s := start(t, func(o *Options) { o.URL, o.Sockets = "https://chat.example.org", "wss://sockets.example.org" })
	res, body := ask(t, s, "GET", "/config", "", "Host", "chat.example.org")
	if res.StatusCode != 200 || !strings.Contains(body, "wss://sockets.example.org") || !strings.Contains(body, `"pick":false`) {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if got := s.Origins(); len(got) != 4 || got[0] != "https://chat.example.org" {
		t.Errorf("origins: %v", got)
	}
	if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "connect-src 'self' wss://sockets.example.org;") {
		t.Errorf("policy: %s", csp)
	}
}

// TestHostInPolicy holds that a Host header cannot write into the policy.
func TestHostInPolicy(t *testing.T) {
	s := start(t, func(o *Options) { o.Listen = "0.0.0.0:0" })
	for _, host := range []string{"a;script-src *", "a b", "a,b", "[::1]x"} {
		res, _ := ask(t, s, "GET", "/", "", "Host", host)
		if res.StatusCode == 200 {
			t.Errorf("%q was taken: %s", host, res.Header.Get("Content-Security-Policy"))
		}
	}
}
