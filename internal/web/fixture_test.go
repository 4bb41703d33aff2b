package web

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/chat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var socketsAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}

// start starts a listener on loopback.
func start(t *testing.T, change func(*Options)) *Server {
	t.Helper()
	return startSite(t, change, func(*Server) Site { return Site{Sockets: socketsAddr} })
}

func startSite(t *testing.T, change func(*Options), site func(*Server) Site) *Server {
	t.Helper()
	o := Options{
		Listen: "127.0.0.1:0", Connections: 16, HeaderTimeout: 30 * time.Second, Timeout: 30 * time.Second,
		Logger: slog.New(slog.DiscardHandler),
		Token:  func(u chat.User, _ time.Duration) (string, error) { return "token of " + string(u), nil },
	}
	if change != nil {
		change(&o)
	}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	done, with := make(chan error, 1), site(s)
	s.Open(with)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask sends a request. "Host" among the headers is the request's.
func ask(t *testing.T, s *Server, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+s.Addr().String()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(text)
}
