package gateway

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/rookery-chat/rookery/chat"
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
