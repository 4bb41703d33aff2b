package auth

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/rookery-chat/rookery/chat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// TestRotation walks a set from one key to the next, both of them valid for a
// while.
func TestRotation(t *testing.T) {
	before, after := newSigner(t), newSigner(t)
	v, path := verifier(t, before, nil)
	c := NewClaims("", "alice", "", time.Hour)
	older := sign(t, jwt.SigningMethodEdDSA, before.ed, c, kid("ed"))
	newer := sign(t, jwt.SigningMethodEdDSA, after.ed, c, kid("2-ed"))
	expect := func(step string, olderHolds, newerHolds bool) {
		t.Helper()
		_, err1 := v.Verify(older)
		_, err2 := v.Verify(newer)
		if (err1 == nil) != olderHolds || (err2 == nil) != newerHolds {
			t.Errorf("%s: older: %v, newer: %v", step, err1, err2)
		}
	}
	expect("before", true, false)
	write(t, path, map[string]any{"keys": append(before.jwks(t, ""), after.jwks(t, "2-")...)})
	expect("written, not read", true, false)
	if err := v.Reload(); err != nil {
		t.Fatal(err)
	}
	expect("both", true, true)
	write(t, path, map[string]any{"keys": after.jwks(t, "2-")})
	if err := v.Reload(); err != nil {
		t.Fatal(err)
	}
	expect("after", false, true)
	os.WriteFile(path, []byte("{"), 0o600)
	if err := v.Reload(); err == nil {
		t.Error("a broken file was read without a fault")
	}
	expect("a broken file changes nothing", false, true)
}

