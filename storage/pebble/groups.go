package pebble

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// groups writes the rows of groups. A member finds the group by the row of the
// chat, which is written with theirs.
func (w *writer) groups(b *storage.Batch) error {
	for i := range b.Groups {
		g := &b.Groups[i]
		w.key = appendUserKey(w.key[:0], tableGroup, g.Group)
		w.row = append(appendUint64s(w.row[:0], uint64(g.Pos)), g.Info...)
		if err := w.set(); err != nil {
			return err
		}
	}
	for i := range b.Members {
		m := &b.Members[i]
		w.key = appendPairKey(w.key[:0], tableMember, m.Group, m.User)
		w.row = storage.AppendSpans(appendUint64s(w.row[:0], uint64(m.Pos)), m.Spans)
		if err := w.set(); err != nil {
			return err
		}
		if !m.Group.IsGroup() { // whom a user has blocked has no chat by that
			continue
		}
		w.key, w.row = appendPairKey(w.key[:0], tableChat, m.User, m.Group), w.row[:0]
		if err := w.set(); err != nil {
			return err
		}
	}
	for i := range b.GroupMarks {
		m := &b.GroupMarks[i]
		w.key = appendPairKey(w.key[:0], tableGroupMark, m.Group, m.User)
		w.row = appendUint64s(w.row[:0], uint64(m.Delivered), uint64(m.Read), uint64(m.Sent), uint64(m.Pos))
		if err := w.set(); err != nil {
			return err
		}
	}
	return nil
}

// GroupInfo implements storage.Store.
func (s *Store) GroupInfo(ctx context.Context, group chat.User) (info []byte, at chat.Position, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, 0, err
	}
	defer s.leave()
	_, err = s.get(appendUserKey(nil, tableGroup, group), func(row []byte) error {
		if len(row) < 8 {
			return fmt.Errorf("%w: a group of %d bytes", errCorrupt, len(row))
		}
		at = chat.Position(binary.BigEndian.Uint64(row))
		if len(row) > 8 {
			info = append(info, row[8:]...)
		}
		return nil
	})
	return info, at, err
}

// Members implements storage.Store.
func (s *Store) Members(ctx context.Context, group, beyond chat.User, limit int, dst []storage.Member) ([]storage.Member, error) {
	if err := s.begin(ctx); err != nil {
		return dst, err
	}
	defer s.leave()
	if limit <= 0 {
		return dst, nil
	}
	prefix := appendUserKey(nil, tableMember, group)
	lower := append(appendPairKey(nil, tableMember, group, beyond), 0)
	if beyond == "" {
		lower = prefix
	}
	kept := len(dst)
	err := s.scan(ctx, lower, after(nil, prefix), func(key, row []byte) (bool, error) {
		m := storage.Member{User: chat.User(key[len(prefix):])}
		if err := decodeMember(row, &m); err != nil {
			return false, err
		}
		dst = append(dst, m)
		return len(dst)-kept < limit, nil
	})
	for i := range dst[kept:] {
		if err == nil {
			err = s.groupMark(group, &dst[kept+i])
		}
	}
	return dst, err
}

// Member implements storage.Store.
func (s *Store) Member(ctx context.Context, group, user chat.User) (storage.Member, error) {
	m := storage.Member{User: user}
	if err := s.begin(ctx); err != nil {
		return m, err
	}
	defer s.leave()
	found, err := s.get(appendPairKey(nil, tableMember, group, user), func(row []byte) error { return decodeMember(row, &m) })
	if found && err == nil {
		err = s.groupMark(group, &m)
	}
	return m, err
}

func decodeMember(row []byte, m *storage.Member) (err error) {
	if len(row) < 8 {
		return fmt.Errorf("%w: a member of %d bytes", errCorrupt, len(row))
	}
	m.Changed = chat.Position(binary.BigEndian.Uint64(row))
	m.Spans, err = storage.ParseSpans(row[8:])
	return err
}

// groupMark reads how far a member has come.
func (s *Store) groupMark(group chat.User, m *storage.Member) error {
	var delivered, read, sent, pos uint64
	_, err := s.getUint64s(appendPairKey(nil, tableGroupMark, group, m.User), &delivered, &read, &sent, &pos)
	m.Delivered, m.Read, m.Sent = chat.Position(delivered), chat.Position(read), chat.Position(sent)
	return err
}
