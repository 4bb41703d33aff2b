package pebble

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rookery-chat/rookery/chat"
)

// Heads implements storage.Store.
func (s *Store) Heads(ctx context.Context, users []chat.User, dst []chat.Position) ([]chat.Position, error) {
	if err := s.begin(ctx); err != nil {
		return dst, err
	}
	defer s.leave()
	for _, user := range users {
		inbox, err := s.newestInbox(ctx, tableInbox, user)
		if err != nil {
			return dst, err
		}
		stretch, err := s.newestInbox(ctx, tableStretch, user)
		if err != nil {
			return dst, err
		}
		receipt, err := s.newestReceipt(ctx, user)
		if err != nil {
			return dst, err
		}
		dst = append(dst, max(inbox, stretch, receipt))
	}
	return dst, nil
}

func (s *Store) newestInbox(ctx context.Context, table byte, user chat.User) (pos chat.Position, err error) {
	prefix := appendUserKey(nil, table, user)
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: prefix, UpperBound: after(nil, prefix)})
	if err != nil {
		return 0, err
	}
	if it.Last() {
		pos = positionOf(it.Key())
	}
	return pos, errors.Join(it.Error(), it.Close())
}

func (s *Store) newestReceipt(ctx context.Context, user chat.User) (newest chat.Position, err error) {
	err = s.scanUser(ctx, tableReceipt, user, func(_, row []byte) error {
		var delivered, read, pos uint64
		err := readUint64s(row, &delivered, &read, &pos)
		newest = max(newest, chat.Position(pos))
		return err
	})
	return newest, err
}
