package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/internal/delivery"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/view"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/storage"
)

// instantLog says at once that a batch is durable.
type instantLog struct{ next chat.Position }

func (l *instantLog) MaxRecords() int       { return 1 << 20 }
func (l *instantLog) End(int) chat.Position { return l.next }

func (l *instantLog) TryAppend(_ int, _ []byte, count int, done func(chat.Position, error)) error {
	first := l.next + 1
	l.next += chat.Position(count)
	done(first, nil)
	return nil
}

// oneOwner owns everybody and has applied nothing.
type oneOwner struct{}

func (oneOwner) Partition([]byte) int                  { return 0 }
func (oneOwner) Node(chat.User, chat.Device) chat.Node { return chat.Node{1, 2, 3, 4, 5, 6} }
func (oneOwner) Applied(context.Context, chat.User) (chat.Position, error) {
	return 0, nil
}

// emptyStore has nothing; what these tests do not call panics.
type emptyStore struct{ storage.Store }

func (emptyStore) Devices(context.Context, chat.User) ([]storage.Device, error) { return nil, nil }
func (emptyStore) PutDevice(context.Context, chat.User, storage.Device) error   { return nil }
func (emptyStore) PutLastSeen(context.Context, chat.User, int64) error          { return nil }
func (emptyStore) Truncated(context.Context, chat.User, chat.Position) (chat.Position, error) {
	return 0, nil
}
func (emptyStore) Waiting(context.Context, chat.User, chat.Position, chat.Position, int) (int, error) {
	return 0, nil
}
func (emptyStore) Inbox(_ context.Context, _ chat.User, _, upTo chat.Position, _ int, _ int64, dst []chat.Entry) ([]chat.Entry, chat.Position, error) {
	return dst, upTo, nil
}
func (emptyStore) Receipts(_ context.Context, _ chat.User, _, _ chat.Position, _ chat.User, _ int, dst []chat.Receipt) ([]chat.Receipt, error) {
	return dst, nil
}

// oneSession is a gateway on a real loop with one session, whose client
// allocates nothing.
type oneSession struct {
	t   *testing.T
	gw  *Gateway
	out *delivery.Delivery
	net net.Conn
	in  *bufio.Reader
	buf []byte
}

// newOneSession returns one that is live.
func newOneSession(t *testing.T) *oneSession {
	t.Helper()
	s := newSession(t, emptyStore{}, oneOwner{}, packet.ResumeNow)
	var last []byte
	caughtUp := string((&packet.CaughtUp{}).AppendTo(nil))
	for len(last) < len(caughtUp) || string(last[len(last)-len(caughtUp):]) != caughtUp {
		n, err := s.in.Read(s.buf)
		if err != nil {
			t.Fatal(err)
		}
		last = append(last, s.buf[:n]...)
	}
	return s
}

// newSession returns one that has said hello.
func newSession(t *testing.T, store storage.Store, owners Owners, resume int64) *oneSession {
	t.Helper()
	table := presence.NewMemory()
	g, at := serve(t, store, owners, table, func(o *Options) {
		o.Rate, o.RateBurst, o.RateBytes, o.Inflight, o.Window, o.WindowBytes = 1<<30, 1<<30, 1<<40, 1<<20, 1<<30, 1<<30
	})
	s := hello(t, at, "d", resume)
	s.gw, s.out = g, delivery.New(1, 1, table, LoopOf, g.Post)
	return s
}

// serve runs a gateway on one loop until the test ends. Every token is alice's.
func serve(t *testing.T, store storage.Store, owners Owners, table *presence.Memory, change func(*Options)) (*Gateway, net.Addr) {
	t.Helper()
	o := DefaultOptions()
	o.Logger = slog.New(slog.DiscardHandler)
	o.Verify = func(string) (Identity, error) {
		return Identity{User: "alice", Expires: time.Now().Add(time.Hour)}, nil
	}
	change(&o)
	g, err := New(o, &instantLog{}, store, owners, table)
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Start(engine.Options{Listen: "127.0.0.1:0", Loops: 1, Logger: o.Logger}, g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Stop(t.Context())
		g.Close()
	})
	return g, e.Addr()
}

// welcomed connects alice's device d to a gateway and returns its welcome.
func welcomed(t *testing.T, store storage.Store, change func(*Options)) (s *resumed, w packet.Welcome) {
	t.Helper()
	_, at := serve(t, store, oneOwner{}, presence.NewMemory(), change)
	s = &resumed{oneSession: hello(t, at, "d", 0)}
	if err := errors.Join(s.net.SetDeadline(time.Now().Add(time.Minute)), w.Decode(s.next())); err != nil {
		t.Fatal(err)
	}
	return s, w
}

