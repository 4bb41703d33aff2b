package gateway

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// leaving is a store that sees a connection go while it is asked for devices.
type leaving struct {
	emptyStore
	life  atomic.Uint32
	asked int
}

func (s *leaving) Devices(context.Context, chat.User) ([]storage.Device, error) {
	s.asked++
	s.life.Add(1)
	return []storage.Device{{Name: "phone"}}, nil
}

// A hello whose client has gone asks the store for no more, and registers
// nothing: after a wave of reconnects the workers are there for who still waits.
func TestHelloOfOneWhoHasGone(t *testing.T) {
	store := &leaving{}
	g := &Gateway{store: store} // presence and loops would panic
	g.join(1, "bob", "phone", 0, 0, 0, chat.Node{}, 0, lease{life: &store.life})
	if store.asked != 1 {
		t.Errorf("the store was asked %d times", store.asked)
	}
}
