package server

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/packet"
)

func TestTooManyOfOneAddressWithoutASession(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Session.UnauthenticatedPerAddress = 2 })
	by := standBy(t, s) // those who have a session do not count
	first := open(t, s, name("eve"))
	open(t, s, name("eve"))
	third, err := netDial(s)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if n, err := third.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the third got %d bytes and %v, want to be closed", n, err)
	}
	first.hello("phone", packet.ResumeCursor)
	open(t, s, name("eve")) // in its place
	by.noticeNothing()
}

// Packets of one message are taken before anything that they cause, so what is
// over a bound is known.
func TestOverInflight(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Session.Inflight = 2 })
	by := standBy(t, s)
	w := dial(t, s, name("eve"), "phone", packet.ResumeCursor)
	sends := make([]appender, 3)
	for i := range sends {
		sends[i] = &packet.Send{N: uint64(i + 1), ID: w.clock.Next(time.Now()), To: []byte("bob")}
	}
	w.put(sends...)
	if r, ok := nextOf[*packet.Refused](w); !ok || r.N != 3 || r.Code != chat.CodeOverloaded || r.Retry == 0 {
		t.Errorf("over the sends in flight: %+v", r)
	}
	if a := expect[*packet.Accepted](w); a.N == 1 {
		expect[*packet.Accepted](w)
	}
	w.put(sends[2])
	if a := expect[*packet.Accepted](w); a.N != 3 {
		t.Errorf("sent again: %+v", a)
	}
	by.noticeNothing()
}

func TestOverRequests(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Session.Requests = 2 })
	by := standBy(t, s)
	w := dial(t, s, name("eve"), "phone", packet.ResumeCursor)
	expect[*packet.CaughtUp](w)
	w.put(&packet.History{Req: 1, Peer: "bob"}, &packet.Chats{Req: 2}, &packet.History{Req: 3, Peer: "bob"})
	answered := map[uint64]bool{}
	var refused *packet.Error
	for len(answered) < 3 {
		switch p := w.next().(type) {
		case *packet.HistoryPage:
			answered[p.Req] = true
		case *packet.ChatsPage:
			answered[p.Req] = true
		case *packet.Error:
			answered[p.Req], refused = true, p
		default:
			t.Fatalf("%+v came", p)
		}
	}
	if refused == nil || refused.Req != 3 || refused.Code != chat.CodeOverloaded || refused.Retry == 0 {
		t.Errorf("over the requests at work: %+v", refused)
	}
	w.put(&packet.Chats{Req: 4})
	if p := expect[*packet.ChatsPage](w); p.Req != 4 {
		t.Errorf("asked again: %+v", p)
	}
	by.noticeNothing()
}

func TestOverTheBytesASecond(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Session.RateBytes = 4 << 10 })
	by := standBy(t, s)
	w := dial(t, s, name("eve"), "phone", packet.ResumeCursor)
	var sends [3]packet.Send
	for i := range sends {
		sends[i] = packet.Send{N: uint64(i + 1), ID: w.clock.Next(time.Now()), To: []byte("bob"), Content: make([]byte, 3<<10)}
	}
	w.put(&sends[0], &sends[1], &sends[2])
	// The second is more than there is; the third comes after a refusal.
	if r, ok := nextOf[*packet.Refused](w); !ok || r.N != 2 || r.Code != chat.CodeRateLimited || r.Retry == 0 {
		t.Errorf("over the bytes a second: %+v", r)
	}
	if a := expect[*packet.Accepted](w); a.N != 1 {
		t.Errorf("within them: %+v", a)
	}
	by.noticeNothing()
}

// Bytes count for the window too: a page ends it, and a mark opens it again.
func TestWindowBytesStopUntilMarked(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Session.WindowBytes = 64 << 10 })
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	const count, size = 11, 30 << 10
	for range count {
		alice.send("bob", string(bytes.Repeat([]byte("x"), size)))
	}
	for got := uint64(0); got < count; {
		got += expect[*packet.Accepted](alice).Count
	}
	settle(t, s)
	bob := dial(t, s, "bob", "phone", packet.ResumeCursor)
	const page = 3 // messages after which a page is over 64 KiB
	for i := range count {
		m := expect[*packet.Message](bob)
		if i%page != page-1 {
			continue
		}
		bob.put(&packet.Ping{Data: uint64(i)})
		p := bob.next()
		if pong, ok := p.(*packet.Pong); !ok || pong.Data != uint64(i) {
			t.Fatalf("after %d messages, with a full window, came a %T", i+1, p)
		}
		bob.put(&packet.Mark{Pos: m.Pos})
	}
	expect[*packet.CaughtUp](bob)
}

func TestPagesHaveAtMostTheConfiguredRows(t *testing.T) {
	s := startServer(t, t.TempDir(), func(c *config.Config) { c.Session.HistoryRows = 3 })
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	for _, to := range []string{"bob", "bob", "bob", "bob", "carol", "dave", "erin"} {
		alice.send(to, "hi")
	}
	for to, n := range map[string]int{"bob": 4, "carol": 1, "dave": 1, "erin": 1} {
		w := dial(t, s, to, "phone", packet.ResumeCursor)
		for range n { // they are stored then
			expect[*packet.Message](w)
		}
	}
	for _, asked := range []int{0, 3, 4, 1000} {
		alice.put(&packet.History{Req: 1, Peer: "bob", Limit: asked})
		if p := expect[*packet.HistoryPage](alice); len(p.Rows) != 3 || !p.More {
			t.Errorf("asked for %d: %d messages, more: %v", asked, len(p.Rows), p.More)
		}
		alice.put(&packet.Chats{Req: 1, Limit: asked})
		if p := expect[*packet.ChatsPage](alice); len(p.Chats) != 3 || !p.More {
			t.Errorf("asked for %d: %d chats, more: %v", asked, len(p.Chats), p.More)
		}
	}
	alice.put(&packet.History{Req: 2, Peer: "bob", Limit: 2})
	if p := expect[*packet.HistoryPage](alice); len(p.Rows) != 2 || !p.More {
		t.Errorf("asked for 2: %d messages, more: %v", len(p.Rows), p.More)
	}
}
