package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/clienttest"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/packet"
)

func TestOptionsReportAllFaultsTogether(t *testing.T) {
	_, err := client.Open(ctx(t), client.Options{URL: "http://x", User: "a b", From: "soon", BackoffMin: -1})
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{"URL", "User", "Device", "Token", "From", "BackoffMin"} {
		if !strings.Contains(err.Error(), "client options: "+want) && !strings.Contains(err.Error(), want+" is negative") {
			t.Errorf("nothing about %s in %v", want, err)
		}
	}
}

func TestDialReportsTheFirstFailure(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l.Close()
	o := client.Options{URL: "ws://" + l.Addr().String(), User: "alice", Device: "phone",
		Token: func(context.Context) (string, error) { return "", nil }}
	_, err = client.Dial(ctx(t), o)
	wantCode(t, err, chat.CodeUnavailable)
	if !strings.Contains(err.Error(), "is the server running") {
		t.Fatalf("the error does not say what to do: %v", err)
	}
	server, err := clienttest.Listen()
	must(t, err)
	defer server.Close()
	o.URL = server.URL
	go func() {
		if conn, err := server.Accept(); err == nil {
			conn.Welcome(packet.Welcome{})
		}
	}()
	c, err := client.Dial(ctx(t), o)
	must(t, err)
	must(t, c.Close(ctx(t)))
	if _, err := client.Dial(canceled(), o); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
}

// A refused handshake says why, in the server's words.
func TestHandshakeRefusals(t *testing.T) {
	for _, x := range []struct {
		decision frame.Decision
		want     chat.Code
		text     string
	}{
		{frame.Decision{Status: 401, Reason: "expired: an hour ago"}, chat.CodeExpired, "an hour ago"},
		{frame.Decision{Status: 403, Reason: "wrong_user: you are bob"}, chat.CodeWrongUser, "you are bob"},
		{frame.Decision{Status: 503, Reason: "draining"}, chat.CodeDraining, ""},
		{frame.Decision{Status: 503, Reason: "come later"}, chat.CodeBusy, "come later"},
		{frame.Decision{Status: 404, Reason: "not_found: connect to /ws/<user>"}, chat.CodeNotFound, "connect to"},
	} {
		server, err := clienttest.Listen()
		must(t, err)
		server.Decide(func(*frame.Request) frame.Decision { return x.decision })
		_, err = client.Dial(ctx(t), client.Options{URL: server.URL, User: "alice", Device: "phone",
			Token: func(context.Context) (string, error) { return "", nil }})
		wantCode(t, err, x.want)
		if !strings.Contains(err.Error(), x.text) {
			t.Errorf("%v does not say %q", err, x.text)
		}
		server.Close()
	}
}

func TestRefusedTokensEndTheClient(t *testing.T) {
	var tokens atomic.Int32
	f := newFixture(t, func(o *client.Options) {
		o.Token = func(context.Context) (string, error) { return fmt.Sprint(tokens.Add(1)), nil }
	})
	f.server.Decide(func(*frame.Request) frame.Decision {
		return frame.Decision{Status: 401, Reason: "unauthorized: unknown key"}
	})
	err := f.c.Connected(ctx(t))
	if chat.CodeOf(err) != chat.CodeUnauthorized {
		// The fixture's server took one before it was told not to.
		conn, err := f.server.Accept()
		must(t, err)
		conn.Write(&packet.Bye{Code: chat.CodeUnauthorized})
	}
	<-f.c.Done()
	wantCode(t, f.c.Err(), chat.CodeUnauthorized)
}

func TestRetryAfterIsHeeded(t *testing.T) {
	var calls atomic.Int32
	f := newFixture(t, func(o *client.Options) {
		o.Token = func(context.Context) (string, error) { calls.Add(1); return "t", nil }
	})
	conn, _ := f.welcome(packet.Welcome{})
	conn.Write(&packet.Bye{Code: chat.CodeBusy, Retry: 3_600_000})
	e := receive[client.Disconnected](t, f.c)
	wantCode(t, e.Err, chat.CodeBusy)
	if e.RetryIn != time.Hour {
		t.Fatalf("comes back in %v", e.RetryIn)
	}
	must(t, f.c.Close(ctx(t))) // which does not wait for it
	if calls.Load() != 1 {
		t.Fatalf("%d connections", calls.Load())
	}
}

