package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rookery-chat/rookery/chat"
)

// signer is one key of every kind, and the key set that knows them.
type signer struct {
	ed     ed25519.PrivateKey
	ec     *ecdsa.PrivateKey
	secret []byte
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	return &signer{ed, ec, secret}
}

var b64 = base64.RawURLEncoding.EncodeToString

// jwks returns the set with kids prefix+"ed", prefix+"ec" and prefix+"hs".
func (s *signer) jwks(t testing.TB, prefix string) []jwk {
	t.Helper()
	point, err := s.ec.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return []jwk{
		{Kid: prefix + "ed", Kty: "OKP", Crv: "Ed25519", Alg: "EdDSA", X: b64(s.ed.Public().(ed25519.PublicKey))},
		{Kid: prefix + "ec", Kty: "EC", Crv: "P-256", X: b64(point[1:33]), Y: b64(point[33:])},
		{Kid: prefix + "hs", Kty: "oct", Alg: "HS256", K: b64(s.secret)},
	}
}

func write(t testing.TB, path string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func sign(t testing.TB, method jwt.SigningMethod, key any, c jwt.Claims, header map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	for k, v := range header {
		token.Header[k] = v
	}
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func kid(id string) map[string]any { return map[string]any{"kid": id} }

// verifier returns a Verifier of the signer's set and all algorithms, but as
// change says.
func verifier(t testing.TB, s *signer, change func(*Options)) (*Verifier, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	write(t, path, map[string]any{"keys": s.jwks(t, "")})
	o := Options{KeysFile: path, Algorithms: []string{"EdDSA", "ES256", "HS256"}, TokenMaxBytes: 4096, Leeway: 5 * time.Second}
	if change != nil {
		change(&o)
	}
	v, err := NewVerifier(o)
	if err != nil {
		t.Fatal(err)
	}
	return v, path
}

func TestEachAlgorithm(t *testing.T) {
	s := newSigner(t)
	v, _ := verifier(t, s, nil)
	claims := NewClaims("acme", "alice", "phone", time.Hour)
	for name, token := range map[string]string{
		"EdDSA": sign(t, jwt.SigningMethodEdDSA, s.ed, claims, kid("ed")),
		"ES256": sign(t, jwt.SigningMethodES256, s.ec, claims, kid("ec")),
		"HS256": sign(t, jwt.SigningMethodHS256, s.secret, claims, kid("hs")),
	} {
		id, err := v.Verify(token)
		if err != nil || id.User != "acme/alice" || id.Device != "phone" {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
		if want := claims.ExpiresAt.Add(5 * time.Second); !id.Expires.Equal(want) {
			t.Errorf("%s: expires %v, want %v", name, id.Expires, want)
		}
		only, _ := verifier(t, s, func(o *Options) { o.Algorithms = without(o.Algorithms, name) })
		if _, err := only.Verify(token); chat.CodeOf(err) != chat.CodeUnauthorized {
			t.Errorf("%s is not configured, and: %v", name, err)
		}
	}
}

func without(list []string, drop string) (rest []string) {
	for _, s := range list {
		if s != drop {
			rest = append(rest, s)
		}
	}
	return rest
}

// TestForgeries holds that none of the known ways round a signature works.
func TestForgeries(t *testing.T) {
	s, attacker := newSigner(t), newSigner(t)
	v, _ := verifier(t, s, nil)
	c := NewClaims("", "alice", "", time.Hour)
	public := s.ed.Public().(ed25519.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	own := attacker.jwks(t, "")[0]
	good := sign(t, jwt.SigningMethodEdDSA, s.ed, c, kid("ed"))
	parts := strings.Split(good, ".")
	forgeries := map[string]string{
		"alg none":                       sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, c, kid("ed")),
		"alg nOnE":                       b64([]byte(`{"alg":"nOnE","kid":"ed"}`)) + "." + parts[1] + ".",
		"public key as secret":           sign(t, jwt.SigningMethodHS256, []byte(public), c, kid("ed")),
		"public key as secret, in PEM":   sign(t, jwt.SigningMethodHS256, asPEM, c, kid("ed")),
		"HS256 without kid":              sign(t, jwt.SigningMethodHS256, []byte(public), c, nil),
		"another key":                    sign(t, jwt.SigningMethodEdDSA, attacker.ed, c, kid("ed")),
		"unknown kid":                    sign(t, jwt.SigningMethodEdDSA, s.ed, c, kid("other")),
		"no kid":                         sign(t, jwt.SigningMethodEdDSA, s.ed, c, nil),
		"kid is no string":               sign(t, jwt.SigningMethodEdDSA, s.ed, c, map[string]any{"kid": []string{"ed"}}),
		"kid of another algorithm":       sign(t, jwt.SigningMethodEdDSA, s.ed, c, kid("ec")),
		"jwk of its own":                 sign(t, jwt.SigningMethodEdDSA, attacker.ed, c, map[string]any{"kid": "ed", "jwk": own}),
		"jwk of its own, unknown kid":    sign(t, jwt.SigningMethodEdDSA, attacker.ed, c, map[string]any{"kid": "mine", "jwk": own}),
		"jku and x5u":                    sign(t, jwt.SigningMethodEdDSA, attacker.ed, c, map[string]any{"kid": "ed", "jku": "http://127.0.0.1/", "x5u": "http://127.0.0.1/"}),
		"HS512 with the right secret":    sign(t, jwt.SigningMethodHS512, s.secret, c, kid("hs")),
		"critical header":                sign(t, jwt.SigningMethodEdDSA, s.ed, c, map[string]any{"kid": "ed", "crit": []string{"exp"}}),
		"other claims, same signature":   parts[0] + "." + b64([]byte(`{"sub":"bob","exp":99999999999}`)) + "." + parts[2],
		"no signature":                   parts[0] + "." + parts[1] + ".",
		"padding":                        good + "=",
		"a dot more":                     good + ".",
		"empty":                          "",
		"dots":                           strings.Repeat(".", 4000),
		"ES256 of zeros (r = s = 0)":     b64([]byte(`{"alg":"ES256","kid":"ec"}`)) + "." + parts[1] + "." + b64(make([]byte, 64)),
		"trailing bits in the last rune": good[:len(good)-1] + flipLast(good),
	}
	for name, token := range forgeries {
		id, err := v.Verify(token)
		if chat.CodeOf(err) != chat.CodeUnauthorized || id != (Identity{}) {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
	if _, err := v.Verify(forgeries["kid of another algorithm"]); !strings.Contains(err.Error(), "not its key's") {
		t.Errorf("the key's type alone refused it: %v", err)
	}
	if _, err := v.Verify(good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

// flipLast changes the bits of the last base64 digit that carry nothing, which
// lax decoders ignore.
func flipLast(token string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(digits, token[len(token)-1])
	return string(digits[i^1])
}

func TestKeyHeadersAreIgnored(t *testing.T) {
	s := newSigner(t)
	v, _ := verifier(t, s, nil)
	header := map[string]any{"kid": "ed", "jku": "http://127.0.0.1:1/", "jwk": map[string]any{"kty": "OKP"}, "x5c": []string{"x"}}
	if _, err := v.Verify(sign(t, jwt.SigningMethodEdDSA, s.ed, NewClaims("", "alice", "", time.Hour), header)); err != nil {
		t.Error(err)
	}
}

func TestClaims(t *testing.T) {
	s := newSigner(t)
	v, _ := verifier(t, s, nil)
	at := func(d time.Duration) *jwt.NumericDate { return jwt.NewNumericDate(time.Now().Add(d)) }
	claims := func(change func(*Claims)) Claims {
		c := NewClaims("", "alice", "", time.Hour)
		change(&c)
		return c
	}
	for name, c := range map[string]struct {
		claims jwt.Claims
		want   chat.Code
	}{
		"expired":               {claims(func(c *Claims) { c.ExpiresAt = at(-time.Minute) }), chat.CodeExpired},
		"expired within leeway": {claims(func(c *Claims) { c.ExpiresAt = at(-2 * time.Second) }), chat.CodeOK},
		"no exp":                {claims(func(c *Claims) { c.ExpiresAt = nil }), chat.CodeUnauthorized},
		"not yet":               {claims(func(c *Claims) { c.NotBefore = at(time.Minute) }), chat.CodeUnauthorized},
		"no sub":                {claims(func(c *Claims) { c.Subject = "" }), chat.CodeUnauthorized},
		"sub with a tenant":     {claims(func(c *Claims) { c.Subject = "acme/alice" }), chat.CodeUnauthorized},
		"sub of 65 bytes":       {claims(func(c *Claims) { c.Subject = strings.Repeat("a", 65) }), chat.CodeUnauthorized},
		"bad tenant":            {claims(func(c *Claims) { c.Tenant = "a/b" }), chat.CodeUnauthorized},
		"bad device":            {claims(func(c *Claims) { c.Device = "my phone" }), chat.CodeUnauthorized},
		"no iat":                {claims(func(c *Claims) { c.IssuedAt = nil }), chat.CodeOK},
		"exp as text":           {jwt.MapClaims{"sub": "alice", "exp": "tomorrow"}, chat.CodeUnauthorized},
		"sub as number":         {jwt.MapClaims{"sub": 7, "exp": time.Now().Add(time.Hour).Unix()}, chat.CodeUnauthorized},
	} {
		_, err := v.Verify(sign(t, jwt.SigningMethodEdDSA, s.ed, c.claims, kid("ed")))
		if chat.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	// an expired token of somebody else's key is a forgery before it is expired
	forged := sign(t, jwt.SigningMethodEdDSA, newSigner(t).ed, claims(func(c *Claims) { c.ExpiresAt = at(-time.Minute) }), kid("ed"))
	if _, err := v.Verify(forged); chat.CodeOf(err) != chat.CodeUnauthorized {
		t.Errorf("forged and expired: %v", err)
	}
}

// TestTokenLength crosses the limit by one byte.
func TestTokenLength(t *testing.T) {
	s := newSigner(t)
	c := NewClaims("", "alice", "", time.Hour)
	c.ID = strings.Repeat("x", 500)
	token := sign(t, jwt.SigningMethodEdDSA, s.ed, c, kid("ed"))
	fits, _ := verifier(t, s, func(o *Options) { o.TokenMaxBytes = len(token) })
	if _, err := fits.Verify(token); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	short, _ := verifier(t, s, func(o *Options) { o.TokenMaxBytes = len(token) - 1 })
	if _, err := short.Verify(token); chat.CodeOf(err) != chat.CodeUnauthorized || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a byte over it: %v", err)
	}
	huge := strings.Repeat(".", 64<<20)
	if n := testing.AllocsPerRun(10, func() { fits.Verify(huge) }); n > 10 {
		t.Errorf("a huge token costs %v allocations", n)
	}
}

func TestErrorsQuoteNothing(t *testing.T) {
	s := newSigner(t)
	v, _ := verifier(t, s, nil)
	for _, token := range []string{
		"SECRETSECRET", "SECRETSECRET.SECRETSECRET.SECRETSECRET",
		sign(t, jwt.SigningMethodHS256, s.secret, jwt.MapClaims{"sub": "SECRET SECRET", "exp": time.Now().Add(time.Hour).Unix()}, kid("hs")),
		sign(t, jwt.SigningMethodHS256, s.secret, jwt.MapClaims{"sub": "a"}, kid("SECRETSECRET")),
	} {
		if _, err := v.Verify(token); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%v", err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	s := newSigner(f)
	v, _ := verifier(f, s, nil)
	f.Add("a.b.c")
	f.Add(sign(f, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, NewClaims("", "a", "", time.Hour), kid("ed")))
	f.Add(sign(f, jwt.SigningMethodHS256, []byte("x"), NewClaims("", "a", "", time.Hour), kid("hs")))
	f.Fuzz(func(t *testing.T, token string) {
		if id, err := v.Verify(token); err == nil {
			t.Errorf("forged %+v", id)
		}
	})
}
