package server

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/packet"
)

const (
	balancer = "127.0.0.9" // trusted
	stranger = "127.0.0.1" // not
)

// behind starts a server that takes so many connections without a session of
// one address.
func behind(t *testing.T, how string, perAddress int) *Server {
	t.Helper()
	return startServer(t, t.TempDir(), func(c *config.Config) {
		c.ListenProxy, c.ListenTrusted = how, []string{"192.0.2.0/24", balancer}
		c.Session.UnauthenticatedPerAddress = perAddress
		c.Auth.DevKey = "true"
	})
}

// dialFrom connects from an address and sends what stands before the request.
func dialFrom(t *testing.T, s *Server, from, before string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, before)
	return c
}

// request is a good one of a user.
func request(t *testing.T, s *Server, user string, headers ...string) string {
	t.Helper()
	return upgrade("/ws/"+user, token(t, s, user, "", time.Hour), headers...)
}

func upgrade(path, token string, headers ...string) string {
	b := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s\r\nAuthorization: Bearer %s\r\n", path, packet.Subprotocol, token)
	return b + strings.Join(append(headers, "", ""), "\r\n")
}

// status is how a connection was answered; 0 when it was closed without.
func status(c net.Conn) int {
	b, _ := io.ReadAll(io.LimitReader(c, int64(len("HTTP/1.1 101"))))
	var code int
	fmt.Sscanf(string(b), "HTTP/1.1 %d", &code)
	return code
}

// v2Header is the PROXY header, version 2, of a client with an IPv4 address.
func v2Header(client string) string {
	b := bytes.NewBufferString("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c")
	b.Write(net.ParseIP(client).To4())
	b.WriteString("\x7f\x00\x00\x01\x30\x39\x1f\x90")
	return b.String()
}

func v1Header(client string) string { return "PROXY TCP4 " + client + " 127.0.0.1 12345 8080\r\n" }

// The limit of an address is that of the client, not of the balancer, until the
// client has a session.
func TestProxyHeaderNamesTheClient(t *testing.T) {
	s := behind(t, "proxy", 1)
	first := dialFrom(t, s, balancer, v1Header("198.51.100.1")+request(t, s, "alice"))
	alice := wireOn(t, first)
	if got := status(dialFrom(t, s, balancer, v2Header("198.51.100.1")+request(t, s, "bob"))); got != 0 {
		t.Errorf("a second connection of an address was answered with %d", got)
	}
	if got := status(dialFrom(t, s, balancer, v2Header("198.51.100.2")+request(t, s, "bob"))); got != 101 {
		t.Errorf("another address behind the same balancer was answered with %d", got)
	}
	if n := s.gateway.Stats.RefusedAddress.Load(); n != 1 {
		t.Errorf("%d refused for their address", n)
	}
	alice.hello("phone", packet.ResumeCursor)
	if got := status(dialFrom(t, s, balancer, v1Header("198.51.100.1")+request(t, s, "carol"))); got != 101 {
		t.Errorf("after the first has its session, the second was answered with %d", got)
	}
}

