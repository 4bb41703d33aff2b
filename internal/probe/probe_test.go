package probe

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/clienttest"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests; none depends on how long it is.
const patience = 20 * time.Second

// slow is a server that lets messages come so many steps far.
type slow struct {
	server *clienttest.Server
	steps  atomic.Int32
	alice  *clienttest.Conn
	bob    *clienttest.Conn

	mu      sync.Mutex
	place   chat.Position     // of the last message to bob
	waiting []*packet.Message // for bob
}

func startSlow(t *testing.T) (*slow, *Probe) {
	t.Helper()
	server, err := clienttest.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := &slow{server: server}
	p, err := New(t.Context(), Options{Sender: s.user("alice"), Receiver: s.user("bob"), Every: time.Millisecond, Timeout: patience, Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Welcome(packet.Welcome{}); err != nil {
			t.Fatal(err)
		}
		c.Write(&packet.CaughtUp{})
		if c.Path == "/ws/alice" {
			s.alice = c
		} else {
			s.bob = c
		}
	}
	return s, p
}

func (s *slow) user(name string) client.Options {
	return client.Options{
		URL: s.server.URL, User: name, Device: "probe", BackoffMin: time.Millisecond,
		Token: func(context.Context) (string, error) { return "token", nil },
	}
}

// serveAlice accepts what alice sends, and has it wait for bob.
func (s *slow) serveAlice() {
	for {
		p, err := s.alice.Read()
		if err != nil {
			return
		}
		var m packet.Send
		if p.Type != packet.TypeSend || m.Decode(p) != nil {
			continue
		}
		s.mu.Lock()
		s.place++
		s.waiting = append(s.waiting, &packet.Message{Pos: s.place, Gap: 1, ID: m.ID, From: []byte("alice"), Content: m.Content})
		if s.steps.Load() > int32(Accepted) {
			s.alice.Write(&packet.Accepted{N: m.N, Count: uint64(len(s.waiting)), Pos: s.place})
		}
		if s.steps.Load() > int32(Received) {
			for _, m := range s.waiting {
				s.bob.Write(m)
			}
			s.waiting = nil
		}
		s.mu.Unlock()
	}
}

// serveBob tells alice of what bob has.
func (s *slow) serveBob() {
	for {
		p, err := s.bob.Read()
		if err != nil {
			return
		}
		var m packet.Mark
		if p.Type == packet.TypeMark && m.Decode(p) == nil && s.steps.Load() > int32(Delivered) {
			s.alice.Write(&packet.Receipt{Peer: []byte("bob"), Delivered: m.Pos})
		}
	}
}

// A round says which step was not reached, and a message that comes after its
// round was late, not lost.
func TestRoundsFailAtTheirStep(t *testing.T) {
	s, p := startSlow(t)
	var serving sync.WaitGroup
	serving.Go(s.serveAlice)
	serving.Go(s.serveBob)
	life, stop := context.WithCancel(t.Context())
	serving.Go(func() { p.receive(life) })
	n := 0
	round := func(steps Step, timeout time.Duration) Round {
		s.steps.Store(int32(steps))
		p.o.Timeout = timeout
		n++
		r := p.round(t.Context(), n)
		p.record.add(&r)
		return r
	}
	received := 0
	for step := Accepted; step < Steps; step++ {
		for timeout := 20 * time.Millisecond; ; timeout *= 2 { // until it is enough for the steps before
			r := round(step, timeout)
			if !errors.Is(r.Err, context.DeadlineExceeded) || timeout > patience {
				t.Fatalf("without %v: %+v", step, r)
			}
			if r.Failed <= Received {
				received++
			}
			if r.Failed == step {
				break
			}
		}
	}
	if r := round(Steps, patience); r.Err != nil || r.Took[Accepted] <= 0 || r.Took[Received] <= 0 || r.Took[Delivered] < r.Took[Received] {
		t.Errorf("at last: %+v", r)
	}
	stats := p.Stats()
	if stats.InTime != 1 || stats.Failed[Accepted] < 1 || stats.Failed[Received] < 1 || stats.Failed[Delivered] < 1 || stats.Last.IsZero() {
		t.Errorf("stats %+v", stats)
	}
	if len(p.missing) != 0 || int(stats.Late) != received {
		t.Errorf("%d missing, %d of %d late", len(p.missing), stats.Late, received)
	}
	sum := p.record.summary(len(p.missing))
	if sum.OK() || sum.Rounds != n || sum.InTime != 1 || sum.Late != received || sum.Lost != 0 || sum.P99[Delivered] <= 0 {
		t.Errorf("summary %+v after %d rounds", sum, n)
	}
	for step, h := range stats.Took {
		total := uint64(0)
		for _, n := range h.Counts {
			total += n
		}
		if want := uint64(n) - sumTo(stats.Failed, Step(step)); total != want || h.Sum <= 0 {
			t.Errorf("%v: %d in the histogram, want %d", Step(step), total, want)
		}
	}
	stop()
	p.sender.Close(t.Context())
	p.receiver.Close(t.Context())
	serving.Wait()
}

// sumTo is how many rounds did not reach a step.
func sumTo(failed [Steps]uint64, step Step) (n uint64) {
	for i := range step + 1 {
		n += failed[i]
	}
	return n
}

// What never comes is lost, and the run says so.
func TestARunCountsWhatIsLost(t *testing.T) {
	s, p := startSlow(t)
	s.steps.Store(int32(Received))
	p.o.Timeout = 50 * time.Millisecond
	var serving sync.WaitGroup
	serving.Go(s.serveAlice)
	serving.Go(s.serveBob)
	var reported []Round
	p.o.Report = func(r Round) { reported = append(reported, r) }
	sum, err := p.Run(t.Context())
	if err != nil || sum.OK() || sum.Rounds != 1 || sum.Lost != 1 || sum.Late != 0 {
		t.Errorf("%+v, %v", sum, err)
	}
	if len(reported) != 1 || reported[0].Number != 1 || reported[0].Err == nil {
		t.Errorf("reported %+v", reported)
	}
	serving.Wait()
}

// A refusal that coming back does not mend ends it.
func TestARunEndsWhenItIsRefused(t *testing.T) {
	server, err := clienttest.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	server.Decide(func(*frame.Request) frame.Decision {
		return frame.Decision{Status: 403, Reason: chat.CodeWrongUser.String() + ": no"}
	})
	s := &slow{server: server}
	p, err := New(t.Context(), Options{Sender: s.user("alice"), Receiver: s.user("bob"), Every: time.Second, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	sum, err := p.Run(t.Context())
	if chat.CodeOf(err) != chat.CodeWrongUser {
		t.Errorf("%+v, %v", sum, err)
	}
}

// All faults are reported together.
func TestOptionsFaults(t *testing.T) {
	_, err := New(t.Context(), Options{Count: -1})
	for _, want := range []string{"every and timeout", "count", "two users", "URL", "Token"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}
