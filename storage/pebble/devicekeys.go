package pebble

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// keyRow is a device's row of tableKeys. A row whose identity is not the user's
// any more, or that is gone, stays for its upto.
type keyRow struct {
	gone     bool
	upto     uint64 // the highest id of a one-time key that was put
	identity []byte
	keys     storage.DeviceKeys
	fallback storage.PreKey
}

// Keys implements storage.Store.
func (s *Store) Keys(ctx context.Context, user chat.User) (storage.UserKeys, error) {
	var u storage.UserKeys
	if err := s.begin(ctx); err != nil {
		return u, err
	}
	defer s.leave()
	// One snapshot, as a reset changes identity and devices together.
	s.keyMu.Lock()
	defer s.keyMu.Unlock()
	var err error
	if u.Identity, err = s.identity(user); err != nil || u.Identity == nil {
		return u, err
	}
	err = s.scanUser(ctx, tableKeys, user, func(device, row []byte) error {
		r, err := decodeKeyRow(row)
		if err == nil && !r.gone && bytes.Equal(r.identity, u.Identity) {
			r.keys.Device = chat.Device(device)
			u.Devices = append(u.Devices, r.keys)
		}
		return err
	})
	return u, err
}

// PutKeys implements storage.Store.
func (s *Store) PutKeys(ctx context.Context, user chat.User, p storage.PutKeys) (left int, err error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	s.keyMu.Lock()
	defer s.keyMu.Unlock()
	if gone, err := s.wasRevoked(user, p.Device.Device); err != nil || gone {
		return 0, cmp.Or(err, storage.ErrRevoked)
	}
	identity, err := s.identity(user)
	if err != nil {
		return 0, err
	}
	if identity != nil && !bytes.Equal(identity, p.Identity) && !p.Reset {
		return 0, storage.ErrOtherIdentity
	}
	old, found, err := s.keyRow(user, p.Device.Device)
	if err != nil {
		return 0, err
	}
	b := s.db.NewBatch()
	defer b.Close()
	prefix := appendOneTimePrefix(nil, user, p.Device.Device)
	r := keyRow{identity: p.Identity, keys: p.Device, fallback: p.Fallback}
	if found && bytes.Equal(old.keys.Curve, p.Device.Curve) {
		if r.upto = old.upto; len(p.Fallback.Key) == 0 {
			r.fallback = old.fallback
		}
		if left, err = s.countOneTime(ctx, prefix); err != nil {
			return 0, err
		}
	} else if err := b.DeleteRange(prefix, after(nil, prefix), nil); err != nil {
		return 0, err
	}
	for _, k := range p.OneTime {
		if k.ID <= r.upto {
			continue
		}
		r.upto = k.ID
		left++
		row := append(appendString(nil, string(k.Key)), k.Signature...)
		if err := b.Set(binary.BigEndian.AppendUint64(prefix[:len(prefix):len(prefix)], k.ID), row, nil); err != nil {
			return 0, err
		}
	}
	if left > p.Limit {
		return 0, storage.ErrTooManyKeys
	}
	if err := b.Set(appendUserKey(nil, tableIdentity, user), p.Identity, nil); err != nil {
		return 0, err
	}
	if err := b.Set(appendPairKey(nil, tableKeys, user, p.Device.Device), appendKeyRow(nil, &r), nil); err != nil {
		return 0, err
	}
	return left, b.Commit(pebble.Sync)
}

// ClaimKey implements storage.Store. The lock is held until the row is durably
// gone, so claims of a process come one after another: each is one sync.
func (s *Store) ClaimKey(ctx context.Context, user chat.User, device chat.Device) (k storage.ClaimedKey, left int, found bool, err error) {
	if err := s.begin(ctx); err != nil {
		return k, 0, false, err
	}
	defer s.leave()
	s.keyMu.Lock()
	defer s.keyMu.Unlock()
	identity, err := s.identity(user)
	if err != nil || identity == nil {
		return k, 0, false, err
	}
	r, found, err := s.keyRow(user, device)
	if err != nil || !found || r.gone || !bytes.Equal(r.identity, identity) {
		return k, 0, false, err
	}
	prefix := appendOneTimePrefix(nil, user, device)
	var key []byte
	err = s.scan(ctx, prefix, after(nil, prefix), func(at, row []byte) (bool, error) {
		if key != nil {
			left++
			return true, nil
		}
		key = append([]byte{}, at...)
		d := rowDecoder{rest: row}
		k.ID = binary.BigEndian.Uint64(at[len(at)-8:])
		k.Key = append([]byte{}, d.bytes()...)
		k.Signature = append([]byte{}, d.rest...)
		if d.short {
			return false, fmt.Errorf("%w: a one-time key is cut off", errCorrupt)
		}
		return true, nil
	})
	switch {
	case err != nil:
		return storage.ClaimedKey{}, 0, false, err
	case key == nil:
		k.PreKey, k.Fallback = r.fallback, true
		return k, 0, len(r.fallback.Key) > 0, nil
	}
	return k, left, true, s.db.Delete(key, pebble.Sync)
}

