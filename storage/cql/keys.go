package cql

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/gocql/gocql"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// All changes of a user's keys are lightweight transactions, and nothing else
// writes their rows: so a key that is gone stays gone. A device's row carries a
// version, which each change of it raises, and by which it is found to have
// changed meanwhile.

// Of transactions that meet others.
const (
	keyTries = 12
	keyPause = 20 * time.Millisecond // before another try, doubled and at random
)

// A row's kind: 0 is a device, 1 one of its one-time keys.
const (
	getKeys     = `SELECT identity, device, version, gone, upto, signer, curve, signing, signature, fallback_id, fallback_key, fallback_signature FROM user_keys WHERE user = ? AND kind = 0`
	getOneTime  = `SELECT id, key, signature FROM user_keys WHERE user = ? AND kind = 1 AND device = ?`
	casIdentity = `UPDATE user_keys SET identity = ? WHERE user = ? IF identity = ?`
	casDevice   = `UPDATE user_keys SET version = ?, gone = ?, upto = ?, signer = ?, curve = ?, signing = ?, signature = ?, fallback_id = ?, fallback_key = ?, fallback_signature = ?` +
		` WHERE user = ? AND kind = 0 AND device = ? AND id = 0 IF version = ?`
	putOneTime  = `INSERT INTO user_keys (user, kind, device, id, key, signature) VALUES (?, 1, ?, ?, ?, ?)`
	dropOneTime = `DELETE FROM user_keys WHERE user = ? AND kind = 1 AND device = ? AND id = ?`
	casOneTime  = dropOneTime + ` IF EXISTS`
)

// keyRow is a device's row.
type keyRow struct {
	version  *int64 // nil: there is none
	gone     bool
	upto     int64
	signer   []byte // the identity it was put under
	keys     storage.DeviceKeys
	fallback storage.PreKey
}

// keyRows reads a user's identity and devices, also those that do not count any
// more.
func (s *Store) keyRows(ctx context.Context, user chat.User) (identity []byte, rows []keyRow, err error) {
	err = s.query(ctx, getKeys, func(row scanner) error {
		var r keyRow
		var name string
		var fallback int64
		err := row(&identity, &name, &r.version, &r.gone, &r.upto, &r.signer, &r.keys.Curve, &r.keys.Signing, &r.keys.Signature,
			&fallback, &r.fallback.Key, &r.fallback.Signature)
		r.keys.Device, r.fallback.ID = chat.Device(name), uint64(fallback)
		rows = append(rows, r)
		return err
	}, string(user))
	return identity, rows, err
}

func find(rows []keyRow, device chat.Device) (keyRow, bool) {
	for _, r := range rows {
		if r.keys.Device == device {
			return r, true
		}
	}
	return keyRow{}, false
}

func (r *keyRow) counts(identity []byte) bool {
	return !r.gone && len(identity) > 0 && bytes.Equal(r.signer, identity)
}

// Keys implements storage.Store.
func (s *Store) Keys(ctx context.Context, user chat.User) (u storage.UserKeys, err error) {
	if err := s.begin(ctx); err != nil {
		return u, err
	}
	defer s.leave()
	identity, rows, err := s.keyRows(ctx, user)
	if err != nil {
		return u, failed("keys", err)
	}
	if len(identity) > 0 {
		u.Identity = identity
	}
	for i := range rows {
		if rows[i].counts(identity) {
			u.Devices = append(u.Devices, rows[i].keys)
		}
	}
	return u, nil
}

// PutKeys implements storage.Store.
func (s *Store) PutKeys(ctx context.Context, user chat.User, p storage.PutKeys) (left int, err error) {
	err = s.transact(ctx, "put keys", func() (done bool, err error) {
		left, done, err = s.tryPut(ctx, user, p)
		return done, err
	})
	return left, err
}

func (s *Store) tryPut(ctx context.Context, user chat.User, p storage.PutKeys) (left int, done bool, err error) {
	if d, err := s.deviceOf(ctx, user, p.Device.Device); err != nil || d != nil && !d.present() {
		return 0, false, cmp.Or(err, storage.ErrRevoked)
	}
	identity, rows, err := s.keyRows(ctx, user)
	if err != nil {
		return 0, false, err
	}
	if len(identity) > 0 && !bytes.Equal(identity, p.Identity) && !p.Reset {
		return 0, false, storage.ErrOtherIdentity
	}
	old, found := find(rows, p.Device.Device)
	there, err := s.oneTime(ctx, user, p.Device.Device)
	if err != nil {
		return 0, false, err
	}
	r := keyRow{signer: p.Identity, keys: p.Device, fallback: p.Fallback}
	same := found && bytes.Equal(old.keys.Curve, p.Device.Curve)
	if same {
		r.upto = old.upto
		if len(p.Fallback.Key) == 0 {
			r.fallback = old.fallback
		}
		left = len(there)
	}
	var fresh []storage.PreKey
	ids := map[uint64]bool{}
	for _, k := range p.OneTime {
		if int64(k.ID) > r.upto {
			r.upto = int64(k.ID)
			fresh, ids[k.ID] = append(fresh, k), true
		}
	}
	if left += len(fresh); left > p.Limit {
		return 0, false, storage.ErrTooManyKeys
	}
	done, err = s.batch(ctx, func(b *gocql.Batch) {
		b.Query(casIdentity, p.Identity, string(user), orNil(identity))
		s.device(b, user, &r, old.version)
		for _, k := range there {
			// One that is put anew is written over: a deletion would be of the same time, and win.
			if !same && !ids[k.ID] {
				b.Query(dropOneTime, string(user), string(p.Device.Device), int64(k.ID))
			}
		}
		for _, k := range fresh {
			b.Query(putOneTime, string(user), string(p.Device.Device), int64(k.ID), k.Key, k.Signature)
		}
	})
	return left, done, err
}

