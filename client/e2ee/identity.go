package e2ee

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const identityMagic = "RkI1"

// openIdentity reads the user's identity key, or makes it: of two that make it
// at the same time one wins, and both have that.
func openIdentity(v *vault, o *Options) (ed25519.PrivateKey, error) {
	if o.Identity == "" {
		seed := v.get("identity")
		if seed == nil {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return nil, err
			}
			v.set("identity", key.Seed())
			return key, nil
		}
		return ed25519.NewKeyFromSeed(seed), nil
	}
	b, err := os.ReadFile(o.Identity)
	if errors.Is(err, os.ErrNotExist) {
		if err = makeIdentity(o); err == nil {
			b, err = os.ReadFile(o.Identity)
		}
	}
	var seed []byte
	if err == nil {
		seed, _, err = openHead(b, identityMagic, o.Passphrase)
	}
	if err == nil && len(seed) != ed25519.SeedSize {
		err = ErrDamaged
	}
	if err != nil {
		return nil, fmt.Errorf("identity file %s: %w", o.Identity, err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// keepIdentity puts another identity in the place of the one there is.
func keepIdentity(v *vault, o *Options, key ed25519.PrivateKey) error {
	if o.Identity == "" {
		v.set("identity", key.Seed())
		return nil
	}
	b, err := sealHead(identityMagic, key.Seed(), o.Passphrase, o.work)
	if err != nil {
		return err
	}
	f, err := replaceFile(o.Identity, b)
	if err != nil {
		return err
	}
	return f.Close()
}

func makeIdentity(o *Options) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	b, err := sealHead(identityMagic, key.Seed(), o.Passphrase, o.work)
	if err != nil {
		return err
	}
	dir := filepath.Dir(o.Identity)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".identity-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Link(f.Name(), o.Identity); errors.Is(err, os.ErrExist) {
		return nil // somebody else's is there now
	}
	return errors.Join(err, syncFolder(dir))
}
