package gateway

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/storage"
)

// pushStore keeps what it was told, unless it is to fail.
type pushStore struct {
	emptyStore
	mu    sync.Mutex
	users []chat.User
	put   []storage.PushTarget
	fail  bool
}

func (s *pushStore) PutPushTarget(_ context.Context, user chat.User, t storage.PushTarget) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		return errors.New("away")
	}
	s.users, s.put = append(s.users, user), append(s.put, t)
	return nil
}

// kept returns what was stored.
func (s *pushStore) kept() ([]chat.User, []storage.PushTarget) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.users), slices.Clone(s.put)
}

// pushSession connects alice's device d to a gateway that checks tokens so.
func pushSession(t *testing.T, store storage.Store, check func(provider, token string) error) (*resumed, packet.Welcome) {
	t.Helper()
	return welcomed(t, store, func(o *Options) { o.CheckPush = check })
}

// answer returns the code of the answer to a request: CodeOK for done.
func (s *resumed) answer(req uint64) chat.Code {
	s.t.Helper()
	for {
		switch p := s.next(); p.Type {
		case packet.TypeDone:
			var d packet.Done
			if err := d.Decode(p); err != nil || d.Req != req {
				s.t.Fatalf("%+v, %v", d, err)
			}
			return chat.CodeOK
		case packet.TypeError:
			var e packet.Error
			if err := e.Decode(p); err != nil || e.Req != req {
				s.t.Fatalf("%+v, %v", e, err)
			}
			return e.Code
		}
	}
}

// onlyFCM takes tokens of one provider that are no "bad".
func onlyFCM(provider, token string) error {
	if provider != "fcm" || token == "bad" {
		return chat.Errorf(chat.CodeBadPush, "no")
	}
	return nil
}

func TestPush(t *testing.T) {
	store := &pushStore{}
	s, w := pushSession(t, store, onlyFCM)
	if got := w.Limits[packet.LimitPush]; got != pushTokenBytes {
		t.Errorf("the welcome tells %d", got)
	}
	for i, c := range []struct {
		provider, token string
		want            chat.Code
	}{
		{"fcm", "t1", chat.CodeOK},
		{"fcm", strings.Repeat("t", pushTokenBytes), chat.CodeOK},
		{"fcm", strings.Repeat("t", pushTokenBytes+1), chat.CodeBadPush},
		{"fcm", "", chat.CodeBadPush},
		{"fcm", "bad", chat.CodeBadPush},
		{"apns", "t1", chat.CodeBadPush},
		{"", "", chat.CodeOK},
		{"", "whatever", chat.CodeOK},
	} {
		s.put(&packet.Push{Req: uint64(i + 1), Provider: c.provider, Token: c.token})
		if got := s.answer(uint64(i + 1)); got != c.want {
			t.Errorf("%s %.5s: %s", c.provider, c.token, got)
		}
	}
	want := []storage.PushTarget{
		{Device: "d", Provider: "fcm", Token: "t1"}, {Device: "d", Provider: "fcm", Token: strings.Repeat("t", pushTokenBytes)}, {Device: "d"}, {Device: "d"},
	}
	users, put := store.kept()
	if !slices.Equal(put, want) || slices.ContainsFunc(users, func(u chat.User) bool { return u != "alice" }) {
		t.Errorf("stored %.200v of %s", put, users)
	}
	store.mu.Lock()
	store.fail = true
	store.mu.Unlock()
	s.put(&packet.Push{Req: 20, Provider: "fcm", Token: "t1"})
	if got := s.answer(20); got != chat.CodeUnavailable {
		t.Errorf("the store is away: %s", got)
	}
}

// A server that pushes nothing refuses it, but forgets what another process
// that does was told.
func TestPushWithoutProviders(t *testing.T) {
	store := &pushStore{}
	s, w := pushSession(t, store, nil)
	if _, told := w.Limits[packet.LimitPush]; told {
		t.Error("the welcome tells of push")
	}
	s.put(&packet.Push{Req: 1, Provider: "fcm", Token: "t1"})
	if got := s.answer(1); got != chat.CodeBadPush {
		t.Error(got)
	}
	s.put(&packet.Push{Req: 2})
	got := s.answer(2)
	if _, put := store.kept(); got != chat.CodeOK || len(put) != 1 {
		t.Error(got, put)
	}
}
