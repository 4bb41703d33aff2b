package gateway

import (
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/packet"
)

func TestWorkSize(t *testing.T) {
	const maxBytes = 144 // a size that the allocator has
	if n := unsafe.Sizeof(work{}); n > maxBytes {
		t.Errorf("work has %d bytes, more than %d", n, maxBytes)
	}
}

// awaitRest returns when no session of the loop has work.
func (s *oneSession) awaitRest() {
	s.t.Helper()
	for begun := time.Now(); ; runtime.Gosched() {
		with := make(chan int, 1)
		s.gw.loops[0].Load().Post(func(l *engine.Loop) { with <- len(s.gw.state(l).working.sessions) })
		if <-with == 0 {
			return
		}
		if time.Since(begun) > time.Minute {
			s.t.Fatal("a session that does nothing still has work")
		}
	}
}

// A session gives its work back when it rests, and goes on afterwards as if it
// had never: its sends are numbered on, and its ids have to rise.
func TestSessionRestsAndGoesOn(t *testing.T) {
	s := newOneSession(t)
	clock := chat.NewClock(chat.Node{1, 2, 3, 4, 5, 6}, 1, chat.ID{})
	for n := range uint64(3) {
		s.awaitRest()
		send := (&packet.Send{N: n + 1, ID: clock.Next(time.Now()), To: []byte("bob"), Content: []byte("x")}).AppendTo(nil)
		s.net.Write(frame.AppendMasked(nil, frame.OpBinary, send, [4]byte{}))
		ack := (&packet.Accepted{N: n + 1, Count: 1, Pos: chat.Position(n + 1)}).AppendTo(nil)
		s.read(frame.HeaderBytes(len(ack)) + len(ack))
		if got := s.buf[frame.HeaderBytes(len(ack)):][:len(ack)]; string(got) != string(ack) {
			t.Fatalf("send %d was answered with %x, not %x", n+1, got, ack)
		}
	}
	s.awaitRest()
}

// What is under way keeps the work: each of these alone.
func TestWhoDoesNotRest(t *testing.T) {
	o := DefaultOptions()
	rested := func() *session {
		return &session{state: live, work: &work{frameAt: noFrame}}
	}
	if !rested().rests(&o, 1000) {
		t.Fatal("a session with nothing under way does not rest")
	}
	for name, busy := range map[string]func(s *session){
		"catching up":      func(s *session) { s.state = catching },
		"reading":          func(s *session) { s.reading = true },
		"an open frame":    func(s *session) { s.dirty = true },
		"in the retries":   func(s *session) { s.queued = true },
		"a mark under way": func(s *session) { s.marking = true },
		"a mark to log":    func(s *session) { s.marked = 1 },
		"refused":          func(s *session) { s.refused = true },
		"in flight":        func(s *session) { s.inflight = 1 },
		"a request":        func(s *session) { s.requests = 1 },
		"not marked":       func(s *session) { s.window.add(&o, 1, 1, 100) },
		"rate used":        func(s *session) { s.tokens.spend(&o, 1000, 100) },
		"part of a frame":  func(s *session) { s.reader.Next([]byte{0x82}, &frame.Limits{}) },
	} {
		s := rested()
		busy(s)
		if s.rests(&o, 1000) {
			t.Errorf("a session rests with: %s", name)
		}
	}
}

// Silence is counted across the wrap of the bits that are kept, and is not long
// because the wall clock was put back.
func TestSilence(t *testing.T) {
	var s session
	for _, heard := range []int64{1<<32 - 10, 1 << 40, 1_790_000_000_000} {
		s.hear(heard)
		for _, ms := range []int64{0, 20, 150_000, -5000, 20 * 24 * 3600 * 1000} {
			if got := s.silentMs(heard + ms); got != ms {
				t.Errorf("heard at %d: silent for %d ms, want %d", heard, got, ms)
			}
		}
	}
}

// The work of a slot whose next connection came in the same turn stays in the
// lists that it is in.
func TestWorkBegins(t *testing.T) {
	st := &loopState{g: &Gateway{opt: DefaultOptions()}}
	s := &session{}
	if st.wake(s); s.marked != s.markSent || s.window.full(&st.g.opt) {
		t.Errorf("work begins with a mark to log: %v, window full: %v", s.marked, s.window.full(&st.g.opt))
	}
	s.dirty, s.queued, s.inflight = true, true, 1
	if st.renew(s); !s.dirty || !s.queued || s.inflight != 0 {
		t.Errorf("renewed work: dirty %v, queued %v, %d in flight", s.dirty, s.queued, s.inflight)
	}
}

// A lease ends with its connection.
func TestLeaseEnds(t *testing.T) {
	s := newOneSession(t)
	leases := make(chan lease, 1)
	loop := s.gw.loops[0].Load()
	loop.Post(func(l *engine.Loop) {
		l.Each(func(c *engine.Conn) { leases <- sessionAt(c).lease() })
	})
	held := <-leases
	if held.ended() {
		t.Fatal("it ended with its connection there")
	}
	s.net.Close()
	for begun := time.Now(); loop.Conns() > 0; runtime.Gosched() {
		if time.Since(begun) > time.Minute {
			t.Fatal("the connection did not end")
		}
	}
	looked := make(chan bool, 1)
	loop.Post(func(*engine.Loop) { looked <- held.ended() })
	if !<-looked {
		t.Error("it did not end with its connection")
	}
}
