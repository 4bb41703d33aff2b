package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/certs"
	"github.com/rookery-chat/rookery/internal/delivery"
	"github.com/rookery-chat/rookery/internal/presence"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// far is the process at the other end.
type far struct {
	mu     sync.Mutex
	got    []string // "bob 7 packet", "typing a b true", …
	absent map[string]bool
	calls  []func() // done of sibling calls
	change chan struct{}

	hold chan struct{} // if there is one, Take waits for it
	fail bool          // Take panics
}

func newFar() *far { return &far{absent: map[string]bool{}, change: make(chan struct{})} }

// changed wakes who waits; it is called with mu held.
func (f *far) changed() {
	close(f.change)
	f.change = make(chan struct{})
}

// wait returns what came as soon as ok says so of it.
func (f *far) wait(t testing.TB, ok func(got []string) bool) []string {
	t.Helper()
	end := time.After(30 * time.Second)
	for {
		f.mu.Lock()
		got, change := slices.Clone(f.got), f.change
		f.mu.Unlock()
		if ok(got) {
			return got
		}
		select {
		case <-change:
		case <-end:
			t.Fatalf("it did not come; what came: %d, %.10q", len(got), got)
		}
	}
}

// waitFor waits for a number of things.
func (f *far) waitFor(t testing.TB, n int) []string {
	t.Helper()
	return f.wait(t, func(got []string) bool { return len(got) >= n })
}

func (f *far) add(format string, args ...any) {
	f.got = append(f.got, fmt.Sprintf(format, args...))
}

func (f *far) Take(hints []delivery.Hint, absent [][]byte) [][]byte {
	if f.hold != nil {
		<-f.hold
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail {
		panic("a fault of the receiver")
	}
	for i := range hints {
		h := &hints[i]
		f.add("%s %d %d %d %x %s %s", h.User, h.Kind, h.Pos, h.Prev, h.Node, h.Packet, h.Bare)
		if f.absent[string(h.User)] {
			absent = append(absent, h.User)
		}
	}
	f.changed()
	return absent
}

func (f *far) Typing(from, to chat.User, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.add("typing %s %s %v", from, to, on)
	f.changed()
}

func (f *far) Replaced(user chat.User, node chat.Node, session uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.add("replaced %s %x %d", user, node, session)
	f.changed()
}

func (f *far) Siblings(user chat.User, done func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, done)
	f.add("siblings %s", user)
	f.changed()
}

func (f *far) Revoked(user chat.User, device chat.Device, done func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, done)
	f.add("revoked %s %s", user, device)
	f.changed()
}

// newSource makes a certificate in a CA's folder.
func newSource(t testing.TB, dir, name string) *certs.Source {
	t.Helper()
	made, err := certs.Make(certs.Request{Dir: dir, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	s, err := certs.Open(made.Files, "", quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve starts a server and returns where it is.
func serve(t testing.TB, o ServerOptions, address string, h Handler) (*Server, presence.Gateway) {
	t.Helper()
	o.Logger = quiet
	s, err := NewServer(o, h)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		kill(s)
		serving.Wait()
	})
	return s, presence.Gateway{ID: "g1", Epoch: 1, Address: l.Addr().String()}
}

// kill ends a server as a process that dies would.
func kill(s *Server) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Stop(ctx)
}

func newPeers(t testing.TB, o Options) *Peers {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet
	}
	p, err := NewPeers(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// pair is a server and who sends to it, without TLS.
func pair(t testing.TB, o Options, h Handler) (*Peers, *Server, presence.Gateway) {
	t.Helper()
	s, at := serve(t, ServerOptions{Plaintext: true}, "127.0.0.1:0", h)
	o.Plaintext = true
	return newPeers(t, o), s, at
}

// eventually waits for counters, which nothing tells of.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	end := time.Now().Add(30 * time.Second)
	for !is() {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func hint(user string, pos chat.Position) *delivery.Hint {
	return &delivery.Hint{User: []byte(user), Kind: chat.EntryMessage, Pos: pos, Prev: pos - 1, Node: chat.Node{1, 2, 3, 4, 5, 6}, Packet: []byte("packet")}
}

func line(user string, pos chat.Position) string {
	return fmt.Sprintf("%s 1 %d %d 010203040506 packet ", user, pos, pos-1)
}
