package server

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/internal/backend"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/pipeline/kafka"
	"github.com/rookery-chat/rookery/shard"
)

// talker is a user who sends to others the whole time, and judges what comes.
type talker struct {
	t    *testing.T
	name string
	*client.Client

	sent   map[string]int // by receiver
	last   map[string]*client.Sent
	all    []*client.Sent
	mu     sync.Mutex
	got    map[string]int // by sender
	copies map[string]int // by receiver
	newest chat.Position  // newest place among what came
	gone   error
}

func (cl *testCluster) talker(s *Server, name, device string, sendOnly bool) *talker {
	cl.t.Helper()
	w := &talker{t: cl.t, name: name, sent: map[string]int{}, last: map[string]*client.Sent{}, got: map[string]int{}, copies: map[string]int{}}
	c, err := client.Dial(cl.t.Context(), client.Options{
		URL: "ws://" + s.Addr().String(), User: name, Device: device, SendOnly: sendOnly,
		EventQueue: 1 << 16, // what waits while the epoch changes comes at once
		Token:      func(context.Context) (string, error) { return token(cl.t, s, name, device, time.Hour), nil },
	})
	must(cl.t, err)
	w.Client = c
	var taking sync.WaitGroup
	taking.Go(w.take)
	cl.t.Cleanup(func() {
		c.Close(context.Background())
		taking.Wait()
	})
	return w
}

// take judges what comes: of each sender every message, once, in order, and
// places that rise.
func (w *talker) take() {
	for {
		e, err := w.Receive(context.Background())
		if err != nil {
			return
		}
		w.mu.Lock()
		switch e := e.(type) {
		case client.Message:
			w.follows(w.got, e.From.Name(), e.Content)
			if e.Place <= w.newest {
				w.t.Errorf("%s got a message at %v after one at %v", w.name, e.Place, w.newest)
			}
			w.newest = e.Place
		case client.Copy:
			w.follows(w.copies, e.To.Name(), e.Content)
		case client.CaughtUp:
			if e.Position < w.newest {
				w.t.Errorf("%s is caught up to %v, and has %v", w.name, e.Position, w.newest)
			}
		case client.Disconnected:
			w.gone = e.Err
		case client.Problem:
			w.t.Errorf("%s has a problem: %v", w.name, e)
		}
		w.mu.Unlock()
		w.Handled()
	}
}

func (w *talker) follows(of map[string]int, other string, content []byte) {
	of[other]++
	if want := fmt.Sprint(of[other]); string(content) != want {
		w.t.Errorf("%s: with %s, message %s came as number %s", w.name, other, content, want)
	}
}

// talk sends to others, each in turn, until it is told to stop. One message in
// a few is waited for, so that it does not run ahead.
func (w *talker) talk(others []string, stop *atomic.Bool) {
	for i := 0; !stop.Load(); i++ {
		to := others[i%len(others)]
		if to == w.name {
			continue
		}
		w.sent[to]++
		s, err := w.Send(context.Background(), to, []byte(fmt.Sprint(w.sent[to])))
		if err != nil {
			w.t.Errorf("%s sends: %v", w.name, err)
			return
		}
		w.last[to], w.all = s, append(w.all, s)
		if i%4 == 0 {
			if err := s.Durable(context.Background()); err != nil {
				w.t.Errorf("%s sends: %v", w.name, err)
				return
			}
		}
	}
}

func (w *talker) has(of func(*talker) map[string]int, other string, n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return of(w)[other] >= n
}

func (w *talker) reached() chat.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.newest
}

