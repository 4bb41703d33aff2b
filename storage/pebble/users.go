package pebble

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// Receipts implements storage.Store. It steps over receipts that have not
// changed, however many they are.
func (s *Store) Receipts(ctx context.Context, user chat.User, from, upTo chat.Position, beyond chat.User, limit int, dst []chat.Receipt) ([]chat.Receipt, error) {
	if err := s.begin(ctx); err != nil {
		return dst, err
	}
	defer s.leave()
	if limit <= 0 {
		return dst, nil
	}
	prefix := appendUserKey(nil, tableReceipt, user)
	lower := append(appendPairKey(nil, tableReceipt, user, beyond), 0)
	if beyond == "" {
		lower = prefix
	}
	err := s.scan(ctx, lower, after(nil, prefix), func(key, row []byte) (bool, error) {
		var delivered, read, pos uint64
		err := readUint64s(row, &delivered, &read, &pos)
		if err == nil && from < chat.Position(pos) && chat.Position(pos) <= upTo {
			dst = append(dst, chat.Receipt{
				User: user, Peer: chat.User(key[len(prefix):]),
				Delivered: chat.Position(delivered), Read: chat.Position(read),
			})
			limit--
		}
		return err == nil && limit > 0, err
	})
	return dst, err
}

// ReadReceipts implements storage.Store. In one go a read costs less, and a filter
// says of nearly all that are not stored that they are not, for which a read of
// one alone has to look into the largest tables.
func (s *Store) ReadReceipts(ctx context.Context, receipts []storage.ReceiptAt) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.leave()
	it, err := s.filtered(ctx, tableReceipt, tableReceipt)
	if err != nil {
		return err
	}
	var key []byte
	for i := range receipts {
		r := &receipts[i]
		key = appendPairKey(key[:0], tableReceipt, r.User, r.Peer)
		if !it.SeekPrefixGE(key) {
			if err = it.Error(); err != nil {
				break
			}
			continue
		}
		var row []byte
		var delivered, read, pos uint64
		if row, err = it.ValueAndErr(); err != nil {
			break
		}
		if err = readUint64s(row, &delivered, &read, &pos); err != nil {
			break
		}
		r.Delivered, r.Read, r.Pos = chat.Position(delivered), chat.Position(read), chat.Position(pos)
	}
	return errors.Join(err, it.Close())
}

// filtered returns an iterator over some tables, for rows of which nearly all are
// not stored.
func (s *Store) filtered(ctx context.Context, first, last byte) (*pebble.Iterator, error) {
	return s.db.NewIterWithContext(ctx, &pebble.IterOptions{
		LowerBound: []byte{first}, UpperBound: []byte{last + 1}, UseL6Filters: true,
	})
}

// ReadTo implements storage.Store.
func (s *Store) ReadTo(ctx context.Context, user, peer chat.User) (chat.Position, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	var readTo, pos uint64
	_, err := s.getUint64s(appendPairKey(nil, tableRead, user, peer), &readTo, &pos)
	return chat.Position(readTo), err
}

// Cursors implements storage.Store, in order of the devices' names.
func (s *Store) Cursors(ctx context.Context, user chat.User) ([]storage.Cursor, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	gone, err := s.revoked(ctx, user)
	if err != nil {
		return nil, err
	}
	var cursors []storage.Cursor
	err = s.scanUser(ctx, tableCursor, user, func(device, row []byte) error {
		var pos uint64
		err := readUint64s(row, &pos)
		if _, ok := gone[chat.Device(device)]; !ok { // a mark may have been on its way when its device was revoked
			cursors = append(cursors, storage.Cursor{Device: chat.Device(device), Position: chat.Position(pos)})
		}
		return err
	})
	return cursors, err
}

// ReadCursors implements storage.Store, as ReadReceipts does: most devices that are
// asked for have no cursor yet.
func (s *Store) ReadCursors(ctx context.Context, cursors []storage.UserCursor) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.leave()
	it, err := s.filtered(ctx, tableDevice, tableCursor)
	if err != nil {
		return err
	}
	var key []byte
	seek := func(table byte, c *storage.UserCursor) bool {
		key = appendPairKey(key[:0], table, c.User, c.Device)
		return it.SeekPrefixGE(key)
	}
	var begun []int // those without a cursor: all of a table go one after the other
	for i := range cursors {
		if c := &cursors[i]; err == nil && !seek(tableCursor, c) {
			begun = append(begun, i)
			err = it.Error()
		} else if err == nil {
			err = cursorOf(it, c)
		}
	}
	for _, i := range begun {
		if c := &cursors[i]; err == nil && seek(tableDevice, c) {
			err = startOf(it, c)
		} else if err == nil {
			*c, err = storage.UserCursor{}, it.Error()
		}
	}
	for i := range cursors {
		if c := &cursors[i]; err == nil && c.User != "" && s.revocations.Load() && seek(tableRevoked, c) {
			*c = storage.UserCursor{}
		} else if err == nil {
			err = it.Error()
		}
	}
	return errors.Join(err, it.Close())
}

// cursorOf reads the row of a cursor, which an iterator is at.
func cursorOf(it *pebble.Iterator, c *storage.UserCursor) error {
	row, err := it.ValueAndErr()
	if err != nil {
		return err
	}
	var pos uint64
	err = readUint64s(row, &pos)
	c.Position = chat.Position(pos)
	return err
}

// startOf reads of the row of a device, which an iterator is at, where it began.
func startOf(it *pebble.Iterator, c *storage.UserCursor) error {
	row, err := it.ValueAndErr()
	if err != nil {
		return err
	}
	var d storage.Device
	err = decodeDevice(row, &d)
	c.Position = d.Start
	return err
}

// Delivered implements storage.Store.
func (s *Store) Delivered(ctx context.Context, user chat.User) (chat.Position, error) {
	cursors, err := s.Cursors(ctx, user)
	var furthest chat.Position
	for _, c := range cursors {
		furthest = max(furthest, c.Position)
	}
	return furthest, err
}

// LastSeen implements storage.Store.
func (s *Store) LastSeen(ctx context.Context, user chat.User) (int64, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	var at uint64
	_, err := s.getUint64s(appendUserKey(nil, tableLastSeen, user), &at)
	return int64(at), err
}

// PutLastSeen implements storage.Store.
func (s *Store) PutLastSeen(ctx context.Context, user chat.User, at int64) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.leave()
	return s.db.Set(appendUserKey(nil, tableLastSeen, user), appendUint64s(nil, uint64(at)), pebble.NoSync)
}
