package pebble

import (
	"cmp"
	"context"
	"errors"
	"slices"

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

// message reads a message's row, also in a run, or stub. m is as it was where there is none,
// or one that has expired.
func (s *Store) message(table byte, c chat.ChatID, id chat.ID, now int64, m *chat.Message) (found bool, err error) {
	live := false
	key := appendMessageKey(make([]byte, 0, messageKeyBytes), table, c, id)
	take := func(row []byte) error {
		_, expires, err := timesOf(row)
		if err != nil || expired(expires, now) {
			return err
		}
		live, m.ID = true, id
		return decodeMessage(row, m)
	}
	alone, err := s.get(key, take)
	if !alone && err == nil && table == tableMessage {
		err = s.inRuns(key, take)
	}
	return live && err == nil, err
}

// inRuns calls take with a message's row if a run has it.
func (s *Store) inRuns(key []byte, take func(row []byte) error) error {
	it, err := s.db.NewIter(&runRange)
	if err != nil {
		return err
	}
	_, err = (&runFinder{it}).find(key, take)
	return errors.Join(err, it.Close())
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
	c, err := s.messagesOf(ctx)
	if err != nil {
		return dst, err
	}
	c.seek(s, chatID, before)
	var m chat.Message
	for limit > 0 && err == nil && c.shown(ctx, s, now) {
		m.ID = c.id
		if err = decodeMessage(c.row, &m); err == nil {
			dst = append(dst, m)
			limit--
		}
	}
	return dst, errors.Join(err, c.close())
}

// shown goes to the next message that reads at now do not leave out, and
// reports whether there is one.
func (c *messageCursor) shown(ctx context.Context, s *Store, now int64) bool {
	for rows := 1; c.next(); rows++ {
		hidden, err := s.hidden(c.id, c.row, now)
		if rows%ctxEvery == 0 {
			err = errors.Join(err, ctx.Err())
		}
		if c.err = err; err != nil || !hidden {
			return err == nil
		}
	}
	return false
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
	messages, err := s.messagesOf(ctx)
	if err != nil {
		return nil, err
	}
	var all []newest
	rows := 0
	prefix := appendUserKey(nil, tableChat, user)
	err = s.scan(ctx, prefix, after(nil, prefix), func(key, _ []byte) (bool, error) {
		n := newest{peer: chat.User(key[len(prefix):])}
		n.chat = chat.ChatOf(user, n.peer)
		messages.seek(s, n.chat, chat.ID{})
		if messages.shown(ctx, s, now) {
			n.id = messages.id
			all = append(all, n)
		}
		rows++
		return rows < maxChats && messages.err == nil, nil
	})
	return all, errors.Join(err, messages.close())
}

// HasChat implements storage.Store.
func (s *Store) HasChat(ctx context.Context, user, peer chat.User) (bool, error) {
	if err := s.begin(ctx); err != nil {
		return false, err
	}
	defer s.leave()
	return s.getUint64s(appendPairKey(nil, tableChat, user, peer))
}
