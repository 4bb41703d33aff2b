package client_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/packet"
)

// atEnd is a connection that calls a function before its client says that it
// closes.
type atEnd struct {
	net.Conn
	call func()
}

func (c atEnd) Write(b []byte) (int, error) {
	if b[0] == 0x80|byte(frame.OpClose) {
		c.call()
	}
	return c.Conn.Write(b)
}

// What the app handles while its client closes is kept, with what the app keeps
// of it: it does not come again.
func TestHandledWhileItCloses(t *testing.T) {
	var f *fixture
	var marked []chat.Position
	f = newFixture(t, func(o *client.Options) {
		o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			return atEnd{conn, func() { f.c.Handled() }}, err
		}
		o.BeforeMark = func() error {
			marked = append(marked, f.c.Position())
			return nil
		}
	})
	conn, _ := f.welcome(packet.Welcome{})
	conn.Write(message(1, 0, "one"), &packet.Receipt{Pos: 2, Gap: 1, Peer: []byte("bob"), Delivered: 1})
	receive[client.Message](t, f.c)
	receive[client.Receipt](t, f.c)
	if m := expect[packet.Mark](t, conn, packet.TypeMark); m.Pos != 1 {
		t.Fatalf("marked %v", m.Pos)
	}
	must(t, f.c.Close(ctx(t)))
	if n := len(marked); n == 0 || marked[n-1] != 2 {
		t.Errorf("before the last mark the app was asked at %v", marked)
	}
	f.open()
	if _, hello := f.welcome(packet.Welcome{Resume: 2}); hello.Resume != 2 {
		t.Errorf("resumes at %d: what was handled comes again", hello.Resume)
	}
}

// A client that was closed gives nothing more: it would come again.
func TestNothingIsGivenAfterClose(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	conn.Write(message(1, 0, "one"), message(2, 1, "two"), &packet.CaughtUp{Pos: 2})
	receive[client.Message](t, f.c)
	f.c.Handled()
	if m := expect[packet.Mark](t, conn, packet.TypeMark); m.Pos != 1 {
		t.Fatalf("marked %v", m.Pos)
	}
	must(t, f.c.Close(ctx(t)))
	if e, err := f.c.Receive(ctx(t)); !errors.Is(err, client.ErrClosed) {
		t.Errorf("after Close: %+v, %v", e, err)
	}
	f.open()
	conn, hello := f.welcome(packet.Welcome{})
	if hello.Resume != 1 {
		t.Fatalf("resumes at %d", hello.Resume)
	}
	conn.Write(message(2, 1, "two"))
	if m := receive[client.Message](t, f.c); string(m.Content) != "two" {
		t.Errorf("got %q", m.Content)
	}
}
