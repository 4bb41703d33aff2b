package cql

import (
	"context"

	"github.com/gocql/gocql"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// inboxChunk is how many inbox rows are read before their messages are.
const inboxChunk = 128

// What one call of Inbox does at most, beside its limit; the chunk that crosses
// one of these is the last.
const (
	maxInboxSkips = 4096    // rows looked at and left out
	maxInboxBytes = 4 << 20 // of content
)

// inboxRow is a row, and then its message.
type inboxRow struct {
	pos     chat.Position
	kind    chat.EntryKind
	peer    chat.User
	id      chat.ID
	at      int64
	found   bool
	message chat.Message
}

// inboxRows reads up to n entries with after < pos <= upTo. done is that there
// are no more. It asks for a row beyond upTo, as that may be a run which begins
// below.
func (s *Store) inboxRows(ctx context.Context, user chat.User, after, upTo chat.Position, n int, rows []inboxRow) (read []inboxRow, done bool, err error) {
	if after >= upTo {
		return rows, true, nil
	}
	ask, kept, got := n+1, len(rows), 0
	if s.opt.InboxRuns {
		ask = min(ask, runsOnce)
	}
	last := after
	err = s.query(ctx, getEntries, func(row scanner) error {
		var r inboxRow
		var pos int64
		var kind int8
		var id gocql.UUID
		var peer string
		var entries []byte
		got++
		if err := row(&pos, &kind, &peer, &id, &r.at, &entries); err != nil || done {
			return err
		}
		r.pos, r.kind, r.peer, r.id = chat.Position(pos), chat.EntryKind(kind), chat.User(peer), chat.ID(id)
		return eachEntry(r, 0, entries, func(e inboxRow, _ chat.Position) bool {
			if done = e.pos > upTo; !done && e.pos > last {
				rows, last = append(rows, e), e.pos
			}
			done = done || e.pos == upTo
			return !done
		})
	}, string(user), clamp(after), ask)
	if done = done || got < ask; len(rows) > kept+n {
		rows, done = rows[:kept+n], false
	}
	return rows, done, err
}

// Inbox implements storage.Store. A call is also ended by maxInboxSkips and
// maxInboxBytes.
func (s *Store) Inbox(ctx context.Context, user chat.User, after, upTo chat.Position, limit int, now int64, dst []chat.Entry) (entries []chat.Entry, last chat.Position, err error) {
	if err := s.begin(ctx); err != nil {
		return dst, after, err
	}
	defer s.leave()
	if after >= upTo || limit <= 0 {
		return dst, after, nil
	}
	r := inboxReader{s: s, user: user, now: now, entries: dst, prev: after, last: after}
	for done := false; !done && limit > 0 && r.skips < maxInboxSkips && r.bytes < maxInboxBytes; {
		n := min(limit, inboxChunk)
		if r.rows, done, err = s.inboxRows(ctx, user, r.last, upTo, n, r.rows[:0]); err == nil {
			err = r.fetch(ctx)
		}
		if err != nil {
			return dst, after, failed("inbox", err)
		}
		limit -= r.take()
		if done {
			return r.entries, upTo, nil
		}
	}
	if len(r.entries) > len(dst) {
		r.last = r.prev
	}
	return r.entries, r.last, nil
}

// inboxReader is one call of Inbox.
type inboxReader struct {
	s       *Store
	user    chat.User
	now     int64
	rows    []inboxRow
	entries []chat.Entry
	prev    chat.Position // of the last entry
	last    chat.Position // of the last row
	skips   int           // rows left out
	bytes   int           // of content
}

// fetch reads the messages of the rows, those of a chat together.
func (r *inboxReader) fetch(ctx context.Context) error {
	chats := map[chat.User]chat.ChatID{}
	wanted := map[chatBucket][]int{}
	var order []chatBucket
	from := r.s.swept.inbox.Load()
	for i := range r.rows {
		row := &r.rows[i]
		if row.at < from {
			continue
		}
		c, ok := chats[row.peer]
		if !ok {
			c = chat.ChatOf(r.user, row.peer)
			chats[row.peer] = c
		}
		at := chatBucket{c, bucketOf(row.id.UnixMilli())}
		if wanted[at] == nil {
			order = append(order, at)
		}
		wanted[at] = append(wanted[at], i)
	}
	return each(ctx, len(order), func(ctx context.Context, i int) error {
		return r.fetchOf(ctx, order[i], wanted[order[i]])
	})
}

// fetchOf reads the messages of some rows, which are of one bucket.
func (r *inboxReader) fetchOf(ctx context.Context, at chatBucket, rows []int) error {
	ids := make([]gocql.UUID, 0, len(rows))
	for _, i := range rows {
		row := &r.rows[i]
		m, ok := chat.Message{}, false
		if row.peer.IsGroup() {
			m, ok = r.s.recent.get(at.chat, row.id)
		}
		if !ok {
			ids = append(ids, gocql.UUID(row.id))
		} else if !r.s.hidden(&m, r.now) {
			row.found, row.message = true, m
		}
	}
	return r.s.byID(ctx, at, ids, func(m chat.Message, bare bool) {
		if bare {
			return
		}
		r.s.recent.put(at.chat, &m)
		if r.s.hidden(&m, r.now) {
			return
		}
		for _, i := range rows { // a message to oneself may have two
			if r.rows[i].id == m.ID {
				r.rows[i].found, r.rows[i].message = true, m
			}
		}
	})
}

// take makes entries of those rows that have their messages.
func (r *inboxReader) take() (taken int) {
	for i := range r.rows {
		row := &r.rows[i]
		r.last = row.pos
		if !row.found {
			r.skips++
			continue
		}
		taken++
		r.entries = append(r.entries, chat.Entry{Kind: row.kind, User: r.user, Pos: row.pos, Prev: r.prev, Message: row.message})
		r.prev = row.pos
		r.bytes += len(row.message.Content)
	}
	return taken
}

// Senders implements storage.Store.
func (s *Store) Senders(ctx context.Context, user chat.User, after, upTo chat.Position, limit int, dst []storage.Sender) (senders []storage.Sender, last chat.Position, err error) {
	if err := s.begin(ctx); err != nil {
		return dst, after, err
	}
	defer s.leave()
	if limit <= 0 {
		return dst, after, nil
	}
	rows, done, err := s.inboxRows(ctx, user, after, upTo, limit, nil)
	if err != nil {
		return dst, after, failed("senders", err)
	}
	if last = max(after, upTo); !done {
		last = rows[len(rows)-1].pos
	}
	kept := len(dst)
	places, err := s.placesOf(ctx, user, rows)
	if err != nil {
		return dst[:kept], after, failed("senders", err)
	}
	for i := range rows {
		place, ok := places[rows[i].pos]
		if rows[i].kind == chat.EntryMessage && (ok || !rows[i].peer.IsGroup()) {
			dst = append(dst, storage.Sender{From: rows[i].peer, Pos: rows[i].pos, Place: place})
		}
	}
	return dst, last, nil
}

// placesOf looks up the places of messages to groups, by the positions of their
// rows.
func (s *Store) placesOf(ctx context.Context, user chat.User, rows []inboxRow) (map[chat.Position]chat.Position, error) {
	r := inboxReader{s: s, user: user}
	for _, row := range rows {
		if row.kind == chat.EntryMessage && row.peer.IsGroup() {
			r.rows = append(r.rows, row)
		}
	}
	if len(r.rows) == 0 {
		return nil, nil
	}
	if err := r.fetch(ctx); err != nil {
		return nil, err
	}
	places := map[chat.Position]chat.Position{}
	for _, row := range r.rows {
		if row.found {
			places[row.pos] = row.message.Place
		}
	}
	return places, nil
}

// waitingChunk is how many rows Waiting asks for at once.
const waitingChunk = 1000

// Waiting implements storage.Store. It counts rows: those of expired messages
// too.
func (s *Store) Waiting(ctx context.Context, user chat.User, after, upTo chat.Position, maximum int) (int, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	n, from := 0, s.swept.inbox.Load()
	var rows []inboxRow
	for done := false; !done && n < maximum; {
		var err error
		if rows, done, err = s.inboxRows(ctx, user, after, upTo, min(maximum-n, waitingChunk), rows[:0]); err != nil {
			return 0, failed("waiting", err)
		}
		for i := range rows {
			if rows[i].at >= from {
				n++
			}
			after = rows[i].pos
		}
	}
	return n, nil
}

// Truncated implements storage.Store. For who comes back one read will do: there
// is a row at their place or before it, so what was swept lies before that.
func (s *Store) Truncated(ctx context.Context, user chat.User, after chat.Position) (chat.Position, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	if after > 0 {
		_, kept, err := s.keptFrom(ctx, user)
		if err != nil {
			return 0, failed("truncated", err)
		}
		if 0 < kept.pos && kept.pos <= after {
			return 0, nil
		}
	}
	upTo, err := s.truncated(ctx, user, after)
	if err != nil || upTo <= after {
		return 0, err
	}
	return upTo, nil
}

// truncated is Truncated, or some position that is not above after. Rows that
// have gone are told from rows that never were by what the user's row says of the
// first and the last.
func (s *Store) truncated(ctx context.Context, user chat.User, after chat.Position) (chat.Position, error) {
	var last, first chat.Position
	err := s.query(ctx, getBounds, func(row scanner) error { return row(&last, &first) }, string(user))
	if err != nil {
		return 0, failed("truncated", err)
	}
	if last <= after {
		return 0, nil
	}
	gone, kept, err := s.keptFrom(ctx, user)
	switch {
	case err != nil:
		return 0, failed("truncated", err)
	case gone > 0: // hidden, and still there
		return gone, nil
	case kept.pos == 0: // the last has gone, if it was not written just now
		return last, nil
	case kept.pos <= first:
		return 0, nil
	}
	return min(max(kept.prev, first), kept.pos-1), nil
}

// keptRow is the first row of an inbox that is shown.
type keptRow struct{ pos, prev chat.Position }

// keptFrom finds where a user's inbox begins, and the last row before it that
// is hidden, if it is still there. Mostly the first row there is is shown.
func (s *Store) keptFrom(ctx context.Context, user chat.User) (gone chat.Position, kept keptRow, err error) {
	from := s.swept.inbox.Load()
	for n := 2; ; n = min(8*n, waitingChunk) {
		rows := 0
		err = s.query(ctx, getFrom, func(row scanner) error {
			var pos, prev, at int64
			var entries []byte
			rows++
			if err := row(&pos, &prev, &at, &entries); err != nil {
				return err
			}
			return eachEntry(inboxRow{pos: chat.Position(pos), at: at}, chat.Position(prev), entries, func(e inboxRow, prev chat.Position) bool {
				switch {
				case kept.pos > 0 || e.pos <= gone:
				case e.at >= from:
					kept = keptRow{e.pos, prev}
				default:
					gone = e.pos
				}
				return kept.pos == 0
			})
		}, string(user), clamp(gone), n)
		if err != nil || kept.pos > 0 || rows < n {
			return gone, kept, err
		}
	}
}
