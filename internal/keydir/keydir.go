// Package keydir is the directory of public keys: what a device may publish,
// and who is handed what. It trusts no client, and clients need not trust it:
// both check signatures by package pubkey. It never sees a private key.
package keydir

import (
	"context"
	"errors"
	"fmt"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/pubkey"
	"github.com/rookery-chat/rookery/storage"
)

// Limits bound what one request may ask and what one device may have.
type Limits struct {
	OneTime int // one-time keys kept of a device
	Low     int // with fewer left its device is told
	Users   int // users a look-up
	Devices int // devices a claim
}

// DefaultLimits are the documented defaults.
func DefaultLimits() Limits { return Limits{OneTime: 100, Low: 20, Users: 64, Devices: 64} }

// Validate reports all faults together.
func (l Limits) Validate() error {
	var errs []error
	if l.OneTime < 1 || l.Users < 1 || l.Devices < 1 {
		errs = append(errs, errors.New("keydir: one-time keys, users and devices must be positive"))
	}
	if l.Low < 0 || l.Low > l.OneTime {
		errs = append(errs, errors.New("keydir: low must be between 0 and the number of one-time keys"))
	}
	return errors.Join(errs...)
}

// Directory answers requests about keys. Its methods are safe for concurrent
// use. Errors that are the client's fault are *chat.Error.
type Directory struct {
	store  storage.KeyStore
	limits Limits
}

// New returns the directory of a store.
func New(store storage.KeyStore, limits Limits) *Directory {
	return &Directory{store: store, limits: limits}
}

// Put publishes the keys of a user's device and returns how many of its one-time
// keys are left. The error is CodeBadKeys, CodeOtherIdentity, CodeRevoked or
// CodeTooMany, or the store's.
func (d *Directory) Put(ctx context.Context, user chat.User, put storage.PutKeys) (left int, err error) {
	put.Limit = d.limits.OneTime
	if len(put.OneTime) > d.limits.OneTime {
		return 0, d.tooManyKeys()
	}
	if err := check(user, &put); err != nil {
		return 0, chat.Errorf(chat.CodeBadKeys, "%v", err)
	}
	left, err = d.store.PutKeys(ctx, user, put)
	switch {
	case errors.Is(err, storage.ErrTooManyKeys):
		return 0, d.tooManyKeys()
	case errors.Is(err, storage.ErrRevoked):
		return 0, chat.Errorf(chat.CodeRevoked, "the device %s of %s was revoked: link it anew, under another name", put.Device.Device, user.Name())
	case errors.Is(err, storage.ErrOtherIdentity):
		return 0, chat.Errorf(chat.CodeOtherIdentity, "%s has another identity key: link this device to the others, or reset", user.Name())
	}
	return left, err
}

func (d *Directory) tooManyKeys() error {
	return chat.Errorf(chat.CodeTooMany, "at most %d one-time keys of a device are kept", d.limits.OneTime)
}

// check says what is wrong with keys. Signatures are of names without tenant, as
// clients know them.
func check(user chat.User, put *storage.PutKeys) error {
	if err := pubkey.CheckEd25519(put.Identity); err != nil {
		return fmt.Errorf("the identity: %w", err)
	}
	k := &put.Device
	name, device := user.Name(), string(k.Device)
	signed := pubkey.Device{User: name, Device: device, Curve: k.Curve, Signing: k.Signing, Signature: k.Signature}
	if err := signed.Check(put.Identity); err != nil {
		return fmt.Errorf("the device's keys: %w", err)
	}
	last := uint64(0)
	for i, o := range put.OneTime {
		if o.ID <= last || o.ID > maxID {
			return fmt.Errorf("one-time key %d: ids rise from 1, and this is %d", i, o.ID)
		}
		last = o.ID
		if err := preKey(o, false).Check(name, device, k.Signing); err != nil {
			return fmt.Errorf("one-time key %d: %w", i, err)
		}
	}
	f := put.Fallback
	if len(f.Key) == 0 && len(f.Signature) == 0 {
		return nil
	}
	if f.ID > maxID {
		return fmt.Errorf("the fallback key: the id %d", f.ID)
	}
	if err := preKey(f, true).Check(name, device, k.Signing); err != nil {
		return fmt.Errorf("the fallback key: %w", err)
	}
	return nil
}

// maxID is the highest id of a key.
const maxID = 1<<63 - 1

func preKey(k storage.PreKey, fallback bool) *pubkey.PreKey {
	return &pubkey.PreKey{ID: k.ID, Key: k.Key, Signature: k.Signature, Fallback: fallback}
}

// Get returns users' identities and devices, in the order asked.
func (d *Directory) Get(ctx context.Context, users []chat.User) ([]storage.UserKeys, error) {
	if len(users) > d.limits.Users {
		return nil, chat.Errorf(chat.CodeTooMany, "at most %d users are asked for at once", d.limits.Users)
	}
	list := make([]storage.UserKeys, 0, len(users))
	for _, u := range users {
		k, err := d.store.Keys(ctx, u)
		if err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, nil
}

// Ref names a device.
type Ref struct {
	User   chat.User
	Device chat.Device
}

// Claimed is a key that was handed out, and how many one-time keys of its device
// are left.
type Claimed struct {
	Ref
	storage.ClaimedKey
	Left int
}

// Low reports whether the device should publish more.
func (d *Directory) Low(c Claimed) bool { return c.Left < d.limits.Low }

// Claim hands out one key of each device, without those that have none. Where
// the store fails in the middle, what was claimed before is lost: handing it out
// again could be handing it out twice.
func (d *Directory) Claim(ctx context.Context, devices []Ref) ([]Claimed, error) {
	if len(devices) > d.limits.Devices {
		return nil, chat.Errorf(chat.CodeTooMany, "keys of at most %d devices are claimed at once", d.limits.Devices)
	}
	var list []Claimed
	for _, r := range devices {
		k, left, found, err := d.store.ClaimKey(ctx, r.User, r.Device)
		if err != nil {
			return nil, err
		}
		if found {
			list = append(list, Claimed{Ref: r, ClaimedKey: k, Left: left})
		}
	}
	return list, nil
}

// Drop removes the keys of a user's device.
func (d *Directory) Drop(ctx context.Context, user chat.User, device chat.Device) error {
	return d.store.DropKeys(ctx, user, device)
}
