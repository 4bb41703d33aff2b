package storage

import (
	"context"
	"errors"

	"github.com/rookery-chat/rookery/chat"
)

// KeyStore keeps public keys of devices. It is part of Store. What the keys
// are, and whether they hold, is the caller's business: here they are bytes.
type KeyStore interface {
	// Keys returns a user's identity key, nil where there is none, and the keys
	// of the devices that were put under it, in order of their names.
	Keys(ctx context.Context, user chat.User) (UserKeys, error)

	// PutKeys writes the keys of one device, durably before it returns, and
	// returns how many of its one-time keys have not been claimed.
	//
	// The user's first PutKeys decides on the identity. Another one is refused
	// with ErrOtherIdentity, unless reset: then it takes the place of the old
	// one, and devices that were put under that are gone.
	//
	// One-time keys whose ids are not above every id that was put for these
	// device keys (the same Curve) are passed over: so a put may be repeated,
	// and brings back none that was claimed. A device that comes with another
	// Curve begins anew. An empty Fallback leaves the one there is. More than
	// limit one-time keys in all are refused with ErrTooManyKeys, and keys of a
	// device that was revoked with ErrRevoked.
	PutKeys(ctx context.Context, user chat.User, put PutKeys) (left int, err error)

	// ClaimKey hands out one of a device's one-time keys: to one caller, ever,
	// also when others claim at the same time or the process ends now. Where
	// none is left it returns the fallback key. found is false when the device
	// has no keys. left is how many one-time keys remain.
	ClaimKey(ctx context.Context, user chat.User, device chat.Device) (key ClaimedKey, left int, found bool, err error)

	// DropKeys removes a device's keys, durably before it returns. That there
	// are none is no error. One-time keys that it had cannot come back.
	DropKeys(ctx context.Context, user chat.User, device chat.Device) error
}

// ErrOtherIdentity says that the user has another identity key.
var ErrOtherIdentity = errors.New("storage: the user has another identity key")

// ErrRevoked says that the device was revoked.
var ErrRevoked = errors.New("storage: the device was revoked")

// ErrTooManyKeys says that a device would have more one-time keys than allowed.
var ErrTooManyKeys = errors.New("storage: too many one-time keys")

// PreKey is a one-time or fallback key with its signature.
type PreKey struct {
	ID        uint64 // at most 2^63-1
	Key       []byte
	Signature []byte
}

// DeviceKeys are the lasting keys of a device.
type DeviceKeys struct {
	Device    chat.Device
	Curve     []byte
	Signing   []byte
	Signature []byte // of the user's identity
}

// UserKeys are a user's identity and devices.
type UserKeys struct {
	Identity []byte
	Devices  []DeviceKeys
}

// PutKeys is what a device puts.
type PutKeys struct {
	Identity []byte
	Device   DeviceKeys
	OneTime  []PreKey // ids rise
	Fallback PreKey
	Reset    bool
	Limit    int // one-time keys of the device in all
}

// ClaimedKey is a key that was handed out.
type ClaimedKey struct {
	PreKey
	Fallback bool
}
