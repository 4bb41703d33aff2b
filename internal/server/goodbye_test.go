package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/packet"
)

// get reads a page of the admin server.
func get(t *testing.T, s *Server, path string) (status int, body string) {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + s.AdminAddr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, strings.TrimSpace(string(b))
}

// A drain tells balancers first, then clients where and when to come back, and
// acknowledges what they sent before they go.
func TestStopSaysWhereToGo(t *testing.T) {
	const url, retry = "wss://b.chat.example", 3 * time.Second
	s := startServer(t, t.TempDir(), func(c *config.Config) {
		c.Drain.URL, c.Drain.Retry, c.Drain.Grace = url, retry, time.Hour
	})
	if status, body := get(t, s, "/readyz"); status != http.StatusOK {
		t.Errorf("before: readyz %d %s", status, body)
	}
	s.gateway.Stats.Sessions.Add(1 << 20) // as many would be told one by one, for minutes
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	expect[*packet.CaughtUp](alice)

	ctx, hurry := context.WithCancel(t.Context())
	defer hurry()
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop(ctx) }()
	bye, ok := alice.next().(*packet.Bye)
	if !ok || bye.Code != chat.CodeDraining || bye.URL != url || bye.Retry == 0 || bye.Retry > uint64(retry.Milliseconds()) {
		t.Errorf("alice was told %+v", bye)
	}
	if _, code := alice.byeCode(); code != 4000+uint16(chat.CodeDraining) {
		t.Errorf("closed with %d", code)
	}
	if status, body := get(t, s, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "drain") {
		t.Errorf("meanwhile: readyz %d %s", status, body)
	}
	if status, _ := get(t, s, "/healthz"); status != http.StatusOK {
		t.Errorf("meanwhile: healthz %d", status)
	}
	if c, err := netDial(s); err == nil {
		if n, err := c.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("somebody new was let in: %d bytes, %v", n, err)
		}
		c.Close()
	}
	hurry()
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
}
