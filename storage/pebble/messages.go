package pebble

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// Message implements storage.Store.
func (s *Store) Message(ctx context.Context, chatID chat.ChatID, id chat.ID, now int64) (m chat.Message, found bool, err error) {
	if err := s.begin(ctx); err != nil {
		return m, false, err
	}
	defer s.leave()
	found, err = s.message(tableMessage, chatID, id, now, &m)
	if !found && err == nil && now == 0 {
		found, err = s.message(tableStub, chatID, id, now, &m)
	}
	if found && older(id, m.At, s.keptFrom.Load()) {
		if now != 0 {
			return chat.Message{}, false, nil
		}
		toStub(&m) // which it is, or is about to be
	}
	return m, found, err
}

// message reads a message's row or stub. m is as it was where there is none,
// or one that has expired.
func (s *Store) message(table byte, c chat.ChatID, id chat.ID, now int64, m *chat.Message) (found bool, err error) {
	live := false
	_, err = s.get(appendMessageKey(make([]byte, 0, messageKeyBytes), table, c, id), func(row []byte) error {
		_, expires, err := timesOf(row)
		if err != nil || expired(expires, now) {
			return err
		}
		live, m.ID = true, id
		return decodeMessage(row, m)
	})
	return live && err == nil, err
}

// hidden reports whether reads at now leave out a message by its row: it has
// expired, or is older than messages are kept. A row that was read in an
// iterator has to be judged after that was made, or a page could have a gap
// that Sweep made meanwhile.
func (s *Store) hidden(id chat.ID, row []byte, now int64) (bool, error) {
	at, expires, err := timesOf(row)
	return expired(expires, now) || older(id, at, s.keptFrom.Load()), err
}

// History implements storage.Store. It steps over expired messages that are not
// swept yet, however many they are.
func (s *Store) History(ctx context.Context, chatID chat.ChatID, before chat.ID, limit int, now int64, dst []chat.Message) ([]chat.Message, error) {
	if err := s.begin(ctx); err != nil {
		return dst, err
	}
	defer s.leave()
	if limit <= 0 {
		return dst, nil
	}
	prefix := append([]byte{tableMessage}, chatID[:]...)
	lower, upper := prefix, s.endOf(chatID)
	if !before.Zero() {
		lower = append(appendMessageKey(nil, tableMessage, chatID, before), 0)
	}
	var m chat.Message
	err := s.scan(ctx, lower, upper, func(key, row []byte) (bool, error) {
		m.ID = idOfSortID(key)
		hidden, err := s.hidden(m.ID, row, now)
		if err != nil || hidden {
			return err == nil, err
		}
		if err := decodeMessage(row, &m); err != nil {
			return false, err
		}
		dst = append(dst, m)
		limit--
		return limit > 0, nil
	})
	return dst, err
}

// maxChats is how many of a user's chats Chats looks at, the first by the
// peer's name. Each costs a seek: some milliseconds for a thousand.
const maxChats = 10_000

// newest is the newest message of one of a user's chats.
type newest struct {
	peer chat.User
	chat chat.ChatID
	id   chat.ID
}

// Chats implements storage.Store. It looks at maxChats chats at most.
func (s *Store) Chats(ctx context.Context, user chat.User, before chat.ID, limit int, now int64, dst []storage.ChatSummary) ([]storage.ChatSummary, error) {
	if err := s.begin(ctx); err != nil {
		return dst, err
	}
	defer s.leave()
	if limit <= 0 {
		return dst, nil
	}
	all, err := s.newestOfChats(ctx, user, now)
	if err != nil {
		return dst, err
	}
	slices.SortFunc(all, func(a, b newest) int {
		return cmp.Or(b.id.Compare(a.id), cmp.Compare(a.peer, b.peer))
	})
	for _, n := range all {
		if limit == 0 {
			break
		}
		if !before.Zero() && n.id.Compare(before) >= 0 {
			continue
		}
		var m chat.Message
		found, err := s.message(tableMessage, n.chat, n.id, now, &m)
		if err != nil {
			return dst, err
		}
		if found { // else swept meanwhile
			dst = append(dst, storage.ChatSummary{Peer: n.peer, Last: m})
			limit--
		}
	}
	return dst, nil
}

// newestOfChats finds the newest unexpired message of each of a user's chats,
// in order of the peers' names; chats without one are left out.
func (s *Store) newestOfChats(ctx context.Context, user chat.User, now int64) ([]newest, error) {
	it, err := s.db.NewIterWithContext(ctx, &messageRange)
	if err != nil {
		return nil, err
	}
	var all []newest
	rows := 0
	prefix := appendUserKey(nil, tableChat, user)
	err = s.scan(ctx, prefix, after(nil, prefix), func(key, _ []byte) (bool, error) {
		n := newest{peer: chat.User(key[len(prefix):])}
		n.chat = chat.DirectChat(user, n.peer)
		found, err := n.seek(ctx, s, it, now)
		if found {
			all = append(all, n)
		}
		rows++
		return rows < maxChats, err
	})
	return all, errors.Join(err, it.Close())
}

// seek sets n.id to the newest unexpired message of n.chat.
func (n *newest) seek(ctx context.Context, s *Store, it *pebble.Iterator, now int64) (found bool, err error) {
	end := s.endOf(n.chat)
	rows := 0
	for ok := it.SeekGE(append([]byte{tableMessage}, n.chat[:]...)); ok && bytes.Compare(it.Key(), end) < 0; ok = it.Next() {
		if rows++; rows%ctxEvery == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		row, err := it.ValueAndErr()
		if err != nil {
			return false, err
		}
		n.id = idOfSortID(it.Key())
		hidden, err := s.hidden(n.id, row, now)
		if err != nil || !hidden {
			return err == nil, err
		}
	}
	return false, it.Error()
}

// HasChat implements storage.Store.
func (s *Store) HasChat(ctx context.Context, user, peer chat.User) (bool, error) {
	if err := s.begin(ctx); err != nil {
		return false, err
	}
	defer s.leave()
	return s.getUint64s(appendPairKey(nil, tableChat, user, peer))
}
