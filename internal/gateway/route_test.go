package gateway

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/packet"
)

// heldLog keeps appends until it is told that they are durable.
type heldLog struct {
	instantLog
	mu   sync.Mutex
	held []func()
	all  int
}

func (l *heldLog) TryAppend(_ int, _ []byte, count int, done func(chat.Position, error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all++
	first := l.next + 1
	l.next += chat.Position(count)
	l.held = append(l.held, func() { done(first, nil) })
	return nil
}

func (l *heldLog) appends() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}

func (l *heldLog) durable() {
	l.mu.Lock()
	held := l.held
	l.held = nil
	l.mu.Unlock()
	for _, f := range held {
		f()
	}
}

// sender is alice, who sends one message after the other.
type sender struct {
	*resumed
	clock *chat.Clock
}

func (s *sender) send(n uint64) {
	id := s.clock.Next(time.Now())
	m := packet.Send{N: n, ID: id, To: []byte("bob"), Content: []byte("hi")}
	s.put(&m)
}

func (s *sender) put(m interface{ AppendTo([]byte) []byte }) {
	s.net.Write(frame.AppendMasked(nil, frame.OpBinary, m.AppendTo(nil), [4]byte{}))
}

// until returns the next packet of a type.
func (s *sender) until(kind packet.Type) packet.Raw {
	for {
		if p := s.next(); p.Type == kind {
			return p
		}
	}
}

// answered returns when the gateway has worked on all that was sent.
func (s *sender) answered() {
	s.put(&packet.Ping{})
	s.until(packet.TypePong)
}

// refused sends a message, and returns when it is refused.
func (s *sender) refused(n uint64) {
	s.t.Helper()
	s.send(n)
	var r packet.Refused
	if err := r.Decode(s.until(packet.TypeRefused)); err != nil || r.N != n || r.Code != chat.CodeOverloaded || r.Retry == 0 {
		s.t.Fatalf("%+v, %v", r, err)
	}
}

// newSender returns one who was welcomed.
func newSender(t *testing.T, at net.Addr) *sender {
	t.Helper()
	s := &sender{resumed: &resumed{oneSession: hello(t, at, "d", 0)}, clock: chat.NewClock(chat.Node{1, 2, 3, 4, 5, 6}, 1, chat.ID{})}
	if err := s.net.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	s.until(packet.TypeWelcome)
	return s
}

// A loop changes to the next epoch when what it has appended to the last one is
// settled, and not before: until then it takes no send, and acknowledges none of
// which it cannot know in which epoch it is (laws 8 and 16).
func TestALoopChangesWhenItsAppendsAreSettled(t *testing.T) {
	g, at := serve(t, emptyStore{}, oneOwner{}, presence.NewMemory(), func(*Options) {})
	before, after := &heldLog{}, &heldLog{}
	settled := make(chan error)
	asked := make(chan chat.Position, 8)
	g.Follow(&Route{
		Log: before, Partition: oneOwner{}.Partition, Current: func() bool { return false },
		Settled: func(ctx context.Context, _ int, upTo chat.Position) (bool, error) {
			asked <- upTo
			select {
			case err := <-settled:
				return false, err
			case <-ctx.Done():
				return false, ctx.Err()
			}
		},
	})
	s := newSender(t, at)
	s.send(1)
	s.send(2)
	s.answered()
	if before.appends() == 0 || after.appends() > 0 {
		t.Fatalf("%d appends to the old epoch", before.appends())
	}
	g.Follow(&Route{Log: after, Partition: oneOwner{}.Partition})
	s.refused(3) // the others are on their way
	before.durable()
	s.refused(3) // they are durable, but perhaps behind the seal
	if after.appends() > 0 {
		t.Fatal("the loop is in the new epoch before the old appends are settled")
	}
	close(settled)
	s.until(packet.TypeAccepted)
	for after.appends() == 0 { // the loop has yet to see that
		s.send(3)
		s.answered()
	}
	furthest := <-asked
	for len(asked) > 0 {
		furthest = max(furthest, <-asked)
	}
	if furthest != 2 {
		t.Errorf("asked up to %v", furthest)
	}
}

// Where it stays open in which epoch an append is, the sender is told so.
func TestUnsettledIsUnknown(t *testing.T) {
	g, at := serve(t, emptyStore{}, oneOwner{}, presence.NewMemory(), func(*Options) {})
	g.Follow(&Route{
		Log: &instantLog{}, Partition: oneOwner{}.Partition, Current: func() bool { return false },
		Settled: func(context.Context, int, chat.Position) (bool, error) { return false, errors.New("nobody knows") },
	})
	s := newSender(t, at)
	s.send(1)
	var b packet.Bye
	if err := b.Decode(s.until(packet.TypeBye)); err != nil || b.Code != chat.CodeUnknown {
		t.Errorf("%+v, %v", b, err)
	}
}

// forwardedStore has what the next epoch's owner stored, once it was asked for it
// before.
type forwardedStore struct {
	emptyStore
	mu     sync.Mutex
	asked  map[chat.ID]int
	places map[chat.ID]chat.Position
}

func (s *forwardedStore) Message(_ context.Context, c chat.ChatID, id chat.ID, _ int64) (m chat.Message, found bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[id]++
	m.Place = s.places[id]
	return m, c == chat.DirectChat("alice", "bob") && m.Place > 0 && s.asked[id] > 1, nil
}

// What became durable when its epoch had ended is accepted at the place where it
// lies then: it may have been forwarded. Of what lies nowhere the sender is told
// that nobody knows, and sends it again.
func TestLatecomersAreAcceptedWhereTheyLie(t *testing.T) {
	store := &forwardedStore{asked: map[chat.ID]int{}, places: map[chat.ID]chat.Position{}}
	g, at := serve(t, store, oneOwner{}, presence.NewMemory(), func(*Options) {})
	log := &heldLog{}
	g.Follow(&Route{
		Log: log, Partition: oneOwner{}.Partition, Current: func() bool { return false },
		Settled: func(context.Context, int, chat.Position) (bool, error) { return true, nil },
	})
	s := newSender(t, at)
	want := []chat.Position{chat.NewPosition(1, 70), chat.NewPosition(1, 40), chat.NewPosition(0, 3)}
	var all []encoder
	store.mu.Lock()
	for i, place := range want {
		m := packet.Send{N: uint64(i + 1), ID: s.clock.Next(time.Now()), To: []byte("bob"), Content: []byte("hi")}
		store.places[m.ID] = place
		all = append(all, &m)
	}
	store.mu.Unlock()
	s.resumed.put(all...)
	s.answered()
	log.durable()
	for i, place := range want {
		var a packet.Accepted
		if err := a.Decode(s.until(packet.TypeAccepted)); err != nil || a != (packet.Accepted{N: uint64(i + 1), Count: 1, Pos: place}) {
			t.Errorf("%+v, %v; it lies at %v", a, err, place)
		}
	}
	s.send(4) // it was refused
	s.answered()
	log.durable()
	var b packet.Bye
	if err := b.Decode(s.until(packet.TypeBye)); err != nil || b.Code != chat.CodeUnknown {
		t.Errorf("%+v, %v", b, err)
	}
}
