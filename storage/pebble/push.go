package pebble

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// PushTargets implements storage.Store.
func (s *Store) PushTargets(ctx context.Context, user chat.User) ([]storage.PushTarget, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	gone, err := s.revoked(ctx, user)
	if err != nil {
		return nil, err
	}
	var targets []storage.PushTarget
	err = s.scanUser(ctx, tablePush, user, func(device, row []byte) error {
		t := storage.PushTarget{Device: chat.Device(device)}
		if _, ok := gone[t.Device]; ok { // it was being written when its device was revoked
			return nil
		}
		if err := decodePush(row, &t); err != nil {
			return err
		}
		var pushed uint64
		_, err := s.getUint64s(appendPairKey(nil, tablePushed, user, t.Device), &pushed)
		t.Pushed = chat.Position(pushed)
		targets = append(targets, t)
		return err
	})
	return targets, err
}

// PutPushTarget implements storage.Store.
func (s *Store) PutPushTarget(ctx context.Context, user chat.User, t storage.PushTarget) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.leave()
	key := appendPairKey(nil, tablePush, user, t.Device)
	if t.Token != "" {
		return s.db.Set(key, appendPush(nil, &t), pebble.Sync)
	}
	s.pushMu.Lock()
	defer s.pushMu.Unlock()
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Delete(key, nil); err != nil {
		return err
	}
	if err := b.Delete(appendPairKey(nil, tablePushed, user, t.Device), nil); err != nil {
		return err
	}
	return b.Commit(pebble.Sync)
}

// PutPushed implements storage.Store.
func (s *Store) PutPushed(ctx context.Context, user chat.User, device chat.Device, pos chat.Position) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.pushMu.Lock()
	defer s.pushMu.Unlock()
	var old uint64
	key := appendPairKey(nil, tablePushed, user, device)
	if _, err := s.getUint64s(key, &old); err != nil || chat.Position(old) >= pos {
		return err
	}
	return s.db.Set(key, appendUint64s(nil, uint64(pos)), pebble.NoSync)
}

func appendPush(dst []byte, t *storage.PushTarget) []byte {
	return append(appendString(append(dst, rowVersion), t.Provider), t.Token...)
}

func decodePush(row []byte, t *storage.PushTarget) error {
	if len(row) < 1 || row[0] != rowVersion {
		return fmt.Errorf("%w: a push target of %d bytes, or of a later version", errCorrupt, len(row))
	}
	d := rowDecoder{rest: row[1:]}
	t.Provider = string(d.bytes())
	if d.short {
		return fmt.Errorf("%w: a push target is cut off", errCorrupt)
	}
	t.Token = string(d.rest)
	return nil
}
