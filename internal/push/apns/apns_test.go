package apns

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/sideshow/apns2"
	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/internal/push"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var notice = push.Notice{Chat: "00112233445566778899aabbccddeeff", Count: 3}

const device = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"

func TestSend(t *testing.T) {
	a := newApple(t)
	s := a.sender()
	for range 2 {
		if err := s.Send(t.Context(), device, notice); err != nil {
			t.Fatal(err)
		}
	}
	p := a.pushes[0]
	if p.device != device || p.protocol != "HTTP/2.0" {
		t.Errorf("%s over %s", p.device, p.protocol)
	}
	for name, want := range map[string]string{"apns-topic": topic, "apns-push-type": "alert", "apns-priority": "10", "apns-collapse-id": notice.Chat} {
		if got := p.header.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	want := map[string]any{
		"aps":     map[string]any{"alert": map[string]any{"loc-key": "ROOKERY_WAITING"}, "sound": "default", "thread-id": notice.Chat, "mutable-content": 1.0},
		"rookery": map[string]any{"chat": notice.Chat, "count": 3.0},
	}
	if !reflect.DeepEqual(p.payload, want) {
		t.Errorf("%v", p.payload)
	}
	if a.pushes[1].header.Get("Authorization") != p.header.Get("Authorization") {
		t.Error("each push has a provider token of its own: Apple takes one in 20 minutes")
	}
}

func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"unregistered":     {refuse(410, "Unregistered"), "gone"},
		"expired token":    {refuse(410, "ExpiredToken"), "gone"},
		"bad token":        {refuse(400, "BadDeviceToken"), "gone"},
		"another app's":    {refuse(400, "DeviceTokenNotForTopic"), "refused"},
		"too large":        {refuse(413, "PayloadTooLarge"), "refused"},
		"too many":         {refuse(429, "TooManyRequests", "Retry-After: 30"), "later 30s"},
		"too many, no say": {refuse(429, "TooManyRequests"), "later 0s"},
		"shutdown":         {refuse(503, "Shutdown"), "later 0s"},
		"internal":         {refuse(500, "InternalServerError"), "later 0s"},
		"forbidden":        {refuse(403, "Forbidden"), "again"},
		"expired for ever": {refuse(403, "ExpiredProviderToken"), "again"},
		"no JSON":          {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "x", http.StatusBadGateway) }, "again"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newApple(t)
			a.answer = c.answer
			err := a.sender().Send(t.Context(), device, notice)
			if got := kind(err); got != c.want {
				t.Errorf("%v is %s, not %s", err, got, c.want)
			}
			if strings.Contains(err.Error(), device) {
				t.Errorf("the token is in %v", err)
			}
			if len(a.pushes) != 1 {
				t.Errorf("tried %d times at once", len(a.pushes))
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

// age makes the provider token as old as if it had been signed before.
func age(t *testing.T, s *Sender, by time.Duration) {
	t.Helper()
	at := time.Now().Add(-by)
	j := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": teamID, "iat": at.Unix()})
	j.Header["kid"] = keyID
	bearer, err := j.SignedString(s.client.Token.AuthKey)
	if err != nil {
		t.Fatal(err)
	}
	s.client.Token.Bearer, s.client.Token.IssuedAt = bearer, at.Unix()
}

// A provider token that Apple calls expired is signed again, once for all who
// are told so, and the push goes out.
func TestExpiredProviderToken(t *testing.T) {
	a := newApple(t)
	a.maxAge = 30 * time.Minute
	s := a.sender()
	age(t, s, 40*time.Minute) // too young for the library to renew it
	var done sync.WaitGroup
	for range 10 {
		done.Go(func() {
			if err := s.Send(t.Context(), device, notice); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	bearers := map[string]bool{}
	for _, p := range a.pushes {
		bearers[p.header.Get("Authorization")] = true
	}
	if len(a.pushes) != 10 || len(bearers) != 1 || len(a.refusals) == 0 {
		t.Errorf("%d pushes with %d provider tokens after %q", len(a.pushes), len(bearers), a.refusals)
	}
}

// Apple takes a new provider token every 20 minutes, so a young one that it
// refuses, for our clock is wrong, stays.
func TestProviderTokenIsNotRenewedTooOften(t *testing.T) {
	a := newApple(t)
	a.maxAge = time.Minute
	s := a.sender()
	age(t, s, 10*time.Minute)
	was := s.client.Token.Bearer
	if err := s.Send(t.Context(), device, notice); kind(err) != "again" || !strings.Contains(err.Error(), "ExpiredProviderToken") {
		t.Error(err)
	}
	if s.client.Token.Bearer != was || len(a.refusals) != 1 {
		t.Errorf("renewed, or tried %d times", len(a.refusals))
	}
}

// The library renews before Apple's hour is over.
func TestProviderTokenIsRenewedInTime(t *testing.T) {
	a := newApple(t)
	s := a.sender()
	age(t, s, 51*time.Minute)
	if err := s.Send(t.Context(), device, notice); err != nil || len(a.refusals) != 0 {
		t.Error(err, a.refusals)
	}
	age(t, s, 49*time.Minute)
	was := s.client.Token.Bearer
	if err := s.Send(t.Context(), device, notice); err != nil || s.client.Token.Bearer != was {
		t.Error(err, "or renewed too early")
	}
}

func TestWrongKey(t *testing.T) {
	a := newApple(t)
	s := a.sender()
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.set(func() { a.key = other })
	if err := s.Send(t.Context(), device, notice); kind(err) != "again" || !strings.Contains(err.Error(), "InvalidProviderToken") {
		t.Error(err)
	}
}

func TestServerAway(t *testing.T) {
	a := newApple(t)
	s := a.sender()
	a.Close()
	if err := s.Send(t.Context(), device, notice); kind(err) != "again" || strings.Contains(err.Error(), device) {
		t.Error(err)
	}
}

func TestContext(t *testing.T) {
	a := newApple(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	a.answer = func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() }
	if err := a.sender().Send(ctx, device, notice); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A token that is no token reaches no path of Apple's.
func TestCheck(t *testing.T) {
	a := newApple(t)
	s := a.sender()
	for token, ok := range map[string]bool{device: true, "": false, "abc": false, "../../x": false, "ab?c": false, strings.Repeat("ab", 100): true, strings.Repeat("ab", 101): false} {
		if err := s.Check(token); (err == nil) != ok {
			t.Errorf("%q: %v", token, err)
		}
		if err := s.Send(t.Context(), token, notice); (err == nil) != ok || !ok && !errors.Is(err, push.ErrTokenGone) {
			t.Errorf("%q is sent: %v", token, err)
		}
	}
	if len(a.pushes) != 2 {
		t.Errorf("%d pushes", len(a.pushes))
	}
}

func TestNewRefuses(t *testing.T) {
	_, err := New(Options{Key: []byte("x")})
	for _, want := range []string{".p8", "key id", "team id", "topic"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
	key, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	der, _ := x509.MarshalPKCS8PrivateKey(key)
	_, err = New(Options{Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), KeyID: keyID, TeamID: teamID, Topic: topic})
	if err == nil {
		t.Error("took a key of another curve")
	}
}

func TestHosts(t *testing.T) {
	for want, o := range map[string]Options{apns2.HostProduction: {}, apns2.HostDevelopment: {Sandbox: true}, "https://h": {Host: "https://h", Sandbox: true}} {
		if got := host(&o); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}