// The header and the request may come in any pieces; here every byte is one.
func TestProxyHeaderByteByByte(t *testing.T) {
	s := behind(t, "proxy", 1)
	for i, header := range []string{v1Header("198.51.100.1"), v2Header("198.51.100.2"), "PROXY UNKNOWN\r\n"} {
		user := fmt.Sprint("user", i)
		c := dialFrom(t, s, balancer, "")
		for _, b := range []byte(header + request(t, s, user)) {
			if _, err := c.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		w := wireOn(t, c)
		w.hello("phone", packet.ResumeCursor)
		expect[*packet.CaughtUp](w)
	}
}

// Nobody but a trusted balancer says who a client is.
func TestAStrangerIsNotBelieved(t *testing.T) {
	s := behind(t, "proxy", 10)
	for _, header := range []string{v1Header("198.51.100.1"), v2Header("198.51.100.1")} {
		if got := status(dialFrom(t, s, stranger, header+request(t, s, "eve"))); got != http.StatusBadRequest && got != http.StatusMethodNotAllowed {
			t.Errorf("%q was answered with %d", header, got)
		}
	}
	if got := status(dialFrom(t, s, stranger, request(t, s, "alice"))); got != 101 {
		t.Errorf("without a header: %d", got)
	}
	s = behind(t, "forwarded", 1)
	wireOn(t, dialFrom(t, s, stranger, request(t, s, "alice", "X-Forwarded-For: 198.51.100.1")))
	if got := status(dialFrom(t, s, stranger, request(t, s, "bob", "X-Forwarded-For: 198.51.100.2"))); got != 0 {
		t.Errorf("another X-Forwarded-For made it another client: %d", got)
	}
}

// A balancer that has to say who the client is and does not is refused, so that
// all clients are not taken for one.
func TestABalancerHasToName(t *testing.T) {
	s := behind(t, "proxy", 1)
	for i, bytes := range []string{request(t, s, "alice"), "PROXY TCP4 nonsense\r\n" + request(t, s, "alice")} {
		if got := status(dialFrom(t, s, balancer, bytes)); got != 0 {
			t.Errorf("%.12q was answered with %d", bytes, got)
		}
		if n := s.gateway.Stats.RefusedProxy.Load(); n != uint64(i+1) {
			t.Errorf("%d counted, want %d", n, i+1)
		}
	}
	s = behind(t, "forwarded", 1)
	for i, headers := range [][]string{nil, {"X-Forwarded-For: unknown"}} {
		if got := status(dialFrom(t, s, balancer, request(t, s, "alice", headers...))); got != http.StatusBadRequest {
			t.Errorf("%q was answered with %d", headers, got)
		}
		if n := s.gateway.Stats.RefusedProxy.Load(); n != uint64(i+1) {
			t.Errorf("%d counted, want %d", n, i+1)
		}
	}
}

// The rightmost address that is no balancer's is the client; what stands to the
// left the client may have written.
func TestForwardedForNamesTheClient(t *testing.T) {
	s := behind(t, "forwarded", 1)
	wireOn(t, dialFrom(t, s, balancer, request(t, s, "alice", "X-Forwarded-For: 198.51.100.1")))
	for _, headers := range [][]string{
		{"X-Forwarded-For: 203.0.113.5, 198.51.100.1"},
		{"X-Forwarded-For: 203.0.113.6", "X-Forwarded-For: 198.51.100.1, 192.0.2.1"},
	} {
		if got := status(dialFrom(t, s, balancer, request(t, s, "bob", headers...))); got != http.StatusTooManyRequests {
			t.Errorf("%q, of an address with a connection: %d", headers, got)
		}
	}
	if got := status(dialFrom(t, s, balancer, request(t, s, "bob", "X-Forwarded-For: 198.51.100.1, 198.51.100.2"))); got != 101 {
		t.Errorf("another client: %d", got)
	}
}

// What may be waited for is bounded also before there is a client to count it
// for.
func TestABalancerThatSaysNothingIsClosed(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) {
		c.ListenProxy, c.ListenTrusted, c.Auth.DevKey = "proxy", []string{balancer}, "true"
		c.Session.HandshakeTimeout = 100 * time.Millisecond
	})
	for _, before := range []string{"", "PROXY TCP4", v2Header("198.51.100.1")[:20]} {
		if got := status(dialFrom(t, s, balancer, before)); got != 0 {
			t.Errorf("%q was answered with %d", before, got)
		}
	}
}

// A connection that was reset before it was a session is counted for its address
// no more.
func TestResetsAreNotCountedForever(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Session.UnauthenticatedPerAddress = 1 })
	c := dialFrom(t, s, stranger, request(t, s, "alice")).(*net.TCPConn)
	if got := status(c); got != http.StatusSwitchingProtocols {
		t.Fatalf("the first was answered with %d", got)
	}
	c.SetLinger(0)
	c.Close()
	for until, got := time.Now().Add(patience), 0; got != http.StatusSwitchingProtocols; {
		if got = status(dialFrom(t, s, stranger, request(t, s, "bob"))); time.Now().After(until) {
			t.Fatalf("after the first was reset, one was answered with %d", got)
		}
	}
}
