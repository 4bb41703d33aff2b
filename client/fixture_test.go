package client_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/clienttest"
	"github.com/rookery-chat/rookery/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a client and the server it talks to.
type fixture struct {
	t      *testing.T
	server *clienttest.Server
	o      client.Options
	c      *client.Client

	closeServer func()
}

// ctx ends long after everything should have happened.
func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return c
}

func newFixture(t *testing.T, change func(*client.Options)) *fixture {
	t.Helper()
	server, err := clienttest.Listen()
	must(t, err)
	closeOnce := sync.OnceFunc(server.Close)
	t.Cleanup(closeOnce)
	f := &fixture{t: t, server: server, closeServer: closeOnce, o: client.Options{
		URL: server.URL, User: "alice", Device: "phone",
		Token:      func(context.Context) (string, error) { return "token", nil },
		State:      filepath.Join(t.TempDir(), "alice.state"),
		BackoffMin: time.Millisecond, BackoffMax: 2 * time.Millisecond,
	}}
	if change != nil {
		change(&f.o)
	}
	f.open()
	return f
}

func (f *fixture) open() {
	f.t.Helper()
	c, err := client.Open(ctx(f.t), f.o)
	must(f.t, err)
	f.c = c
	f.t.Cleanup(func() { c.Close(canceled()) })
}

// welcome takes the next connection and lets it in.
func (f *fixture) welcome(w packet.Welcome) (*clienttest.Conn, packet.Hello) {
	f.t.Helper()
	conn, err := f.server.Accept()
	must(f.t, err)
	hello, err := conn.Welcome(w)
	must(f.t, err)
	return conn, hello
}

func (f *fixture) send(to, content string) *client.Sent {
	f.t.Helper()
	s, err := f.c.Send(ctx(f.t), to, []byte(content))
	must(f.t, err)
	return s
}

// receive returns the next event that is of type T and fails on messages and
// copies before it.
func receive[T client.Event](t *testing.T, c *client.Client) T {
	t.Helper()
	for {
		e, err := c.Receive(ctx(t))
		must(t, err)
		if want, ok := e.(T); ok {
			return want
		}
		switch e.(type) {
		case client.Message, client.Copy:
			t.Fatalf("%T %+v came before what was waited for", e, e)
		}
	}
}

// sends reads n sends and checks their numbers.
func sends(t *testing.T, conn *clienttest.Conn, first uint64, n int) []packet.Send {
	t.Helper()
	var got []packet.Send
	for i := range n {
		m := expect[packet.Send](t, conn, packet.TypeSend)
		if m.N != first+uint64(i) {
			t.Fatalf("send number %d, want %d", m.N, first+uint64(i))
		}
		got = append(got, m)
	}
	return got
}

func expect[T any, P interface {
	*T
	Decode(packet.Raw) error
}](t *testing.T, conn *clienttest.Conn, typ packet.Type) T {
	t.Helper()
	var x T
	must(t, conn.Expect(typ, P(&x)))
	return x
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func canceled() context.Context {
	c, cancel := context.WithCancel(context.Background())
	cancel()
	return c
}

func wantCode(t *testing.T, err error, code chat.Code) {
	t.Helper()
	var e *chat.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("error %v, want code %v", err, code)
	}
}

// message is one to alice at pos behind prev.
func message(pos, prev chat.Position, content string) *packet.Message {
	id := chat.NewID(chat.Ticks(time.Now())+uint64(pos), 1, chat.Node{9, 9, 9, 9, 9, 9})
	return &packet.Message{Pos: pos, Gap: uint64(pos - prev), ID: id, From: []byte("bob"), Content: []byte(content)}
}
