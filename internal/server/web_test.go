package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/packet"
)

// pickName gets a token as the page does.
func pickName(t *testing.T, base, user string) string {
	t.Helper()
	r, err := http.NewRequest("POST", base+"/dev/token", strings.NewReader(`{"user":"`+user+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Origin", base)
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer res.Body.Close()
	var got struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil || got.Token == "" {
		t.Fatalf("no token: %d %v", res.StatusCode, err)
	}
	return got.Token
}

// TestPickedName goes the page's way: a name, a token, a session by it.
func TestPickedName(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	token := pickName(t, "http://"+s.WebAddr().String(), "ann")
	protocols := "Sec-WebSocket-Protocol: " + packet.Subprotocol + ", rookery.token." + token
	for origin, want := range map[string]int{"http://" + s.WebAddr().String(): 101, "http://evil.example": 403} {
		if _, r := handshake(t, s, "/ws/ann", protocols, "Origin: "+origin); r.StatusCode != want {
			t.Errorf("a page of %s: %d, want %d", origin, r.StatusCode, want)
		}
	}
}

// TestWebAddressTaken holds that a start says so, and fails as a whole.
func TestWebAddressTaken(t *testing.T) {
	s := startServer(t, t.TempDir(), nil)
	c := config.Default()
	c.Listen, c.Admin, c.Web.Listen, c.Data = "127.0.0.1:0", "127.0.0.1:0", s.WebAddr().String(), t.TempDir()
	if _, err := Start(t.Context(), c, Options{Version: "test", Logger: s.logger}); err == nil || !strings.Contains(err.Error(), "web") {
		t.Errorf("its address was taken: %v", err)
	}
}
