package pubkey

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"testing"
)

// lowCurve are all encodings of points of low order on Curve25519 and its twist.
var lowCurve = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// lowEdwards are the eight points of low order on edwards25519, and encodings of
// them that are not canonical.
var lowEdwards = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

func unhex(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWeakKeys(t *testing.T) {
	for _, s := range lowCurve {
		if err := CheckCurve25519(unhex(t, s)); !errors.Is(err, ErrWeak) {
			t.Errorf("Curve25519 %s: %v", s, err)
		}
	}
	for _, s := range lowEdwards {
		if err := CheckEd25519(unhex(t, s)); !errors.Is(err, ErrWeak) {
			t.Errorf("Ed25519 %s: %v", s, err)
		}
	}
	for _, n := range []int{0, 31, 33} {
		if CheckCurve25519(make([]byte, n)) == nil || CheckEd25519(make([]byte, n)) == nil {
			t.Errorf("%d bytes are taken", n)
		}
	}
}

func keys(t *testing.T) (curve []byte, signing ed25519.PublicKey, private ed25519.PrivateKey) {
	c, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signing, private, err = ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return c.PublicKey().Bytes(), signing, private
}

func TestDevice(t *testing.T) {
	curve, signing, _ := keys(t)
	_, identity, private := keys(t)
	d := Device{User: "alice", Device: "phone", Curve: curve, Signing: signing}
	d.Signature = ed25519.Sign(private, d.Signed())
	if err := errors.Join(CheckEd25519(identity), d.Check(identity)); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(d *Device){
		"another user":      func(d *Device) { d.User = "bob" },
		"another device":    func(d *Device) { d.Device = "tablet" },
		"a field moved":     func(d *Device) { d.User, d.Device = "alicep", "hone" },
		"another curve key": func(d *Device) { d.Curve, _, _ = keys(t) },
		"another signing":   func(d *Device) { _, d.Signing, _ = keys(t) },
		"no signature":      func(d *Device) { d.Signature = nil },
		"a bit":             func(d *Device) { d.Signature = bytes.Clone(d.Signature); d.Signature[9] ^= 1 },
	} {
		other := d
		change(&other)
		if err := other.Check(identity); !errors.Is(err, ErrUnsigned) {
			t.Errorf("%s: %v", what, err)
		}
	}
	weak := d
	weak.Curve = make([]byte, KeyBytes)
	weak.Signature = ed25519.Sign(private, weak.Signed())
	if err := weak.Check(identity); !errors.Is(err, ErrWeak) {
		t.Errorf("signed and weak: %v", err)
	}
}

func TestPreKey(t *testing.T) {
	curve, signing, private := keys(t)
	k := PreKey{ID: 7, Key: curve}
	k.Signature = ed25519.Sign(private, k.Signed("alice", "phone"))
	if err := k.Check("alice", "phone", signing); err != nil {
		t.Fatal(err)
	}
	fallback, other := k, k
	fallback.Fallback, other.ID = true, 8
	for what, err := range map[string]error{
		"as a fallback": fallback.Check("alice", "phone", signing), "another id": other.Check("alice", "phone", signing),
		"another device": k.Check("alice", "tablet", signing), "another user": k.Check("bob", "phone", signing),
	} {
		if !errors.Is(err, ErrUnsigned) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzCheck: nothing panics and nothing is taken for signed, whatever the bytes.
func FuzzCheck(f *testing.F) {
	f.Add("alice", "phone", make([]byte, 32), make([]byte, 32), make([]byte, 64))
	f.Fuzz(func(t *testing.T, user, device string, key, signing, signature []byte) {
		d := Device{User: user, Device: device, Curve: key, Signing: signing, Signature: signature}
		k := PreKey{Key: key, Signature: signature}
		if CheckEd25519(signing) == nil && (d.Check(signing) == nil || k.Check(user, device, signing) == nil) {
			t.Fatal("a signature that nobody made is taken")
		}
	})
}