// device adds the row of a device as it is to be, if it still has a version.
func (s *Store) device(b *gocql.Batch, user chat.User, r *keyRow, version *int64) {
	next := int64(1)
	if version != nil {
		next = *version + 1
	}
	b.Query(casDevice, next, r.gone, r.upto, r.signer, r.keys.Curve, r.keys.Signing, r.keys.Signature,
		int64(r.fallback.ID), r.fallback.Key, r.fallback.Signature, string(user), string(r.keys.Device), version)
}

func orNil(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

func (s *Store) oneTime(ctx context.Context, user chat.User, device chat.Device) (keys []storage.PreKey, err error) {
	err = s.query(ctx, getOneTime, func(row scanner) error {
		var k storage.PreKey
		var id int64
		err := row(&id, &k.Key, &k.Signature)
		k.ID = uint64(id)
		keys = append(keys, k)
		return err
	}, string(user), string(device))
	return keys, err
}

// ClaimKey implements storage.Store. Which key is tried is random, so that those
// who claim at the same time rarely meet. What became of a try that timed out
// is not known: its key is not given to this caller, and may be lost.
func (s *Store) ClaimKey(ctx context.Context, user chat.User, device chat.Device) (k storage.ClaimedKey, left int, found bool, err error) {
	err = s.transact(ctx, "claim a key", func() (done bool, err error) {
		k, left, found, done, err = s.tryClaim(ctx, user, device)
		return done, err
	})
	return k, left, found, err
}

func (s *Store) tryClaim(ctx context.Context, user chat.User, device chat.Device) (k storage.ClaimedKey, left int, found, done bool, err error) {
	identity, rows, err := s.keyRows(ctx, user)
	if err != nil {
		return k, 0, false, false, err
	}
	r, found := find(rows, device)
	if !found || !r.counts(identity) {
		return k, 0, false, true, nil
	}
	keys, err := s.oneTime(ctx, user, device)
	if err != nil {
		return k, 0, false, false, err
	}
	if len(keys) == 0 {
		return storage.ClaimedKey{PreKey: r.fallback, Fallback: true}, 0, len(r.fallback.Key) > 0, true, nil
	}
	k.PreKey = keys[rand.IntN(len(keys))]
	err = s.link.do(ctx, func(session *gocql.Session) error {
		var err error
		q := session.QueryWithContext(ctx, casOneTime, string(user), string(device), int64(k.ID))
		defer q.Release()
		done, err = q.MapScanCAS(map[string]any{})
		return err
	})
	return k, len(keys) - 1, true, done, err
}

// DropKeys implements storage.Store.
func (s *Store) DropKeys(ctx context.Context, user chat.User, device chat.Device) error {
	return s.dropKeys(ctx, user, device, false)
}

// dropKeys removes a device's keys. always also writes the row of a device that
// has none: who is putting some has to begin again.
func (s *Store) dropKeys(ctx context.Context, user chat.User, device chat.Device, always bool) error {
	return s.transact(ctx, "drop keys", func() (bool, error) {
		_, rows, err := s.keyRows(ctx, user)
		if err != nil {
			return false, err
		}
		r, found := find(rows, device)
		if (!found || r.gone) && !always {
			return true, nil
		}
		there, err := s.oneTime(ctx, user, device)
		if err != nil {
			return false, err
		}
		r.gone, r.fallback, r.keys.Device = true, storage.PreKey{}, device
		return s.batch(ctx, func(b *gocql.Batch) {
			s.device(b, user, &r, r.version)
			for _, k := range there {
				b.Query(dropOneTime, string(user), string(device), int64(k.ID))
			}
		})
	})
}

// batch runs a conditional batch, and says whether its conditions held.
func (s *Store) batch(ctx context.Context, fill func(b *gocql.Batch)) (applied bool, err error) {
	err = s.link.do(ctx, func(session *gocql.Session) error {
		b := session.BatchWithContext(ctx, gocql.LoggedBatch)
		fill(b)
		ok, rows, err := session.MapExecuteBatchCAS(b, map[string]any{})
		if rows != nil {
			err = errors.Join(err, rows.Close())
		}
		applied = ok
		return err
	})
	return applied, err
}

// transact tries until a transaction is done, or fails for another reason than
// that it met others.
func (s *Store) transact(ctx context.Context, what string, try func() (done bool, err error)) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.leave()
	pause, last := keyPause, error(nil)
	for range keyTries {
		done, err := try()
		switch {
		case errors.Is(err, storage.ErrOtherIdentity), errors.Is(err, storage.ErrTooManyKeys), errors.Is(err, storage.ErrRevoked):
			return err
		case err != nil && !contended(err):
			return failed(what, err)
		case err == nil && done:
			return nil
		}
		last = err
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, time.Second)
	}
	return failed(what, errors.Join(errors.New("others change the same keys all the time"), last))
}

// contended reports whether a transaction failed as others were at the same
// rows. Whether it was applied is not known.
func contended(err error) bool {
	var timeout *gocql.RequestErrWriteTimeout
	var unknown *gocql.RequestErrCASWriteUnknown
	return errors.As(err, &timeout) || errors.As(err, &unknown)
}
