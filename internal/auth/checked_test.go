package auth

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rookery-chat/rookery/chat"
)

// remembering returns a verifier that remembers n tokens.
func remembering(t testing.TB, s *signer, n int, change func(*Options)) (*Verifier, string) {
	return verifier(t, s, func(o *Options) {
		o.CachedTokens, o.Logger = n, quiet
		if change != nil {
			change(o)
		}
	})
}

// expect verifies a token and holds what comes of it, and whether its signature
// was remembered.
func expect(t *testing.T, v *Verifier, token string, code chat.Code, remembered bool) {
	t.Helper()
	known, looked := v.Stats.Remembered.Load(), v.Stats.Checked.Load()
	id, err := v.Verify(token)
	if chat.CodeOf(err) != code || (err == nil) != (id.User != "") {
		t.Errorf("%+v, %v; want %v", id, err, code)
	}
	known, looked = v.Stats.Remembered.Load()-known, v.Stats.Checked.Load()-looked
	if known+looked != 1 || (known == 1) != remembered {
		t.Errorf("remembered %d, checked %d; want remembered: %v", known, looked, remembered)
	}
}

func TestRememberedTokenSaysTheSame(t *testing.T) {
	s := newSigner(t)
	v, _ := remembering(t, s, 8, nil)
	c := NewClaims("acme", "alice", "phone", time.Hour)
	for name, token := range map[string]string{
		"EdDSA": sign(t, jwt.SigningMethodEdDSA, s.ed, c, kid("ed")),
		"ES256": sign(t, jwt.SigningMethodES256, s.ec, c, kid("ec")),
		"HS256": sign(t, jwt.SigningMethodHS256, s.secret, c, kid("hs")),
	} {
		first, err1 := v.Verify(token)
		expect(t, v, token, chat.CodeOK, true)
		again, err2 := v.Verify(token)
		if err1 != nil || err2 != nil || first != again || first.Device != "phone" {
			t.Errorf("%s: %+v, %v; again %+v, %v", name, first, err1, again, err2)
		}
	}
}

// TestTimeOfRememberedToken holds that exp and nbf are judged by the clock of now.
func TestTimeOfRememberedToken(t *testing.T) {
	s := newSigner(t)
	synctest.Test(t, func(t *testing.T) {
		v, _ := remembering(t, s, 8, nil)
		token := sign(t, jwt.SigningMethodEdDSA, s.ed, NewClaims("", "alice", "", time.Hour), kid("ed"))
		expect(t, v, token, chat.CodeOK, false)
		time.Sleep(time.Hour + 4*time.Second) // in the bubble's time; the leeway is 5 s
		expect(t, v, token, chat.CodeOK, true)
		time.Sleep(2 * time.Second)
		expect(t, v, token, chat.CodeExpired, true)

		later := NewClaims("", "alice", "", time.Hour)
		later.NotBefore = jwt.NewNumericDate(time.Now().Add(time.Minute))
		token = sign(t, jwt.SigningMethodEdDSA, s.ed, later, kid("ed"))
		expect(t, v, token, chat.CodeUnauthorized, false)
		expect(t, v, token, chat.CodeUnauthorized, false) // who is refused is not remembered
		d := digestOf(token)
		v.state.Load().checked.add(&d) // as if the clock had been put back
		expect(t, v, token, chat.CodeUnauthorized, true)
		time.Sleep(time.Minute)
		expect(t, v, token, chat.CodeOK, true)
	})
}

func TestRememberedTokenIsRevoked(t *testing.T) {
	s := newSigner(t)
	list := filepath.Join(t.TempDir(), "revoked.json")
	write(t, list, map[string]any{})
	v, _ := remembering(t, s, 64, func(o *Options) { o.RevokedFile = list })
	c := NewClaims("", "alice", "", time.Hour)
	c.ID = "stolen"
	stolen := sign(t, jwt.SigningMethodEdDSA, s.ed, c, kid("ed"))
	c.Subject, c.ID = "bob", ""
	of := sign(t, jwt.SigningMethodEdDSA, s.ed, c, kid("ed"))
	for range 2 {
		v.Verify(stolen)
		v.Verify(of)
	}
	expect(t, v, stolen, chat.CodeOK, true)
	expect(t, v, of, chat.CodeOK, true)
	write(t, list, map[string]any{"tokens": []string{"stolen"}, "users": map[string]int64{"bob": time.Now().Add(time.Minute).Unix()}})
	if err := v.Reload(); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{stolen, of} {
		for remembered := range 2 { // the signature holds, which is all that is remembered
			expect(t, v, token, chat.CodeUnauthorized, remembered == 1)
		}
	}
}

