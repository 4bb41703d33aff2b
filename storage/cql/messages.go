package cql

import (
	"context"
	"encoding/binary"
	"math"
	"slices"

	"github.com/gocql/gocql"

	"github.com/rookery-chat/rookery/chat"
)

// body is content as a row has it: null where its own time to live ended.
type body struct {
	bytes []byte
	gone  bool
}

// UnmarshalCQL copies what the driver lends.
func (b *body) UnmarshalCQL(_ gocql.TypeInfo, data []byte) error {
	b.bytes, b.gone = nil, data == nil
	if len(data) > 0 {
		b.bytes = append([]byte(nil), data...)
	}
	return nil
}

// scanMessage scans messageColumns. bare is true when the content has gone.
func scanMessage(row scanner) (m chat.Message, bare bool, err error) {
	var id gocql.UUID
	var from, to string
	var place int64
	var suite int8
	var content body
	err = row(&id, &from, &to, &content, &m.Media, &place, &m.At, &m.Expires, &suite)
	m.ID, m.From, m.To = chat.ID(id), chat.User(from), chat.User(to)
	m.Content, m.Place, m.Suite = content.bytes, chat.Position(place), uint8(suite)
	return m, content.gone, err
}

// Message implements storage.Store.
func (s *Store) Message(ctx context.Context, chatID chat.ChatID, id chat.ID, now int64) (m chat.Message, found bool, err error) {
	if err := s.begin(ctx); err != nil {
		return m, false, err
	}
	defer s.leave()
	var bare bool
	if m, found = s.recent.get(chatID, id); !found {
		err = s.query(ctx, getMessages, func(row scanner) (err error) {
			m, bare, err = scanMessage(row)
			found = true
			return err
		}, chatID[:], bucketOf(id.UnixMilli()), []gocql.UUID{gocql.UUID(id)})
		if err != nil {
			return chat.Message{}, false, failed("message", err)
		}
		if !found {
			return m, false, nil
		}
		if !bare {
			s.recent.put(chatID, &m)
		}
	}
	gone := bare || s.gone(&m)
	if expired(m.Expires, now) || gone && (now != 0 || stubUntil(id) <= s.swept.expired.Load()) {
		return chat.Message{}, false, nil
	}
	if gone {
		toStub(&m)
	}
	return m, true, nil
}

// toStub makes a message its own stub. The expiry tells that the content is
// gone, not that it never was.
func toStub(m *chat.Message) {
	m.Content, m.Media = nil, ""
	if m.Expires <= 0 {
		m.Expires = max(m.At, 1)
	}
}

// maxIDs is how many messages of a bucket one request asks for by id.
const maxIDs = 100

// byID calls f with each of the messages that are there, of one bucket.
func (s *Store) byID(ctx context.Context, at chatBucket, ids []gocql.UUID, f func(m chat.Message, bare bool)) error {
	for part := range slices.Chunk(ids, maxIDs) {
		err := s.query(ctx, getMessages, func(row scanner) error {
			m, bare, err := scanMessage(row)
			if err == nil {
				f(m, bare)
			}
			return err
		}, at.chat[:], at.bucket, part)
		if err != nil {
			return err
		}
	}
	return nil
}

// History implements storage.Store.
func (s *Store) History(ctx context.Context, chatID chat.ChatID, before chat.ID, limit int, now int64, dst []chat.Message) ([]chat.Message, error) {
	if err := s.begin(ctx); err != nil {
		return dst, err
	}
	defer s.leave()
	if limit <= 0 {
		return dst, nil
	}
	ms, err := s.history(ctx, chatID, before, math.MaxInt32, limit, now)
	if err != nil {
		return dst, failed("history", err)
	}
	return append(dst, ms...), nil
}

// Buckets are read one after the other, and two, four, eight at once where the
// ones before them had too little.
const maxBucketsAtOnce = 8