// TestReloadSaysSo holds that whoever asks for a reload finds in the log when the
// new keys are in use, and nothing there when they are not.
func TestReloadSaysSo(t *testing.T) {
	var log strings.Builder
	v, path := verifier(t, newSigner(t), func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	if log.String() != "" {
		t.Errorf("the first time: %q", log.String())
	}
	if err := v.Reload(); err != nil || strings.Count(log.String(), "keys reloaded") != 1 {
		t.Errorf("%v, %q", err, log.String())
	}
	os.WriteFile(path, []byte("{"), 0o600)
	if err := v.Reload(); err == nil || strings.Count(log.String(), "keys reloaded") != 1 {
		t.Errorf("a broken file: %v, %q", err, log.String())
	}
}

// TestWatch holds that a changed file is taken up within an interval, and that
// a broken one is left alone.
func TestWatch(t *testing.T) {
	before, after := newSigner(t), newSigner(t)
	synctest.Test(t, func(t *testing.T) {
		v, path := verifier(t, before, func(o *Options) { o.Logger = quiet })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { v.Watch(ctx, 10*time.Second); close(done) }()
		token := sign(t, jwt.SigningMethodEdDSA, after.ed, NewClaims("", "alice", "", time.Hour), kid("2-ed"))
		write(t, path, map[string]any{"keys": append(before.jwks(t, ""), after.jwks(t, "2-")...)})
		time.Sleep(11 * time.Second) // in the bubble's time
		synctest.Wait()
		if _, err := v.Verify(token); err != nil {
			t.Errorf("after an interval: %v", err)
		}
		os.WriteFile(path, []byte("broken"), 0o600)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if _, err := v.Verify(token); err != nil {
			t.Errorf("after a broken file: %v", err)
		}
		cancel()
		<-done
	})
}

func TestRevocation(t *testing.T) {
	s := newSigner(t)
	list := filepath.Join(t.TempDir(), "revoked.json")
	write(t, list, map[string]any{"tokens": []string{"stolen"}})
	var told []chat.User
	v, _ := verifier(t, s, func(o *Options) {
		o.RevokedFile = list
		o.OnRevoked = func(u chat.User) { told = append(told, u) }
	})
	now := time.Now()
	token := func(user, jti string, issued time.Time) string {
		c := NewClaims("acme", user, "", time.Hour)
		c.ID, c.IssuedAt = jti, jwt.NewNumericDate(issued)
		if issued.IsZero() {
			c.IssuedAt = nil
		}
		return sign(t, jwt.SigningMethodEdDSA, s.ed, c, kid("ed"))
	}
	holds := func(token string) bool {
		_, err := v.Verify(token)
		if err != nil && !strings.Contains(err.Error(), "revoked") {
			t.Errorf("refused for something else: %v", err)
		}
		return err == nil
	}
	if holds(token("alice", "stolen", now)) || !holds(token("alice", "fine", now)) || !holds(token("alice", "", now)) {
		t.Error("tokens: not those of the list alone are revoked")
	}
	write(t, list, map[string]any{"users": map[string]int64{"acme/alice": now.Unix()}})
	if err := v.Reload(); err != nil {
		t.Fatal(err)
	}
	if holds(token("alice", "", now.Add(-time.Minute))) || holds(token("alice", "", time.Time{})) {
		t.Error("users: an old token still holds")
	}
	if !holds(token("alice", "", now)) || !holds(token("bob", "", now.Add(-time.Minute))) {
		t.Error("users: a new token, or another user's, is revoked")
	}
	if want := []chat.User{"acme/alice"}; !reflect.DeepEqual(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
	if err := v.Reload(); err != nil || len(told) != 1 {
		t.Errorf("told again of the same: %v, %v", told, err)
	}
}

func TestDevelopmentKey(t *testing.T) {
	dev, _, err := LoadOrCreateDevKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifier(Options{Dev: &dev, Algorithms: []string{"EdDSA"}, TokenMaxBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	token, err := dev.Sign(NewClaims("", "bob", "", time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if id, err := v.Verify(token); err != nil || id.User != "bob" {
		t.Errorf("%+v, %v", id, err)
	}
	s := newSigner(t)
	without, _ := verifier(t, s, nil)
	if _, err := without.Verify(token); chat.CodeOf(err) != chat.CodeUnauthorized {
		t.Errorf("a server without the development key: %v", err)
	}
}

func TestOptionFaults(t *testing.T) {
	_, err := NewVerifier(Options{Algorithms: []string{"none"}, Leeway: -1})
	for _, want := range []string{`"none"`, "nobody could connect", "longest token"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s in: %v", want, err)
		}
	}
	_, err = NewVerifier(Options{Dev: &Key{}, Algorithms: []string{"ES256"}, TokenMaxBytes: 1})
	if err == nil || !strings.Contains(err.Error(), "leave out") {
		t.Errorf("development key without EdDSA: %v", err)
	}
}

func TestKeySetFaults(t *testing.T) {
	s := newSigner(t)
	good := s.jwks(t, "")
	change := func(i int, f func(*jwk)) jwk {
		j := good[i]
		f(&j)
		return j
	}
	for name, c := range map[string]struct {
		key  jwk
		want string
	}{
		"no kid":        {change(0, func(j *jwk) { j.Kid = "" }), "no kid"},
		"private":       {change(0, func(j *jwk) { j.D = "x" }), "private key"},
		"short x":       {change(0, func(j *jwk) { j.X = "AAAA" }), "32 bytes"},
		"other curve":   {change(1, func(j *jwk) { j.Crv = "P-384" }), "P-384"},
		"RSA":           {change(1, func(j *jwk) { j.Kty = "RSA" }), "RSA"},
		"off the curve": {change(1, func(j *jwk) { j.Y = j.X }), "not on curve"},
		"wrong alg":     {change(2, func(j *jwk) { j.Alg = "EdDSA" }), "does not fit"},
		"short secret":  {change(2, func(j *jwk) { j.K = b64(make([]byte, 31)) }), "32 bytes"},
	} {
		path := filepath.Join(t.TempDir(), "keys.json")
		write(t, path, map[string]any{"keys": []jwk{c.key}})
		_, err := NewVerifier(Options{KeysFile: path, Algorithms: []string{"EdDSA"}, TokenMaxBytes: 1})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{"no keys": `{"keys":[]}`, "no JSON": `x`, "twice": `{"keys":[{"kid":"a","kty":"oct","k":"` + good[2].K + `"},{"kid":"a","kty":"oct","k":"` + good[2].K + `"}]}`} {
		if _, err := parseKeySet([]byte(text)); err == nil {
			t.Errorf("%s: no fault", name)
		}
	}
}

func TestRevocationFaults(t *testing.T) {
	for _, text := range []string{"", "[]", `{"token":["x"]}`, `{"users":{"a b":1}}`, `{"users":{"alice":"now"}}`} {
		if _, err := parseRevocations([]byte(text)); err == nil {
			t.Errorf("%q: no fault", text)
		}
	}
}
