package fcm

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/oauth2"

	"github.com/rookery-chat/rookery/internal/push"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newSender(t *testing.T, g *firebase) *Sender {
	t.Helper()
	s, err := New(Options{Credentials: g.credentials(), Endpoint: g.URL, Transport: g.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var notice = push.Notice{Chat: "00112233445566778899aabbccddeeff", Count: 3}

const device = "t0ken-of-bob"

func TestSend(t *testing.T) {
	g := newFirebase(t)
	s := newSender(t, g)
	for range 2 {
		if err := s.Send(t.Context(), device, notice); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]any{
		"token":   device,
		"data":    map[string]any{"rookery": "waiting", "chat": notice.Chat, "count": "3"},
		"android": map[string]any{"priority": "HIGH", "collapseKey": notice.Chat},
		"webpush": map[string]any{"headers": map[string]any{"Urgency": "high", "Topic": notice.Chat}},
	}
	if !reflect.DeepEqual(g.messages[0], want) {
		t.Errorf("%v", g.messages[0])
	}
	if g.tokens != 1 || len(g.messages) != 2 || g.protocol != "HTTP/2.0" {
		t.Errorf("%d access tokens for %d messages over %s", g.tokens, len(g.messages), g.protocol)
	}
}

// An access token that is about to expire, or that the API refuses, is fetched
// again, once.
func TestAccessTokenIsRenewed(t *testing.T) {
	g := newFirebase(t)
	s := newSender(t, g)
	if err := s.Send(t.Context(), device, notice); err != nil {
		t.Fatal(err)
	}
	g.revoke()
	err := s.Send(t.Context(), device, notice)
	if err == nil || errors.Is(err, push.ErrRefused) || errors.Is(err, push.ErrTokenGone) {
		t.Errorf("a refused access token is %v, not to be tried again", err)
	}
	if err := s.Send(t.Context(), device, notice); err != nil || g.tokens != 2 {
		t.Errorf("%v after %d access tokens", err, g.tokens)
	}

	g.set(func() { g.expires = 1; g.bearer = "" })
	s = newSender(t, g)
	for range 2 {
		if err := s.Send(t.Context(), device, notice); err != nil {
			t.Fatal(err)
		}
	}
	if g.tokens != 4 {
		t.Errorf("%d access tokens, an expired one was used", g.tokens)
	}
}

// Many pushes at once fetch one access token, at the start and when it is
// refused.
func TestAccessTokenIsShared(t *testing.T) {
	g := newFirebase(t)
	s := newSender(t, g)
	var done sync.WaitGroup
	for range 20 {
		done.Go(func() {
			if err := s.Send(t.Context(), device, notice); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	if g.tokens != 1 {
		t.Errorf("%d access tokens", g.tokens)
	}
}

// What was refused with an older token says nothing of the one there is now.
func TestForget(t *testing.T) {
	fetched := 0
	tokens := &tokens{fetch: func() (*oauth2.Token, error) {
		fetched++
		return &oauth2.Token{AccessToken: strconv.Itoa(fetched)}, nil
	}}
	get := func() *oauth2.Token {
		token, err := tokens.get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	old := get()
	tokens.forget(old)
	if now := get(); now.AccessToken != "2" {
		t.Errorf("token %s", now.AccessToken)
	}
	tokens.forget(old)
	if now := get(); now.AccessToken != "2" || fetched != 2 {
		t.Errorf("token %s after %d", now.AccessToken, fetched)
	}
}

// Whoever waits for an access token waits no longer than it may.
func TestAccessTokenHangs(t *testing.T) {
	hang := make(chan struct{})
	tokens := &tokens{fetch: func() (*oauth2.Token, error) { <-hang; return nil, errors.New("late") }}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		if _, err := tokens.get(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	close(hang)
}

func TestAnswers(t *testing.T) {
	violation := func(field string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			fault(w, 400, "INVALID_ARGUMENT", `{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"`+field+`","description":"x"}]},`+
				`{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"INVALID_ARGUMENT"}`)
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string // gone, refused, later 30s, again
	}{
		"unregistered":       {fcmFault(404, "NOT_FOUND", "UNREGISTERED"), "gone"},
		"another sender's":   {fcmFault(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"), "gone"},
		"no token":           {violation("message.token"), "gone"},
		"a bad message":      {violation("message.data"), "refused"},
		"quota":              {fcmFault(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "Retry-After: 30"), "later 30s"},
		"quota without time": {fcmFault(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), "later 0s"},
		"unavailable":        {fcmFault(503, "UNAVAILABLE", "UNAVAILABLE", "Retry-After: 7"), "later 7s"},
		"internal":           {fcmFault(500, "INTERNAL", "INTERNAL"), "later 0s"},
		"no such project":    {func(w http.ResponseWriter, _ *http.Request) { fault(w, 404, "NOT_FOUND", "") }, "again"},
		"not allowed":        {func(w http.ResponseWriter, _ *http.Request) { fault(w, 403, "PERMISSION_DENIED", "") }, "again"},
		"no JSON":            {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "t0ken-of-bob", http.StatusBadGateway) }, "later 0s"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newFirebase(t)
			g.answer = c.answer
			err := newSender(t, g).Send(t.Context(), device, notice)
			if got := kind(err); got != c.want {
				t.Errorf("%v is %s, not %s", err, got, c.want)
			}
			if strings.Contains(err.Error(), device) {
				t.Errorf("the token is in %v", err)
			}
		})
	}
}

func kind(err error) string {
	later, ok := errors.AsType[*push.Later](err)
	switch {
	case err == nil:
		return "ok"
	case ok:
		return "later " + later.After.String()
	case errors.Is(err, push.ErrTokenGone):
		return "gone"
	case errors.Is(err, push.ErrRefused):
		return "refused"
	}
	return "again"
}

// Another account's key gets no access token, and the error says that.
func TestWrongKey(t *testing.T) {
	g := newFirebase(t)
	s := newSender(t, g)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	g.set(func() { g.key = other })
	err = s.Send(t.Context(), device, notice)
	if kind(err) != "again" || !strings.Contains(err.Error(), "invalid_grant") || len(g.messages) != 0 {
		t.Errorf("%v", err)
	}
}

func TestServerAway(t *testing.T) {
	g := newFirebase(t)
	s := newSender(t, g)
	g.Close()
	if err := s.Send(t.Context(), device, notice); kind(err) != "again" {
		t.Error(err)
	}
}

// The caller's context ends a push that hangs.
func TestContext(t *testing.T) {
	g := newFirebase(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	g.answer = func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() }
	if err := newSender(t, g).Send(ctx, device, notice); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	s := &Sender{}
	for token, ok := range map[string]bool{"cB-x_Y:APA91b": true, "a b": false, "a\x00": false, "ä": false} {
		if err := s.Check(token); (err == nil) != ok {
			t.Errorf("%q: %v", token, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, credentials := range []string{"", "{}", `{"type":"authorized_user"}`, `{"type":"service_account","client_email":"a","private_key":"x","token_uri":"https://t"}`} {
		if _, err := New(Options{Credentials: []byte(credentials)}); err == nil {
			t.Errorf("took %q", credentials)
		}
	}
}
