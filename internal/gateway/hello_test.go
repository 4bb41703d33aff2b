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

// asked is a store that notes, beside the directory, what a hello asks of it. What
// is not here panics.
type asked struct {
	emptyStore
	o       *others
	waiting int // entries behind the cursor
}

func (a asked) note(what string) {
	a.o.mu.Lock()
	defer a.o.mu.Unlock()
	a.o.note("%s", what)
}

// askedOwners note it too.
type askedOwners struct {
	oneOwner
	of asked
}

func (o askedOwners) Applied(context.Context, chat.User) (chat.Position, error) {
	o.of.note("applied")
	return 1000, nil
}

func (a asked) Devices(context.Context, chat.User) ([]storage.Device, error) {
	a.note("devices")
	return []storage.Device{{Name: "d", Cursor: 40}}, nil
}

func (a asked) Inbox(_ context.Context, _ chat.User, after, upTo chat.Position, limit int, _ int64, dst []chat.Entry) ([]chat.Entry, chat.Position, error) {
	a.note("inbox")
	prev := after
	for pos := max(after, 40) + 1; pos <= 40+chat.Position(a.waiting); pos++ {
		if len(dst) == limit {
			return dst, prev, nil
		}
		dst = append(dst, chat.Entry{Kind: chat.EntryMessage, User: "alice", Pos: pos, Prev: prev, Message: chat.Message{From: "bob"}})
		prev = pos
	}
	return dst, upTo, nil
}

func (a asked) Truncated(context.Context, chat.User, chat.Position) (chat.Position, error) {
	a.note("truncated")
	return 0, nil
}

func (a asked) Receipts(context.Context, chat.User, chat.Position, chat.Position, chat.User, int, []chat.Receipt) ([]chat.Receipt, error) {
	a.note("receipts")
	return nil, nil
}

func (a asked) Waiting(context.Context, chat.User, chat.Position, chat.Position, int) (int, error) {
	a.note("waiting")
	return a.waiting, nil
}

// What a known device's hello asks, and in which order: after a gateway was
// killed all of its users do so at once. It is registered before it looks whether
// it was revoked, and before applied is read (laws 6 and 13).
func TestWhatAHelloAsks(t *testing.T) {
	page := []string{"devices", "register", "devices", "applied", "inbox", "truncated", "receipts"}
	for waiting, want := range map[int][]string{
		0: page, 3: page, pageEntries: page,
		pageEntries + 1: {
			"devices", "register", "devices", "applied", "inbox", "truncated", "waiting", "applied", "inbox", "truncated", "receipts",
		},
	} {
		store := asked{o: newOthers(), waiting: waiting}
		_, at := serve(t, store, askedOwners{of: store}, presence.NewMemory(), func(o *Options) {
			o.Elsewhere = &Elsewhere{Directory: directory{store.o}, Links: store.o}
		})
		s := &resumed{oneSession: hello(t, at, "d", packet.ResumeCursor)}
		var w packet.Welcome
		if err := errors.Join(s.net.SetDeadline(time.Now().Add(time.Minute)), w.Decode(s.next())); err != nil {
			t.Fatal(err)
		}
		if w.Resume != 40 || w.Waiting != uint64(waiting) {
			t.Errorf("%d wait, the welcome says %+v", waiting, w)
		}
		messages := 0
		for done := false; !done; {
			p := s.next()
			switch p.Type {
			case packet.TypeMessage:
				messages++
			case packet.TypeCaughtUp:
				var up packet.CaughtUp
				if err := up.Decode(p); err != nil {
					t.Fatal(err)
				}
				done = up.Pos == 1000
			}
		}
		if got := store.o.made(); messages != waiting || !slices.Equal(got, want) {
			t.Errorf("%d of %d entries came; asked was %q, want %q", messages, waiting, got, want)
		}
	}
}
