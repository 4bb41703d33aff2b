package pebble

import (
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// Devices implements storage.Store.
func (s *Store) Devices(ctx context.Context, user chat.User) ([]storage.Device, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	var devices []storage.Device
	tables := []byte{tableDevice, tableLabel, tableRevoked, tableCursor} // of each device its row first, and whether it is there before its cursor
	err := s.scanTables(ctx, tables, user, func(table byte, name, row []byte) error {
		if table == tableDevice {
			d := storage.Device{Name: chat.Device(name)}
			err := decodeDevice(row, &d)
			devices = append(devices, d)
			return err
		}
		i := slices.IndexFunc(devices, func(d storage.Device) bool { return string(d.Name) == string(name) })
		if i < 0 {
			return nil
		}
		if table == tableLabel {
			devices[i].Label = string(row)
			return nil
		}
		var n uint64
		err := readUint64s(row, &n)
		if table == tableRevoked {
			devices[i].Revoked = int64(n)
		} else if devices[i].Revoked == 0 { // else a mark was on its way
			devices[i].Cursor = chat.Position(n)
		}
		return err
	})
	return devices, err
}

// revoked returns when devices of a user were revoked, nil where none was.
func (s *Store) revoked(ctx context.Context, user chat.User) (at map[chat.Device]int64, err error) {
	if !s.revocations.Load() {
		return nil, nil
	}
	err = s.scanUser(ctx, tableRevoked, user, func(device, row []byte) error {
		if at == nil {
			at = map[chat.Device]int64{}
		}
		var ms uint64
		err := readUint64s(row, &ms)
		at[chat.Device(device)] = int64(ms)
		return err
	})
	return at, err
}

// PutDevice implements storage.Store.
func (s *Store) PutDevice(ctx context.Context, user chat.User, d storage.Device) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.leave()
	return s.db.Set(appendPairKey(nil, tableDevice, user, d.Name), appendDevice(nil, d), pebble.Sync)
}

// LabelDevice implements storage.Store.
func (s *Store) LabelDevice(ctx context.Context, user chat.User, device chat.Device, label string) (found bool, err error) {
	if err := s.begin(ctx); err != nil {
		return false, err
	}
	defer s.leave()
	s.keyMu.Lock()
	defer s.keyMu.Unlock()
	gone, err := s.wasRevoked(user, device)
	if err == nil && !gone {
		found, err = s.has(appendPairKey(nil, tableDevice, user, device))
	}
	if err != nil || !found {
		return false, err
	}
	return true, s.db.Set(appendPairKey(nil, tableLabel, user, device), []byte(label), pebble.Sync)
}

// RevokeDevice implements storage.Store. Who puts keys holds the same lock, and
// what else is written later is not read.
func (s *Store) RevokeDevice(ctx context.Context, user chat.User, device chat.Device, at int64) (found bool, err error) {
	if err := s.begin(ctx); err != nil {
		return false, err
	}
	defer s.leave()
	s.keyMu.Lock()
	defer s.keyMu.Unlock()
	s.pushMu.Lock()
	defer s.pushMu.Unlock()
	if found, err = s.has(appendPairKey(nil, tableDevice, user, device)); err != nil || !found {
		return false, err
	}
	b := s.db.NewBatch()
	defer b.Close()
	gone, err := s.wasRevoked(user, device)
	if err == nil && !gone {
		err = b.Set(appendPairKey(nil, tableRevoked, user, device), appendUint64s(nil, uint64(at)), nil)
	}
	if err == nil {
		err = s.dropKeys(b, user, device)
	}
	for _, table := range []byte{tableCursor, tablePush, tablePushed} {
		if err == nil {
			err = b.Delete(appendPairKey(nil, table, user, device), nil)
		}
	}
	if err != nil {
		return false, err
	}
	s.revocations.Store(true) // before there is one
	return true, b.Commit(pebble.Sync)
}

// loadRevocations notes whether a device was ever revoked: while none was nobody
// looks.
func (s *Store) loadRevocations() error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{tableRevoked}, UpperBound: []byte{tableRevoked + 1}})
	if err != nil {
		return err
	}
	s.revocations.Store(it.First())
	return errors.Join(it.Error(), it.Close())
}

// wasRevoked reports whether a device was. s.keyMu is held.
func (s *Store) wasRevoked(user chat.User, device chat.Device) (bool, error) {
	return s.has(appendPairKey(nil, tableRevoked, user, device))
}
