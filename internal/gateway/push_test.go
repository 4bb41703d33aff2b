package gateway

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

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
	s := resumeAt(t, store, oneOwner{}, 0)
	s.gw.opt.CheckPush = onlyFCM
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
	if len(store.put) != len(want) {
		t.Fatalf("%d were stored: %.100v", len(store.put), store.put)
	}
	for i := range want {
		if store.put[i] != want[i] || store.users[i] != "alice" {
			t.Errorf("stored %.100v of %s", store.put[i], store.users[i])
		}
	}
	store.fail = true
	s.put(&packet.Push{Req: 20, Provider: "fcm", Token: "t1"})
	if got := s.answer(20); got != chat.CodeUnavailable {
		t.Errorf("the store is away: %s", got)
	}
}

// A server that pushes nothing refuses it, but forgets what another process
// that does was told.
func TestPushWithoutProviders(t *testing.T) {
	store := &pushStore{}
	s := resumeAt(t, store, oneOwner{}, 0)
	s.put(&packet.Push{Req: 1, Provider: "fcm", Token: "t1"})
	if got := s.answer(1); got != chat.CodeBadPush {
		t.Error(got)
	}
	s.put(&packet.Push{Req: 2})
	if got := s.answer(2); got != chat.CodeOK || len(store.put) != 1 {
		t.Error(got)
	}
}

// The welcome says whether, and how long a token may be.
func TestPushIsTold(t *testing.T) {
	first := newSession(t, &pushStore{}, oneOwner{}, 0)
	wantPushLimit(t, first, 0)
	first.gw.opt.CheckPush = onlyFCM
	wantPushLimit(t, hello(t, first.net.RemoteAddr(), "e", 0), pushTokenBytes)
}

func wantPushLimit(t *testing.T, one *oneSession, want uint64) {
	t.Helper()
	s := &resumed{oneSession: one}
	if err := s.net.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var w packet.Welcome
	if err := w.Decode(s.next()); err != nil {
		t.Fatal(err)
	}
	if got, told := w.Limits[packet.LimitPush]; got != want || told != (want > 0) {
		t.Errorf("push is %d, not %d", got, want)
	}
}