// TestKeyTakenAway holds that a signature is not remembered longer than its key.
func TestKeyTakenAway(t *testing.T) {
	before, after := newSigner(t), newSigner(t)
	v, path := remembering(t, before, 64, nil)
	token := sign(t, jwt.SigningMethodEdDSA, before.ed, NewClaims("", "alice", "", time.Hour), kid("ed"))
	expect(t, v, token, chat.CodeOK, false)
	expect(t, v, token, chat.CodeOK, true)
	for _, keys := range [][]jwk{after.jwks(t, "2-"), after.jwks(t, "")} { // its kid is gone; is another key's
		write(t, path, map[string]any{"keys": keys})
		if err := v.Reload(); err != nil {
			t.Fatal(err)
		}
		expect(t, v, token, chat.CodeUnauthorized, false)
	}
	os.WriteFile(path, []byte("{"), 0o600)
	if err := v.Reload(); err == nil {
		t.Error("a broken file was read without a fault")
	}
	expect(t, v, token, chat.CodeUnauthorized, false)
}

// TestTamperedToken changes each byte of a token that is remembered.
func TestTamperedToken(t *testing.T) {
	s := newSigner(t)
	v, _ := remembering(t, s, 64, nil)
	token := sign(t, jwt.SigningMethodHS256, s.secret, NewClaims("acme", "alice", "phone", time.Hour), kid("hs"))
	expect(t, v, token, chat.CodeOK, false)
	for i := range len(token) {
		for _, b := range []byte{'A', 'B', '.'} {
			if token[i] != b {
				expect(t, v, token[:i]+string(b)+token[i+1:], chat.CodeUnauthorized, false)
			}
		}
	}
	for _, other := range []string{token + ".", token + "=", token[:len(token)-1], " " + token, ""} {
		expect(t, v, other, chat.CodeUnauthorized, false)
	}
	expect(t, v, token, chat.CodeOK, true)
}

// TestCachedTokens crosses the bound: a bucket's oldest token goes.
func TestCachedTokens(t *testing.T) {
	s := newSigner(t)
	v, _ := remembering(t, s, bucketPlaces, nil)
	var tokens []string
	for i := range bucketPlaces + 1 {
		tokens = append(tokens, sign(t, jwt.SigningMethodHS256, s.secret, NewClaims("", fmt.Sprint("user-", i), "", time.Hour), kid("hs")))
	}
	for _, token := range tokens[:bucketPlaces] {
		expect(t, v, token, chat.CodeOK, false)
	}
	for _, token := range tokens[:bucketPlaces] {
		expect(t, v, token, chat.CodeOK, true)
	}
	expect(t, v, tokens[bucketPlaces], chat.CodeOK, false)
	for _, token := range tokens[1:] {
		expect(t, v, token, chat.CodeOK, true)
	}
	expect(t, v, tokens[0], chat.CodeOK, false)

	off, _ := remembering(t, s, 0, nil)
	for range 2 {
		expect(t, off, tokens[0], chat.CodeOK, false)
	}
	if n := len(newChecked(3*bucketPlaces + 1).buckets); n != 4 {
		t.Errorf("%d buckets", n)
	}
}

// TestCheckedAtTheSameTime lets loops verify while keys change. Whatever they
// meet, a token of a key that is gone does not hold after Reload.
func TestCheckedAtTheSameTime(t *testing.T) {
	before, after := newSigner(t), newSigner(t)
	v, path := remembering(t, before, 4*bucketPlaces, nil)
	var older, newer []string
	for i := range 8 * bucketPlaces {
		c := NewClaims("", fmt.Sprint("user-", i), "", time.Hour)
		older = append(older, sign(t, jwt.SigningMethodHS256, before.secret, c, kid("hs")))
		newer = append(newer, sign(t, jwt.SigningMethodHS256, after.secret, c, kid("hs")))
	}
	verify := func(tokens []string, hold bool) {
		var loops sync.WaitGroup
		for range 4 {
			loops.Go(func() {
				for i, token := range tokens {
					id, err := v.Verify(token)
					if hold != (err == nil) || hold && id.User != chat.User(fmt.Sprint("user-", i)) {
						t.Errorf("token %d: %+v, %v", i, id, err)
					}
				}
			})
		}
		loops.Wait()
	}
	verify(older, true)
	write(t, path, map[string]any{"keys": after.jwks(t, "")})
	var busy sync.WaitGroup
	for range 4 {
		busy.Go(func() {
			for _, token := range older {
				v.Verify(token)
			}
		})
	}
	if err := v.Reload(); err != nil {
		t.Fatal(err)
	}
	verify(older, false)
	busy.Wait()
	verify(older, false)
	verify(newer, true)
}

func BenchmarkVerify(b *testing.B) {
	s := newSigner(b)
	token := sign(b, jwt.SigningMethodEdDSA, s.ed, NewClaims("", "alice", "phone", time.Hour), kid("ed"))
	for name, n := range map[string]int{"checked": 0, "remembered": 8} {
		v, _ := remembering(b, s, n, nil)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
