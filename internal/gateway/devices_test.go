package gateway

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/storage"
)

// revokingStore is of a user with two devices, d among them.
type revokingStore struct {
	emptyStore
	known []storage.Device
	seen  int // looks at the devices
	after int // d is revoked from this look on
}

func (s *revokingStore) Devices(context.Context, chat.User) ([]storage.Device, error) {
	s.seen++
	list := slices.Clone(s.known)
	if s.after > 0 && s.seen >= s.after {
		list[0].Revoked = 5
	}
	return list, nil
}

// A device that is revoked between the look at its row and its registration is
// found by the second look.
func TestRevokedWhileItJoins(t *testing.T) {
	store := &revokingStore{known: []storage.Device{{Name: "d"}, {Name: "e"}}, after: 2}
	s := &resumed{oneSession: newSession(t, store, oneOwner{}, packet.ResumeCursor)}
	if code := s.bye(); code != chat.CodeRevoked {
		t.Errorf("it ended with %v", code)
	}
	if refs := s.gw.presence.Lookup([]byte("alice"), nil); len(refs) != 0 {
		t.Errorf("it is still registered: %v", refs)
	}
}

// Where the store or another gateway does not answer, who revokes is told to ask
// again.
func TestRevokeIsAnsweredWhenAllWereTold(t *testing.T) {
	o := newOthers()
	o.devices = 2
	s := o.live(t, nil)
	s.put(&packet.DeviceRevoke{Req: 3, Device: "e"})
	if code := s.answer(3); code != chat.CodeOK {
		t.Fatal(code)
	}
	o.await(t, "revoked e of alice at "+otherGateway.ID, 1)
	o.set(func() { o.siblings = errors.New("broken") })
	s.put(&packet.DeviceRevoke{Req: 4, Device: "e"})
	if code := s.answer(4); code != chat.CodeUnavailable {
		t.Error(code)
	}
	o.set(func() { o.siblings, o.where = nil, errors.New("no directory") })
	s.put(&packet.DeviceRevoke{Req: 5, Device: "e"})
	if code := s.answer(5); code != chat.CodeUnavailable {
		t.Error(code)
	}
	s.put(&packet.DeviceRevoke{Req: 6, Device: "e e"})
	if code := s.answer(6); code != chat.CodeBadName {
		t.Error(code)
	}
}

// A session that the directory learns of late looks whether its device was
// revoked meanwhile.
func TestRevokedBeforeItWasSettled(t *testing.T) {
	o := newOthers()
	s := o.live(t, nil)
	o.set(func() { o.revoked = true })
	s.gw.settled(o.registered(), presence.Registration{}, nil)
	if code := s.bye(); code != chat.CodeRevoked {
		t.Errorf("it ended with %v", code)
	}
}