func TestByeSendsElsewhereAndBack(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	other, err := clienttest.Listen()
	must(t, err)
	conn.Write(&packet.Bye{Code: chat.CodeDraining, Retry: 1, URL: other.URL})
	there, err := other.Accept()
	must(t, err)
	_, err = there.Welcome(packet.Welcome{})
	must(t, err)
	if there.Path != "/ws/alice" {
		t.Fatalf("path %q", there.Path)
	}
	other.Close()
	f.welcome(packet.Welcome{}) // that place is gone: back to the first
}

// A server that drains acknowledges what it has taken before it closes.
func TestDrainingServerStillAcknowledges(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	a, b := f.send("bob", "a"), f.send("bob", "b")
	sends(t, conn, 1, 2)
	conn.Write(&packet.Bye{Code: chat.CodeDraining, Retry: 1}, &packet.Accepted{N: 1, Count: 1, Pos: 1})
	must(t, a.Durable(ctx(t)))
	conn.Write(&packet.Accepted{N: 2, Count: 1, Pos: 2})
	must(t, b.Durable(ctx(t)))
	f.send("bob", "y")
	conn, _ = f.welcome(packet.Welcome{})
	if m := sends(t, conn, 1, 1)[0]; string(m.Content) != "y" {
		t.Fatalf("sent %+v", m)
	}
}

func TestTokenIsRefreshedInTheSession(t *testing.T) {
	var n atomic.Int32
	f := newFixture(t, func(o *client.Options) {
		o.Token = func(context.Context) (string, error) { return fmt.Sprint("token", n.Add(1)), nil }
	})
	conn, _ := f.welcome(packet.Welcome{Expires: chat.MillisNow() + 300})
	if r := expect[packet.Refresh](t, conn, packet.TypeRefresh); r.Token != "token2" {
		t.Fatalf("refreshed with %q", r.Token)
	}
	conn.Write(&packet.Refreshed{Expires: chat.MillisNow() + 3_600_000})
	conn.Write(&packet.Error{Code: chat.CodeExpired, Text: "the token ends soon"})
	if r := expect[packet.Refresh](t, conn, packet.TypeRefresh); r.Token != "token3" {
		t.Fatalf("after the warning: %q", r.Token)
	}
}

func TestExpiredSessionComesBackWithANewToken(t *testing.T) {
	var n atomic.Int32
	f := newFixture(t, func(o *client.Options) {
		o.Token = func(context.Context) (string, error) { return fmt.Sprint("token", n.Add(1)), nil }
	})
	conn, _ := f.welcome(packet.Welcome{})
	conn.Write(&packet.Bye{Code: chat.CodeExpired})
	conn, _ = f.welcome(packet.Welcome{})
	if conn.Authorization != "Bearer token2" {
		t.Fatalf("came back with %q", conn.Authorization)
	}
}

func TestPingWhenSilentAndPong(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{Heartbeat: 20})
	p := expect[packet.Ping](t, conn, packet.TypePing)
	conn.Write(&packet.Pong{Data: p.Data, Now: chat.MillisNow() + 3_600_000})
	expect[packet.Ping](t, conn, packet.TypePing)
	if ahead := time.Until(f.c.Now()); ahead < 59*time.Minute {
		t.Fatalf("the pong's time is not heeded: %v", ahead)
	}
	conn.WriteFrame(frame.OpPing, []byte("hello"))
	for conn.Pongs() == 0 {
		expect[packet.Ping](t, conn, packet.TypePing)
	}
}

// A server that accepts the connection and says nothing more is left.
func TestSilentServerIsLeft(t *testing.T) {
	f := newFixture(t, func(o *client.Options) { o.DialTimeout = 200 * time.Millisecond })
	first, err := f.server.Accept()
	must(t, err)
	if _, err := first.Gone(); err != nil { // no welcome
		t.Fatal(err)
	}
	conn := f.patientWelcome(packet.Welcome{Heartbeat: 10})
	if _, err := conn.Gone(); err != nil { // no answer to pings
		t.Fatal(err)
	}
	f.patientWelcome(packet.Welcome{})
}

// patientWelcome is welcome for a client that may have gone meanwhile.
func (f *fixture) patientWelcome(w packet.Welcome) *clienttest.Conn {
	f.t.Helper()
	for {
		conn, err := f.server.Accept()
		must(f.t, err)
		if _, err := conn.Welcome(w); err == nil {
			return conn
		}
	}
}

