package cql

import (
	"cmp"
	"context"
	"slices"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// maxChats is how many of a user's chats Chats looks at, the first by the
// peer's name.
const maxChats = 10_000

// peerChat is a chat of a user: its newest message is of a day, or older where
// that one has gone.
type peerChat struct {
	peer chat.User
	day  int32
}

// Chats implements storage.Store. It looks at maxChats chats at most. It reads
// the newest messages of as many as it takes for the page to be sure.
func (s *Store) Chats(ctx context.Context, user chat.User, before chat.ID, limit int, now int64, dst []storage.ChatSummary) ([]storage.ChatSummary, error) {
	if err := s.begin(ctx); err != nil {
		return dst, err
	}
	defer s.leave()
	if limit <= 0 {
		return dst, nil
	}
	chats, err := s.chatsOf(ctx, user)
	if err != nil {
		return dst, failed("chats", err)
	}
	var found []storage.ChatSummary
	for len(chats) > 0 {
		n := min(len(chats), readers)
		page, err := s.newestOf(ctx, user, chats[:n], now)
		if err != nil {
			return dst, failed("chats", err)
		}
		for _, c := range page {
			if before.Zero() || c.Last.ID.Compare(before) < 0 {
				found = append(found, c)
			}
		}
		slices.SortFunc(found, func(a, b storage.ChatSummary) int {
			return cmp.Or(b.Last.ID.Compare(a.Last.ID), cmp.Compare(a.Peer, b.Peer))
		})
		chats = chats[n:]
		if len(found) >= limit && len(chats) > 0 && dayOf(found[limit-1].Last.ID.UnixMilli()) > chats[0].day {
			break // no other can be newer
		}
	}
	return append(dst, found[:min(limit, len(found))]...), nil
}

// chatsOf lists a user's chats, by the day of the newest message.
func (s *Store) chatsOf(ctx context.Context, user chat.User) (chats []peerChat, err error) {
	err = s.query(ctx, getDays, func(row scanner) error {
		var peer string
		var day *int32
		err := row(&peer, &day)
		if day != nil && len(chats) < maxChats {
			chats = append(chats, peerChat{chat.User(peer), *day})
		}
		return err
	}, string(user))
	slices.SortStableFunc(chats, func(a, b peerChat) int { return cmp.Compare(b.day, a.day) })
	return chats, err
}

// newestOf reads the newest message of each chat that has one at now.
func (s *Store) newestOf(ctx context.Context, user chat.User, chats []peerChat, now int64) ([]storage.ChatSummary, error) {
	newest := make([]storage.ChatSummary, len(chats))
	err := each(ctx, len(chats), func(ctx context.Context, i int) error {
		c := chat.ChatOf(user, chats[i].peer)
		bucket := bucketOf(int64(chats[i].day) * dayMs)
		ms, err := s.historyIn(ctx, chatBucket{c, bucket}, chat.ID{}, 1, now)
		if err == nil && len(ms) == 0 {
			ms, err = s.history(ctx, c, chat.ID{}, bucket-1, 1, now)
		}
		if len(ms) > 0 {
			newest[i] = storage.ChatSummary{Peer: chats[i].peer, Last: ms[0]}
		}
		return err
	})
	return slices.DeleteFunc(newest, func(c storage.ChatSummary) bool { return c.Last.ID.Zero() }), err
}

// peer is what is stored of two users.
type peer struct {
	day                              *int32
	delivered, read, readTo, changed chat.Position
}

func (s *Store) peer(ctx context.Context, user, other chat.User) (p peer, err error) {
	if err := s.begin(ctx); err != nil {
		return p, err
	}
	defer s.leave()
	err = s.query(ctx, getPeer, func(row scanner) error {
		return row(&p.day, &p.delivered, &p.read, &p.readTo, &p.changed)
	}, string(user), string(other))
	if err != nil {
		return p, failed("peer", err)
	}
	return p, nil
}

// HasChat implements storage.Store.
func (s *Store) HasChat(ctx context.Context, user, other chat.User) (bool, error) {
	p, err := s.peer(ctx, user, other)
	return p.day != nil, err
}

// ReadReceipts implements storage.Store, one after the other: each is in its
// user's partition.
func (s *Store) ReadReceipts(ctx context.Context, receipts []storage.ReceiptAt) error {
	for i := range receipts {
		r := &receipts[i]
		p, err := s.peer(ctx, r.User, r.Peer)
		if err != nil {
			return err
		}
		r.Delivered, r.Read, r.Pos = p.delivered, p.read, p.changed
	}
	return nil
}

// ReadTo implements storage.Store.
func (s *Store) ReadTo(ctx context.Context, user, other chat.User) (chat.Position, error) {
	p, err := s.peer(ctx, user, other)
	return p.readTo, err
}

// Receipts implements storage.Store. The database steps over receipts that have
// not changed, in the user's partition.
func (s *Store) Receipts(ctx context.Context, user chat.User, after, upTo chat.Position, beyond chat.User, limit int, dst []chat.Receipt) ([]chat.Receipt, error) {
	if err := s.begin(ctx); err != nil {
		return dst, err
	}
	defer s.leave()
	if limit <= 0 || after >= upTo {
		return dst, nil
	}
	kept := len(dst)
	err := s.query(ctx, getReceipts, func(row scanner) error {
		r := chat.Receipt{User: user}
		var peer string
		err := row(&peer, &r.Delivered, &r.Read)
		r.Peer = chat.User(peer)
		dst = append(dst, r)
		return err
	}, string(user), string(beyond), clamp(after), clamp(upTo), limit)
	if err != nil {
		return dst[:kept], failed("receipts", err)
	}
	return dst, nil
}
