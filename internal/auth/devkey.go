// Package auth is who somebody is: the keys that sign tokens and the claims in
// them. This file is the development key, which makes a server and its command
// line work together without any set-up, on one machine.
package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// DevKeyFile is the development key's file in the data folder, mode 0600.
const DevKeyFile = "dev-key.json"

// DevKeyID is the kid of tokens that a development key signs.
const DevKeyID = "dev"

// Claims are what a token says.
type Claims struct {
	jwt.RegisteredClaims        // sub is the user's name, iat and exp are needed
	Tenant               string `json:"tnt,omitempty"`
	Device               string `json:"dev,omitempty"`
}

// NewClaims says that the bearer is the user's device for a time from now on.
func NewClaims(tenant, user, device string, ttl time.Duration) Claims {
	now := time.Now()
	return Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Subject: user, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
		},
		Tenant: tenant, Device: device,
	}
}

// Key is an Ed25519 key that signs tokens.
type Key struct {
	id      string
	private ed25519.PrivateKey
}

// keyFile is a Key on disk.
type keyFile struct {
	Kid     string `json:"kid"`
	Alg     string `json:"alg"`
	Private string `json:"private"` // the seed, 32 bytes, base64url without padding
}

// ErrNoDevKey says that a data folder has no development key.
var ErrNoDevKey = errors.New("auth: no development key")

// LoadDevKey reads the development key of a data folder. Where there is none
// the error wraps ErrNoDevKey.
func LoadDevKey(dir string) (Key, error) {
	path := filepath.Join(dir, DevKeyFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Key{}, fmt.Errorf("%w: %s does not exist; 'rookery serve' makes it", ErrNoDevKey, path)
	}
	if err != nil {
		return Key{}, fmt.Errorf("auth: development key: %w", err)
	}
	k, err := parseKey(b)
	if err != nil {
		return Key{}, fmt.Errorf("auth: %s: %w; remove it and start the server again to make another", path, err)
	}
	return k, nil
}

func parseKey(b []byte) (Key, error) {
	var f keyFile
	if err := json.Unmarshal(b, &f); err != nil {
		return Key{}, err
	}
	if f.Alg != jwt.SigningMethodEdDSA.Alg() {
		return Key{}, fmt.Errorf("alg is %q, not EdDSA", f.Alg)
	}
	seed, err := base64.RawURLEncoding.DecodeString(f.Private)
	if err != nil || len(seed) != ed25519.SeedSize {
		return Key{}, fmt.Errorf("private is not %d bytes in base64url", ed25519.SeedSize)
	}
	return Key{id: f.Kid, private: ed25519.NewKeyFromSeed(seed)}, nil
}

// LoadOrCreateDevKey reads the development key of a data folder, or makes one
// there, durably. created says that it was made now.
func LoadOrCreateDevKey(dir string) (k Key, created bool, err error) {
	k, err = LoadDevKey(dir)
	if !errors.Is(err, ErrNoDevKey) {
		return k, false, err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Key{}, false, fmt.Errorf("auth: make a development key: %w", err)
	}
	k = Key{id: DevKeyID, private: private}
	b, err := json.Marshal(keyFile{
		Kid: k.id, Alg: jwt.SigningMethodEdDSA.Alg(), Private: base64.RawURLEncoding.EncodeToString(private.Seed()),
	})
	if err != nil {
		return Key{}, false, err
	}
	if err := writeSecret(dir, DevKeyFile, append(b, '\n')); err != nil {
		return Key{}, false, fmt.Errorf("auth: make a development key: %w", err)
	}
	return k, true, nil
}

// writeSecret puts a whole file in its place at once, readable by its owner.
func writeSecret(dir, name string, b []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, name+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, name))
}

// ID returns the key's kid.
func (k Key) ID() string { return k.id }

// Public returns the key that verifies what this one signs.
func (k Key) Public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

// Sign returns a token, a JWT with EdDSA, that says the claims.
func (k Key) Sign(c Claims) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, c)
	t.Header["kid"] = k.id
	return t.SignedString(k.private)
}
