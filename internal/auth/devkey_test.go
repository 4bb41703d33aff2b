package auth

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestDevKeyIsMadeOnceAndSigns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := LoadDevKey(dir); !errors.Is(err, ErrNoDevKey) {
		t.Fatalf("before it is made: %v", err)
	}
	k, created, err := LoadOrCreateDevKey(dir)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	again, created, err := LoadOrCreateDevKey(dir)
	if err != nil || created || !again.Public().Equal(k.Public()) {
		t.Fatalf("second time: created %v, same key %v, %v", created, again.Public().Equal(k.Public()), err)
	}
	info, err := os.Stat(filepath.Join(dir, DevKeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	token, err := again.Sign(NewClaims("acme", "alice", "phone", time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	var c Claims
	parsed, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return k.Public(), nil },
		jwt.WithValidMethods([]string{"EdDSA"}))
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject != "alice" || c.Tenant != "acme" || c.Device != "phone" || parsed.Header["kid"] != DevKeyID {
		t.Fatalf("claims %+v, header %v", c, parsed.Header)
	}
	if left := time.Until(c.ExpiresAt.Time); left <= 59*time.Minute || left > time.Hour {
		t.Fatalf("expires in %v", left)
	}
}

func TestDevKeyFaults(t *testing.T) {
	for content, want := range map[string]string{
		"":                                    "JSON",
		`{"alg":"HS256"}`:                     "not EdDSA",
		`{"alg":"EdDSA","private":"c2hvcnQ"}`: "32 bytes",
		`{"alg":"EdDSA","private":"!"}`:       "base64url",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, DevKeyFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, created, err := LoadOrCreateDevKey(dir)
		if err == nil || created || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: created %v, %v; want a word about %s", content, created, err, want)
		}
	}
}