func TestBrokenServers(t *testing.T) {
	for name, write := range map[string]func(*clienttest.Conn){
		"text":            func(c *clienttest.Conn) { c.WriteFrame(frame.OpText, []byte("hi")) },
		"no packet":       func(c *clienttest.Conn) { c.WriteFrame(frame.OpBinary, []byte{0xc1}) },
		"bad packet":      func(c *clienttest.Conn) { c.WriteFrame(frame.OpBinary, []byte{0x92, 33, 0xc0}) },
		"reserved opcode": func(c *clienttest.Conn) { c.WriteFrame(frame.Op(3), nil) },
		"second welcome":  func(c *clienttest.Conn) { c.Write(&packet.Welcome{Version: packet.Version}) },
		"accepts nothing": func(c *clienttest.Conn) { c.Write(&packet.Accepted{N: 9, Count: 1}) },
		"close":           func(c *clienttest.Conn) { c.WriteFrame(frame.OpClose, []byte{3, 232}) },
		"impossible gap":  func(c *clienttest.Conn) { c.Write(&packet.Message{Pos: 1, Gap: 2}) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			conn, _ := f.welcome(packet.Welcome{})
			conn.Write(&packet.Refused{N: 7, Code: chat.CodeOverloaded}) // of nothing: passed over
			conn.WriteFrame(frame.OpBinary, []byte{0x91, 99})            // a later version's packet: too
			write(conn)
			f.welcome(packet.Welcome{})
		})
	}
}

// A close frame without a bye says as much by its code.
func TestCloseCodes(t *testing.T) {
	for code, want := range map[uint16]chat.Code{4202: chat.CodeReplaced, 1009: chat.CodeProtocol} {
		f := newFixture(t, nil)
		conn, _ := f.welcome(packet.Welcome{})
		conn.WriteFrame(frame.OpClose, []byte{byte(code >> 8), byte(code)})
		<-f.c.Done()
		wantCode(t, f.c.Err(), want)
		must(t, f.c.Close(ctx(t)))
	}
	f := newFixture(t, nil)
	for range 3 { // a welcome in between resets the count of refused tokens
		conn, _ := f.welcome(packet.Welcome{})
		conn.WriteFrame(frame.OpClose, []byte{4200 >> 8, 4200 & 0xff})
	}
}

// Close says what was handled and what was read, then goodbye.
func TestCloseWritesWhatIsReady(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	conn.Write(message(1, 0, "one"))
	m := receive[client.Message](t, f.c)
	must(t, f.c.MarkRead("bob", m.Place))
	f.c.Handled()
	must(t, f.c.Close(ctx(t)))
	got := map[packet.Type]int{}
	for {
		p, err := conn.Read()
		if err != nil {
			break
		}
		got[p.Type]++
	}
	code, err := conn.Gone()
	must(t, err)
	if got[packet.TypeMark] != 1 || got[packet.TypeRead] != 1 || code != frame.CloseNormal {
		t.Fatalf("packets %v, close code %d", got, code)
	}
}

func TestStateFileIsForOneClient(t *testing.T) {
	f := newFixture(t, nil)
	if _, err := client.Open(ctx(t), f.o); err == nil || !strings.Contains(err.Error(), "another process uses it") {
		t.Fatalf("opened twice: %v", err)
	}
	must(t, f.c.Close(ctx(t)))
	f.o.Device = "tablet"
	if _, err := client.Open(ctx(t), f.o); err == nil || !strings.Contains(err.Error(), `device "phone"`) {
		t.Fatalf("another device's file: %v", err)
	}
}

// The rates of the welcome are kept to.
func TestRatesAreHeeded(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{Limits: map[string]uint64{packet.LimitRate: 1, packet.LimitBurst: 3}})
	for range 10 {
		f.send("bob", "x")
	}
	sends(t, conn, 1, 2) // a tenth below the burst
	must(t, f.c.Typing("bob", true))
	expect[packet.Typing](t, conn, packet.TypeTyping)
	if got := len(f.c.Outbox()); got != 10 {
		t.Fatalf("outbox %d", got)
	}
	must(t, f.c.Close(ctx(t)))
	if p, err := conn.Read(); err == nil {
		t.Fatalf("over the rate: %+v", p)
	}
}