// repartition does what the command does.
func (cl *testCluster) repartition(to int) {
	cl.t.Helper()
	l := cl.log()
	defer l.Close()
	o, err := backend.Kafka(cl.config(), nil)
	must(cl.t, err)
	_, err = kafka.CreateTopics(cl.t.Context(), o, kafka.Spec{Epoch: l.Epoch() + 1, Partitions: to, Replicas: 1, Online: true})
	must(cl.t, err)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// The log gets other partitions while everything is at work (law 16): users who
// send to each other the whole time get everything once and in order, nobody is
// disconnected, ticks go on. Senders are delayed and no more: no send of theirs
// fails, and each is durable in the end. One gateway does not hear of it for long.
func TestRepartition(t *testing.T) {
	cl := newCluster(t)
	for range 2 {
		cl.start("processor", nil)
	}
	gateways := []*Server{cl.start("gateway", nil), cl.start("gateway", nil)}
	deaf := cl.start("gateway", nil)
	deaf.stay()
	deaf.following.Wait()

	names := []string{"u0", "u1", "u2", "u3", "u4", "u5"}
	second := cl.talker(gateways[1], names[0], "web", false) // u0's, which gets copies
	var all []*talker
	for i, name := range names {
		all = append(all, cl.talker(gateways[i%2], name, "phone", false))
	}
	senders := append(all[:len(all):len(all)], cl.talker(deaf, "late", "phone", true))
	var talking sync.WaitGroup
	var stop atomic.Bool
	for _, w := range senders {
		talking.Go(func() { w.talk(names, &stop) })
	}
	for _, w := range all {
		eventually(t, "the first messages of "+w.name, func() bool { return w.reached() > 0 })
	}

	cl.repartition(7)
	for _, w := range all {
		eventually(t, "messages of the new epoch to "+w.name, func() bool { return w.reached().Epoch() == 1 })
	}
	eventually(t, "the deaf gateway's appends are forwarded", func() bool { return deaf.gateway.Stats.Settled.Load() > 0 })
	following, stay := context.WithCancel(t.Context())
	deaf.stay = stay
	deaf.following.Go(func() { deaf.follow(following) })
	eventually(t, "the deaf gateway hears", func() bool { return deaf.epochs.newest.Load().log.Epoch() == 1 })
	seen := all[0].reached()
	eventually(t, "more messages", func() bool { return all[0].reached() > seen+100*256 })
	stop.Store(true)
	talking.Wait()

	for _, from := range senders {
		for _, to := range all {
			n := from.sent[to.name]
			if n == 0 {
				continue
			}
			must(t, from.last[to.name].Durable(t.Context()))
			eventually(t, fmt.Sprintf("%d messages of %s to %s", n, from.name, to.name), func() bool {
				return to.has(func(w *talker) map[string]int { return w.got }, from.name, n)
			})
			if from.name == names[0] {
				eventually(t, "copies", func() bool { return second.has(func(w *talker) map[string]int { return w.copies }, to.name, n) })
			}
			eventually(t, fmt.Sprintf("the last tick of %s to %s", from.name, to.name), func() bool {
				status, err := from.last[to.name].Status()
				must(t, err)
				return status >= chat.Delivered
			})
		}
	}
	for _, w := range append(senders, second) {
		w.mu.Lock()
		if w.gone != nil {
			t.Errorf("%s was disconnected: %v", w.name, w.gone)
		}
		w.mu.Unlock()
	}
	st := cl.store()
	defer st.Close()
	late := senders[len(senders)-1]
	for _, s := range late.all { // of which some were forwarded
		m, found, err := st.Message(t.Context(), chat.DirectChat("late", s.To()), s.ID(), 0)
		if must(t, err); !found || m.Place != s.Place() {
			t.Errorf("the store has a message at %v, %v, its sender was told %v", m.Place, found, s.Place())
		}
	}
	for p := range 7 {
		if at, err := st.Applied(t.Context(), shard.Row(1, p)); err != nil || at.Epoch() != 1 {
			t.Errorf("partition %d is applied to %v, %v", p, at, err)
		}
	}
}

// Who starts later opens the old epoch too, as long as it is there, and goes on
// in the new one; also while that has not begun, and from epoch to epoch.
func TestStartBetweenEpochs(t *testing.T) {
	cl := newCluster(t)
	s := cl.start("all", nil)
	bob := dial(t, s, "bob", "phone", packet.ResumeCursor)
	expect[*packet.CaughtUp](bob)
	alice := dial(t, s, "alice", "phone", packet.ResumeCursor)
	alice.send("bob", "0")
	at := expect[*packet.Message](bob).Pos
	for epoch, partitions := range []int{3, 5} {
		cl.repartition(partitions)
		stopServer(t, s) // before it has sealed
		s = cl.start("all", nil)
		if n := len(s.epochs.each()); n != epoch+2 {
			t.Fatalf("%d epochs are open", n)
		}
		alice = dial(t, s, "alice", "phone", packet.ResumeCursor)
		alice.send("bob", fmt.Sprint(epoch+1))
		bob = dial(t, s, "bob", "phone", int64(at))
		m := expect[*packet.Message](bob)
		if string(m.Content) != fmt.Sprint(epoch+1) || int(m.Pos.Epoch()) != epoch+1 {
			t.Fatalf("got %+v", m)
		}
		at = m.Pos
	}
}
