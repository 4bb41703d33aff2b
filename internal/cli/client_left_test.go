package cli

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/clienttest"
	"github.com/rookery-chat/rookery/client/e2ee"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/internal/auth"
	"github.com/rookery-chat/rookery/packet"
)

// brokenConn is a connection that loses what comes once it is deaf, and what is written
// once it is mute.
type brokenConn struct {
	net.Conn
	deaf, mute *atomic.Bool
}

func (c brokenConn) Read(b []byte) (int, error) {
	for {
		if n, err := c.Conn.Read(b); err != nil || !c.deaf.Load() {
			return n, err
		}
	}
}

func (c brokenConn) Write(b []byte) (int, error) {
	if c.mute.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// breakOff ends a client at once, with what its outbox has.
func breakOff(c interface{ Close(context.Context) error }) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c.Close(ctx)
}

func wantUnsent(t *testing.T, state string, want int) {
	t.Helper()
	if n, err := client.Unsent(state); n != want || err != nil {
		t.Fatalf("%d messages wait in the outbox, not %d; %v", n, want, err)
	}
}

// What a command that was a spare device was not told to be sent before it was ended is
// sent by the next command, which is the first device: what the server had, too, is not
// there twice.
func TestSpareDeviceLeavesAMessage(t *testing.T) {
	s := startTestServer(t)
	s.hasKeys("alice", "bob")
	alice := s.start(nil, "tail", "--as", "alice", "--count", "5")
	wantLine := func(want string) {
		t.Helper()
		if line := alice.line(); !strings.HasSuffix(line, "  "+want) {
			t.Fatalf("alice got %q, want %q", line, want)
		}
	}
	wantLine("alice: note")
	dir := filepath.Join(s.data, "clients")
	names, err := devicesOf(dir, "bob")
	if err != nil {
		t.Fatal(err)
	}
	key, err := auth.LoadDevKey(s.data)
	if err != nil {
		t.Fatal(err)
	}
	spare := filepath.Join(dir, "bob."+names[1]+".state")
	var deaf, mute atomic.Bool
	c, err := e2ee.Dial(t.Context(), client.Options{
		URL: s.url, User: "bob", Device: names[1], State: spare, SendOnly: true, From: client.FromNow,
		Token: func(context.Context) (string, error) { return key.Sign(auth.NewClaims("", "bob", names[1], time.Hour)) },
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			return brokenConn{conn, &deaf, &mute}, err
		},
	}, e2ee.Options{Keys: keysPath(spare), Identity: filepath.Join(dir, "bob.identity")})
	if err != nil {
		t.Fatal(err)
	}
	defer breakOff(c)
	send := func(text string) *client.Sent {
		t.Helper()
		sent, err := c.Send(t.Context(), "alice", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return sent
	}
	if err := send("one").Durable(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLine("bob: one")
	deaf.Store(true)
	send("arrived")
	wantLine("bob: arrived")
	mute.Store(true)
	send("left")
	breakOff(c)
	wantUnsent(t, spare, 2)

	code, _, errOut := s.run("send", "--as", "bob", "--to", "alice", "two", "--wait", "durable")
	if code != ExitOK || errOut != "left by earlier commands of "+names[1]+", and sent: 2\n" {
		t.Errorf("%d: %s", code, errOut)
	}
	wantUnsent(t, spare, 0)
	wantLine("bob: left")
	wantLine("bob: two")
	alice.wantExit(ExitOK)
	if code, _, errOut := s.run("send", "--as", "bob", "--to", "alice", "three", "--wait", "durable"); code != ExitOK || errOut != "" {
		t.Errorf("with nothing left: %d: %s", code, errOut)
	}
}

// Why what was left is not sent is told: it waits on, or is refused for good.
func TestLeftAndNotSent(t *testing.T) {
	server, err := clienttest.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	dir := t.TempDir()
	names, err := devicesOf(dir, "alice")
	if err != nil {
		t.Fatal(err)
	}
	spare := filepath.Join(dir, "alice."+names[1]+".state")
	c, err := client.Open(t.Context(), client.Options{
		URL: server.URL, User: "alice", Device: names[1], State: spare,
		Token: func(context.Context) (string, error) { return "x", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer breakOff(c)
	conn, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Welcome(packet.Welcome{})
	for _, to := range []string{"bob", "carol"} {
		if _, err := c.Send(t.Context(), to, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	breakOff(c)
	wantUnsent(t, spare, 2)
	send := func(url string) (errOut string) {
		t.Helper()
		code, _, errOut := runCommand(t, nil, "send", "--as", "alice", "--to", "bob", "--token", "x", "--state", dir, "--url", url, "y")
		if code != ExitUnreachable {
			t.Errorf("exit %d", code)
		}
		return errOut
	}

	errOut := send("ws://127.0.0.1:1")
	if want := "rookery: left by earlier commands of " + names[1] + ", and not sent: "; !strings.HasPrefix(errOut, want) {
		t.Errorf("without a server: %s", errOut)
	}
	wantUnsent(t, spare, 2)

	go func() {
		conn, err := server.Accept()
		if err != nil {
			return
		}
		server.Decide(func(*frame.Request) frame.Decision { return frame.Decision{Status: 503, Reason: "busy"} }) // for the command's own
		conn.Welcome(packet.Welcome{})
		var m packet.Send
		conn.Expect(packet.TypeSend, &m)
		conn.Expect(packet.TypeSend, &m)
		conn.Write(&packet.Refused{N: 1, Code: chat.CodeIDFuture, Text: "ahead by an hour"})
		conn.Expect(packet.TypeSend, &m)
		conn.Write(&packet.Accepted{N: 1, Count: 1, Pos: 1})
	}()
	errOut = send(server.URL)
	refused := fmt.Sprintf("rookery: left by earlier commands of %s, to bob: %s", names[1], chat.CodeIDFuture)
	if !strings.HasPrefix(errOut, refused) || !strings.Contains(errOut, "\nleft by earlier commands of "+names[1]+", and sent: 1\n") {
		t.Errorf("with a message refused: %s", errOut)
	}
	wantUnsent(t, spare, 0)
}
