package pebble

import (
	"context"
	"encoding/binary"

	"github.com/rookery-chat/rookery/chat"
)

// What one call of Inbox does at most, beside its limit. Where it stops for one
// of these, last tells the caller to go on.
const (
	maxInboxSkips = 4096    // rows looked at and left out
	maxInboxBytes = 4 << 20 // of content; the entry that crosses it is the last
)

// Inbox implements storage.Store.
func (s *Store) Inbox(ctx context.Context, user chat.User, after, upTo chat.Position, limit int, now int64, dst []chat.Entry) (entries []chat.Entry, last chat.Position, err error) {
	if err := s.begin(ctx); err != nil {
		return dst, after, err
	}
	defer s.leave()
	if limit <= 0 && after < upTo {
		return dst, after, nil
	}
	r := inboxReader{s: s, user: user, limit: limit, now: now, entries: dst, prev: after}
	stopped := false
	err = s.scanInbox(ctx, user, after, upTo, func(pos chat.Position, row []byte) (bool, error) {
		last = pos
		more, err := r.row(pos, row)
		stopped = !more
		return more, err
	})
	if err != nil {
		return dst, after, err
	}
	if !stopped {
		last = upTo
	}
	return r.entries, last, nil
}

// inboxReader gathers the entries of one call of Inbox.
type inboxReader struct {
	s       *Store
	user    chat.User
	limit   int
	now     int64
	entries []chat.Entry
	prev    chat.Position
	skips   int
	bytes   int
	m       chat.Message // the last read: its users' names are used again
	peer    chat.User    // of the last row
	chat    chat.ChatID  // with peer
}

// row takes one row, and returns false when the call is to end with it.
func (r *inboxReader) row(pos chat.Position, row []byte) (more bool, err error) {
	in, err := decodeInbox(row)
	if err != nil {
		return false, err
	}
	if string(in.peer) != string(r.peer) || r.chat == (chat.ChatID{}) {
		r.peer = chat.User(in.peer)
		r.chat = chat.DirectChat(r.user, r.peer)
	}
	found, err := r.s.message(tableMessage, r.chat, in.id, r.now, &r.m)
	if err != nil {
		return false, err
	}
	if !found {
		r.skips++
		return r.skips < maxInboxSkips, nil
	}
	r.entries = append(r.entries, chat.Entry{Kind: in.kind, User: r.user, Pos: pos, Prev: r.prev, Message: r.m})
	r.prev = pos
	r.limit--
	r.bytes += len(r.m.Content)
	return r.limit > 0 && r.bytes < maxInboxBytes, nil
}

// Waiting implements storage.Store. It counts rows: those of expired messages
// too, until they are swept.
func (s *Store) Waiting(ctx context.Context, user chat.User, after, upTo chat.Position, maximum int) (int, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	n := 0
	if maximum <= 0 {
		return 0, nil
	}
	err := s.scanInbox(ctx, user, after, upTo, func(chat.Position, []byte) (bool, error) {
		n++
		return n < maximum, nil
	})
	return n, err
}

// scanInbox is scan over a user's inbox rows with from < position <= upTo.
func (s *Store) scanInbox(ctx context.Context, user chat.User, from, upTo chat.Position, f func(pos chat.Position, row []byte) (bool, error)) error {
	if from >= upTo {
		return nil
	}
	lower := appendInboxKey(nil, user, from+1)
	upper := append(appendInboxKey(nil, user, upTo), 0)
	return s.scan(ctx, lower, upper, func(key, row []byte) (bool, error) {
		return f(chat.Position(binary.BigEndian.Uint64(key[len(key)-8:])), row)
	})
}

// Truncated implements storage.Store.
func (s *Store) Truncated(ctx context.Context, user chat.User) (chat.Position, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	return s.truncated(user)
}

func (s *Store) truncated(user chat.User) (chat.Position, error) {
	var pos uint64
	_, err := s.getUint64s(appendUserKey(nil, tableTruncated, user), &pos)
	return chat.Position(pos), err
}