// DropKeys implements storage.Store.
func (s *Store) DropKeys(ctx context.Context, user chat.User, device chat.Device) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.keyMu.Lock()
	defer s.keyMu.Unlock()
	b := s.db.NewBatch()
	defer b.Close()
	if err := s.dropKeys(b, user, device); err != nil {
		return err
	}
	return b.Commit(pebble.Sync)
}

// dropKeys adds to a batch that a device's keys are gone. s.keyMu is held.
func (s *Store) dropKeys(b *pebble.Batch, user chat.User, device chat.Device) error {
	r, found, err := s.keyRow(user, device)
	if err != nil || !found || r.gone {
		return err
	}
	r.gone, r.fallback = true, storage.PreKey{}
	prefix := appendOneTimePrefix(nil, user, device)
	if err := b.DeleteRange(prefix, after(nil, prefix), nil); err != nil {
		return err
	}
	return b.Set(appendPairKey(nil, tableKeys, user, device), appendKeyRow(nil, &r), nil)
}

func (s *Store) identity(user chat.User) (key []byte, err error) {
	_, err = s.get(appendUserKey(nil, tableIdentity, user), func(row []byte) error {
		key = append([]byte{}, row...)
		return nil
	})
	return key, err
}

func (s *Store) keyRow(user chat.User, device chat.Device) (r keyRow, found bool, err error) {
	found, err = s.get(appendPairKey(nil, tableKeys, user, device), func(row []byte) (err error) {
		r, err = decodeKeyRow(row)
		r.keys.Device = device
		return err
	})
	return r, found, err
}

func (s *Store) countOneTime(ctx context.Context, prefix []byte) (n int, err error) {
	err = s.scan(ctx, prefix, after(nil, prefix), func([]byte, []byte) (bool, error) {
		n++
		return true, nil
	})
	return n, err
}

// appendOneTimePrefix appends what the keys of a device's one-time keys begin
// with. The device's length is before its name, so that no device's are a prefix
// of another's.
func appendOneTimePrefix(dst []byte, user chat.User, device chat.Device) []byte {
	return appendString(appendUserKey(dst, tableOneTime, user), device)
}

func appendKeyRow(dst []byte, r *keyRow) []byte {
	gone := byte(0)
	if r.gone {
		gone = 1
	}
	dst = binary.AppendUvarint(append(dst, rowVersion, gone), r.upto)
	for _, b := range [][]byte{r.identity, r.keys.Curve, r.keys.Signing, r.keys.Signature} {
		dst = appendString(dst, string(b))
	}
	dst = binary.AppendUvarint(dst, r.fallback.ID)
	return appendString(appendString(dst, string(r.fallback.Key)), string(r.fallback.Signature))
}

// decodeKeyRow copies what it keeps.
func decodeKeyRow(row []byte) (r keyRow, err error) {
	if len(row) < 2 || row[0] != rowVersion {
		return r, fmt.Errorf("%w: a device's keys of %d bytes, or of a later version", errCorrupt, len(row))
	}
	d := rowDecoder{rest: append([]byte{}, row[2:]...)}
	r.gone, r.upto = row[1] != 0, d.uvarint()
	r.identity = d.bytes()
	r.keys.Curve, r.keys.Signing, r.keys.Signature = d.bytes(), d.bytes(), d.bytes()
	r.fallback.ID, r.fallback.Key, r.fallback.Signature = d.uvarint(), d.bytes(), d.bytes()
	if d.short {
		return r, fmt.Errorf("%w: a device's keys are cut off", errCorrupt)
	}
	return r, nil
}
