// Package pubkey is what a public key of a device has to be, and what is signed
// of it. The server's key directory and the SDK both go by it: neither takes the
// other's word.
//
// What is signed begins with a name of its own, so that no signature stands for
// something else, and each field has its length before it. docs/encryption.md
// has the bytes.
package pubkey

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"

	"filippo.io/edwards25519"
)

// Lengths in bytes.
const (
	KeyBytes       = 32
	SignatureBytes = 64
)

// Names of what is signed.
const (
	deviceContext   = "rookery device keys 1"
	oneTimeContext  = "rookery one-time key 1"
	fallbackContext = "rookery fallback key 1"
)

// ErrWeak says that a key is of low order or not in its one canonical form: what
// is agreed with such a key, anybody knows.
var ErrWeak = errors.New("a weak public key")

// ErrUnsigned says that a signature does not hold.
var ErrUnsigned = errors.New("a signature that does not hold")

// probe is a private key, of no value, by which weak public keys are found.
var probe = func() *ecdh.PrivateKey {
	k, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{0x42}, KeyBytes))
	if err != nil {
		panic(err)
	}
	return k
}()

// CheckCurve25519 refuses what is no Curve25519 public key, or one of low order.
func CheckCurve25519(key []byte) error {
	k, err := ecdh.X25519().NewPublicKey(key)
	if err != nil {
		return fmt.Errorf("a Curve25519 key of %d bytes", len(key))
	}
	// The agreed secret is all zeros exactly for points of low order (RFC 7748
	// section 6.1), which the library reports.
	if _, err := probe.ECDH(k); err != nil {
		return ErrWeak
	}
	return nil
}

// CheckEd25519 refuses what is no Ed25519 public key, one of low order, or one
// that is not in canonical form.
func CheckEd25519(key []byte) error {
	if len(key) != KeyBytes {
		return fmt.Errorf("an Ed25519 key of %d bytes", len(key))
	}
	p, err := new(edwards25519.Point).SetBytes(key)
	if err != nil || !bytes.Equal(p.Bytes(), key) {
		return ErrWeak
	}
	if new(edwards25519.Point).MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return ErrWeak
	}
	return nil
}

// Device are the lasting keys of a device.
type Device struct {
	User, Device string // names as on the wire
	Curve        []byte
	Signing      []byte
	Signature    []byte // of the user's identity
}

// Signed is what the identity signs of a device.
func (d *Device) Signed() []byte {
	return appendFields([]byte(deviceContext), []byte(d.User), []byte(d.Device), d.Curve, d.Signing)
}

// Check says whether the keys are sound and signed by an identity, which has to
// be checked itself.
func (d *Device) Check(identity []byte) error {
	if err := CheckCurve25519(d.Curve); err != nil {
		return err
	}
	if err := CheckEd25519(d.Signing); err != nil {
		return err
	}
	return verify(identity, d.Signed(), d.Signature)
}

// PreKey is a one-time or fallback key of a device.
type PreKey struct {
	ID        uint64
	Key       []byte
	Signature []byte // of the device's Ed25519 key
	Fallback  bool
}

// Signed is what the device signs of the key.
func (k *PreKey) Signed(user, device string) []byte {
	context := oneTimeContext
	if k.Fallback {
		context = fallbackContext
	}
	return appendFields([]byte(context), []byte(user), []byte(device), binary.BigEndian.AppendUint64(nil, k.ID), k.Key)
}

// Check says whether the key is sound and signed by the device.
func (k *PreKey) Check(user, device string, signing []byte) error {
	if err := CheckCurve25519(k.Key); err != nil {
		return err
	}
	return verify(signing, k.Signed(user, device), k.Signature)
}

func verify(key, message, signature []byte) error {
	if len(key) != KeyBytes || len(signature) != SignatureBytes || !ed25519.Verify(key, message, signature) {
		return ErrUnsigned
	}
	return nil
}

// appendFields appends each field behind its length, two bytes, big-endian.
func appendFields(dst []byte, fields ...[]byte) []byte {
	for _, f := range fields {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(f)))
		dst = append(dst, f...)
	}
	return dst
}