// hello connects a device and says hello.
func hello(t *testing.T, to net.Addr, device string, resume int64) *oneSession {
	t.Helper()
	c, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	fmt.Fprint(c, "GET /ws/alice HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: rookery.v1\r\nAuthorization: Bearer x\r\n\r\n")
	in := bufio.NewReader(c)
	if _, err := http.ReadResponse(in, nil); err != nil {
		t.Fatal(err)
	}
	hello := (&packet.Hello{Version: 1, Device: device, Resume: resume}).AppendTo(nil)
	c.Write(frame.AppendMasked(nil, frame.OpBinary, hello, [4]byte{}))
	return &oneSession{t: t, net: c, in: in, buf: make([]byte, 64<<10)}
}

// read takes n bytes off the socket.
func (s *oneSession) read(n int) {
	if _, err := io.ReadFull(s.net, s.buf[:n]); err != nil {
		s.t.Fatal(err)
	}
}

// mallocs returns how many objects f allocates in the whole process.
func mallocs(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

const (
	allocTurns   = 200
	allocPerTurn = 64
	// What a turn, of however many messages, may allocate: what is posted, and
	// what a collection in between makes the pools forget.
	allocsATurn = 6
)

// From the bytes of a socket to a record in a batch, and back to the bytes of
// the acknowledgement, nothing is allocated for a message.
func TestSendAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates, and makes pools forget")
	}
	s := newOneSession(t)
	clock := chat.NewClock(chat.Node{1, 2, 3, 4, 5, 6}, 1, chat.ID{})
	content, sent := make([]byte, 100), uint64(0)
	messages := make([][]byte, allocTurns+10)
	for i := range messages {
		var b []byte
		for range allocPerTurn {
			sent++
			b = (&packet.Send{N: sent, ID: clock.Next(time.Now()), To: []byte("bob"), Content: content}).AppendTo(b)
		}
		messages[i] = frame.AppendMasked(nil, frame.OpBinary, b, [4]byte{1, 2, 3, 4})
	}
	turn := func(i int) {
		s.net.Write(messages[i])
		want := (&packet.Accepted{N: uint64(i+1) * allocPerTurn, Count: allocPerTurn, Pos: chat.Position(i+1) * allocPerTurn})
		ack := want.AppendTo(make([]byte, 0, 32))
		s.read(frame.HeaderBytes(len(ack)) + len(ack))
	}
	for i := range 10 {
		turn(i)
	}
	n := mallocs(func() {
		for i := range allocTurns {
			turn(i + 10)
		}
	})
	if n > allocTurns*allocsATurn {
		t.Errorf("%d allocations in %d turns of %d messages", n, allocTurns, allocPerTurn)
	}
}

// From a stored message to the bytes on the socket nothing is allocated for a
// message.
func TestDeliverAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates, and makes pools forget")
	}
	s := newOneSession(t)
	entries := make([]chat.Entry, allocPerTurn)
	content, pos := make([]byte, 100), chat.Position(0)
	now := time.Now()
	id := chat.NewID(chat.Ticks(now), 1, chat.Node{1})
	turn := func() {
		size := 0
		for i := range entries {
			entries[i] = chat.Entry{Kind: chat.EntryMessage, User: "alice", Pos: pos + 1, Prev: pos,
				Message: chat.Message{ID: id, From: "bob-with-a-name-of-some-length-and-more", To: "alice", At: now.UnixMilli(), Content: content}}
			m := packet.Message{Pos: pos + 1, Gap: 1, ID: id, From: view.Bytes(entries[i].Message.From), Late: now.UnixMilli() - id.UnixMilli(), Content: content}
			s.buf = m.AppendTo(s.buf[:0])
			size += len(s.buf)
			pos++
		}
		s.out.Deliver(0, entries, nil)
		s.buf = s.buf[:cap(s.buf)]
		s.read(frame.HeaderBytes(size) + size)
	}
	for range 10 {
		turn()
	}
	n := mallocs(func() {
		for range allocTurns {
			turn()
		}
	})
	if n > allocTurns*allocsATurn {
		t.Errorf("%d allocations in %d turns of %d messages", n, allocTurns, allocPerTurn)
	}
}
