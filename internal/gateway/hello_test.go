package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/storage"
)

// deviceOwner owns everybody, as oneOwner, and tells devices apart.
type deviceOwner struct{ oneOwner }

func (deviceOwner) Node(_ chat.User, d chat.Device) chat.Node { return chat.Node{1, d[0]} }

// deviceStore remembers devices. A write waits until writing says that all are
// under way, so that none was read before.
type deviceStore struct {
	emptyStore
	mu      sync.Mutex
	known   []storage.Device
	writing sync.WaitGroup
}

func (s *deviceStore) Devices(context.Context, chat.User) ([]storage.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.known), nil
}

func (s *deviceStore) PutDevice(_ context.Context, _ chat.User, d storage.Device) error {
	s.writing.Done()
	s.writing.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = append(s.known, d)
	return nil
}

// However the hellos of a user's new devices overlap, each sends copies to the
// other from its welcome on.
func TestDevicesThatComeAtOnceSendCopies(t *testing.T) {
	store := &deviceStore{}
	store.writing.Add(2)
	first := newSession(t, store, deviceOwner{}, packet.ResumeCursor)
	second := hello(t, first.net.RemoteAddr(), "e", packet.ResumeCursor)
	for _, s := range []*oneSession{first, second} {
		if _, err := s.in.Read(s.buf); err != nil { // welcome
			t.Fatal(err)
		}
	}
	refs := first.gw.presence.Lookup([]byte("alice"), nil)
	if len(refs) != 2 {
		t.Fatalf("%d sessions, want 2", len(refs))
	}
	copies := make(chan bool, 1)
	for _, ref := range refs {
		first.gw.postAlways(ref, func(s *session) { copies <- s != nil && s.copies })
		if !<-copies {
			t.Error("a device sends no copies, though the user has two")
		}
	}
}

// slowStore answers when it is told to.
type slowStore struct {
	emptyStore
	asked, answer chan struct{}
}

func (s *slowStore) Devices(context.Context, chat.User) ([]storage.Device, error) {
	s.asked <- struct{}{}
	<-s.answer
	return nil, nil
}

// A client that waits for a slow store is not taken for one that says nothing:
// its next hello would cost the store the same again.
func TestAHelloWaitsForASlowStore(t *testing.T) {
	store := &slowStore{asked: make(chan struct{}, 2), answer: make(chan struct{})}
	g, at := serve(t, store, oneOwner{}, presence.NewMemory(), func(*Options) {})
	s := &resumed{oneSession: hello(t, at, "d", 0)}
	<-store.asked
	late := make(chan struct{})
	g.loops[0].Load().Post(func(l *engine.Loop) {
		defer close(late)
		l.Each(func(c *engine.Conn) { g.Deadline(c) })
	})
	<-late
	close(store.answer)
	var w packet.Welcome
	if err := errors.Join(s.net.SetDeadline(time.Now().Add(time.Minute)), w.Decode(s.next())); err != nil {
		t.Fatal(err)
	}
}
