package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestSlowHeaders holds that who sends a header's bytes one by one is cut off.
func TestSlowHeaders(t *testing.T) {
	s := start(t, func(o *Options) { o.HeaderTimeout = 100 * time.Millisecond })
	conn := dial(t, s)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: "+s.Addr().String()+"\r\nX-Slow: ")
	if _, err := io.Copy(io.Discard, conn); err != nil { // until the server closes it
		t.Logf("the connection ended with %v", err)
	}
}

// TestSlowBody holds that a body that does not come costs no more than its time.
func TestSlowBody(t *testing.T) {
	s := start(t, func(o *Options) { o.HeaderTimeout, o.Timeout = 100*time.Millisecond, 100*time.Millisecond })
	conn := dial(t, s)
	host := s.Addr().String()
	fmt.Fprintf(conn, "POST /dev/token HTTP/1.1\r\nHost: %s\r\nOrigin: http://%s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", host, host)
	answer, _ := io.ReadAll(conn)
	if strings.Contains(string(answer), "200 OK") {
		t.Errorf("half a body was answered with %q", answer)
	}
}

func TestLargeHeaders(t *testing.T) {
	s := start(t, nil)
	// net/http reads some bytes beyond its limit before it refuses.
	conn := dial(t, s)
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nX-Large: %s\r\n\r\n", s.Addr(), strings.Repeat("x", maxHeaderBytes+4<<10))
	if answer, _ := io.ReadAll(conn); !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") {
		t.Errorf("answered with %.100q", answer)
	}
}

// TestConnections holds that a connection over the limit waits for another's end.
func TestConnections(t *testing.T) {
	s := start(t, func(o *Options) { o.Connections = 1 })
	first := dial(t, s)
	get(first, s)
	if _, err := http.ReadResponse(bufio.NewReader(first), nil); err != nil {
		t.Fatal(err)
	}
	second := dial(t, s)
	get(second, s)
	if n := s.Stats.Connections.Load(); n != 1 {
		t.Errorf("%d connections are open", n)
	}
	first.Close()
	if _, err := http.ReadResponse(bufio.NewReader(second), nil); err != nil {
		t.Fatal(err)
	}
}

// TestStopBeforeServe holds that a server that never answered lets its address go.
func TestStopBeforeServe(t *testing.T) {
	s := start(t, nil)
	other, err := Listen(Options{Listen: "127.0.0.1:0", Connections: 1, Logger: s.opt.Logger})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", other.Addr().String()); err == nil {
		t.Error("it listens still")
	}
	if _, err := Listen(Options{Listen: s.Addr().String(), Connections: 1, Logger: s.opt.Logger}); err == nil {
		t.Error("an address was taken twice")
	}
}

func dial(t *testing.T, s *Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func get(conn net.Conn, s *Server) {
	fmt.Fprintf(conn, "GET /config HTTP/1.1\r\nHost: %s\r\n\r\n", s.Addr())
}