// history reads from a bucket downwards.
func (s *Store) history(ctx context.Context, c chat.ChatID, before chat.ID, from int32, limit int, now int64) ([]chat.Message, error) {
	buckets, err := s.buckets(ctx, c, before, from)
	if err != nil {
		return nil, err
	}
	var ms []chat.Message
	for at := 1; len(buckets) > 0 && len(ms) < limit; at = min(2*at, maxBucketsAtOnce) {
		n := min(at, len(buckets))
		pages := make([][]chat.Message, n)
		err := each(ctx, n, func(ctx context.Context, i int) (err error) {
			pages[i], err = s.historyIn(ctx, chatBucket{c, buckets[i]}, before, limit-len(ms), now)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, p := range pages {
			ms = append(ms, p[:min(len(p), limit-len(ms))]...)
		}
		buckets = buckets[n:]
	}
	return ms, nil
}

// buckets lists which of a chat's there are, the newest first.
func (s *Store) buckets(ctx context.Context, c chat.ChatID, before chat.ID, from int32) (buckets []int32, err error) {
	if !before.Zero() {
		from = min(from, bucketOf(before.UnixMilli()))
	}
	least := int32(math.MinInt32)
	if kept := s.swept.messages.Load(); kept > 0 {
		least = bucketOf(kept - stubMs) // nothing older was taken in since
	}
	err = s.query(ctx, getBuckets, func(row scanner) error {
		var b int32
		err := row(&b)
		buckets = append(buckets, b)
		return err
	}, c[:], from, least)
	return buckets, err
}

// maxHistoryRows is how many rows of a bucket one request asks for.
const maxHistoryRows = 500

// historyIn reads one bucket. Ids of one tick lie in the database in an order of
// its own, by signed bytes: they are put into ours, all of a tick together.
func (s *Store) historyIn(ctx context.Context, at chatBucket, before chat.ID, limit int, now int64) (ms []chat.Message, err error) {
	upTo := before
	n := min(limit+2, maxHistoryRows)
	for {
		rows, err := s.rowsBelow(ctx, at, upTo, n)
		if err != nil {
			return nil, err
		}
		more := len(rows) == n
		if more {
			last := rows[n-1].ID // others of its tick may follow
			cut := slices.IndexFunc(rows, func(m chat.Message) bool { return m.ID.Ticks() == last.Ticks() })
			rows, upTo = rows[:cut], last
			if cut == 0 {
				n *= 2
			}
		}
		slices.SortFunc(rows, func(a, b chat.Message) int { return b.ID.Compare(a.ID) })
		for i := range rows {
			if !before.Zero() && rows[i].ID.Compare(before) >= 0 || s.hidden(&rows[i], now) {
				continue
			}
			if ms = append(ms, rows[i]); len(ms) == limit {
				return ms, nil
			}
		}
		if !more {
			return ms, nil
		}
	}
}

// rowsBelow reads n rows from the tick of an id downwards, in the database's
// order, those without content left out. The zero id is no bound.
func (s *Store) rowsBelow(ctx context.Context, at chatBucket, upTo chat.ID, n int) (ms []chat.Message, err error) {
	statement, args := getNewest, []any{at.chat[:], at.bucket, n}
	if !upTo.Zero() {
		statement, args = getOlder, []any{at.chat[:], at.bucket, gocql.UUID(tickEnd(upTo)), n}
	}
	err = s.query(ctx, statement, func(row scanner) error {
		m, bare, err := scanMessage(row)
		if bare {
			m.Expires = 1 // hidden, but counted
		}
		ms = append(ms, m)
		return err
	}, args...)
	return ms, err
}

// tickEnd is the last id of a tick in the order of the database, to which each
// of the lower eight bytes is a signed number.
func tickEnd(id chat.ID) chat.ID {
	binary.BigEndian.PutUint64(id[8:], 0x7f7f7f7f7f7f7f7f)
	return id
}
