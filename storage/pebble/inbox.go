package pebble

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// inboxChunk is how many inbox rows are read before their messages are, in the
// order of the messages' keys: neighbours in a chat are neighbours on disk.
const inboxChunk = 64

// What one call of Inbox does at most, beside its limit; the chunk that crosses
// one of these is the last.
const (
	maxInboxSkips = 4096    // rows looked at and left out
	maxInboxBytes = 4 << 20 // of content
)

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
	r := inboxReader{s: s, user: user, now: now, upTo: upTo, prev: after, entries: dst, kept: len(dst)}
	if err := r.read(ctx, after, limit); err != nil {
		return dst, after, err
	}
	return r.entries, r.last, nil
}

// inboxReader is one call of Inbox.
type inboxReader struct {
	s       *Store
	user    chat.User
	now     int64
	upTo    chat.Position
	entries []chat.Entry
	kept    int           // entries that were there before
	prev    chat.Position // of the last entry
	last    chat.Position // as Inbox returns it
	skips   int           // rows left out
	bytes   int           // of content

	refs [inboxChunk]inboxRef
	m    chat.Message // the last read: its users' names are used again
}

// inboxRef is one row of a chunk, and then its message.
type inboxRef struct {
	pos     chat.Position
	kind    chat.EntryKind
	found   bool
	id      chat.ID
	key     [messageKeyBytes]byte
	message chat.Message
}

// read goes through the rows after a position.
func (r *inboxReader) read(ctx context.Context, after chat.Position, limit int) error {
	rows, err := r.s.inboxOf(ctx, r.user, after, r.upTo)
	if err != nil {
		return err
	}
	if !rows.next() { // nothing waits, as for most who come back
		r.last = r.upTo
		return errors.Join(ctx.Err(), rows.close())
	}
	messages, err := r.s.messagesOf(ctx)
	if err != nil {
		return errors.Join(err, rows.close())
	}
	err = r.chunks(ctx, rows, messages, limit)
	return errors.Join(err, rows.close(), messages.close())
}

// chunks reads chunk by chunk, from the row that rows is on.
func (r *inboxReader) chunks(ctx context.Context, rows *inboxCursor, messages *messageCursor, limit int) (err error) {
	more := true
	for more && limit > 0 && r.skips < maxInboxSkips && r.bytes < maxInboxBytes && ctx.Err() == nil {
		var n int
		if n, more, err = r.chunk(rows, min(limit, inboxChunk)); err != nil {
			return err
		}
		if err := r.fetch(messages, n); err != nil {
			return err
		}
		limit -= r.take(n)
	}
	switch {
	case !more:
		r.last = r.upTo
	case len(r.entries) > r.kept: // else it is the last row's
		r.last = r.prev
	}
	return errors.Join(rows.err, ctx.Err())
}

// chunk reads up to n rows into refs, from the one that rows is on.
func (r *inboxReader) chunk(rows *inboxCursor, n int) (read int, more bool, err error) {
	var peer []byte
	var c chat.ChatID
	for more = true; more && read < n; more = rows.next() {
		in, err := decodeInbox(rows.row)
		if err != nil {
			return read, false, err
		}
		if read == 0 || string(in.peer) != string(peer) {
			peer = append(peer[:0], in.peer...)
			c = chat.ChatOf(r.user, chat.User(peer))
		}
		ref := &r.refs[read]
		*ref = inboxRef{pos: rows.pos, kind: in.kind, id: in.id}
		appendMessageKey(ref.key[:0], tableMessage, c, in.id)
		r.last = ref.pos
		read++
	}
	return read, more, nil
}

// fetch reads the messages of n refs, in the order of their keys.
func (r *inboxReader) fetch(messages *messageCursor, n int) error {
	var order [inboxChunk]*inboxRef
	for i := range n {
		order[i] = &r.refs[i]
	}
	slices.SortFunc(order[:n], func(a, b *inboxRef) int { return bytes.Compare(a.key[:], b.key[:]) })
	runs := runFinder{messages.runs}
	for _, ref := range order[:n] {
		take := func(row []byte) error { return r.found(ref, row) }
		if messages.rows.SeekPrefixGE(ref.key[:]) {
			row, err := messages.rows.ValueAndErr()
			if err = errors.Join(err, take(row)); err != nil {
				return err
			}
			continue
		}
		if err := messages.rows.Error(); err != nil {
			return err
		}
		if _, err := runs.find(ref.key[:], take); err != nil {
			return err
		}
	}
	return nil
}

// found takes a ref's message, unless reads leave it out.
func (r *inboxReader) found(ref *inboxRef, row []byte) error {
	hidden, err := r.s.hidden(ref.id, row, r.now)
	if err != nil || hidden {
		return err
	}
	if err := decodeMessage(row, &r.m); err != nil {
		return err
	}
	ref.found, ref.message = true, r.m
	ref.message.ID = ref.id
	return nil
}

// take makes entries of those of n refs that have their messages.
func (r *inboxReader) take(n int) (taken int) {
	for i := range n {
		ref := &r.refs[i]
		if !ref.found {
			r.skips++
			continue
		}
		taken++
		r.entries = append(r.entries, chat.Entry{Kind: ref.kind, User: r.user, Pos: ref.pos, Prev: r.prev, Message: ref.message})
		r.prev = ref.pos
		r.bytes += len(ref.message.Content)
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
	last = max(after, upTo)
	var from chat.User
	err = s.scanInbox(ctx, user, after, upTo, func(pos chat.Position, row []byte) (bool, error) {
		if limit == 0 {
			return false, nil
		}
		in, err := decodeInbox(row)
		if err != nil {
			return false, err
		}
		if in.kind == chat.EntryMessage {
			from = keep(from, in.peer)
			sender := storage.Sender{From: from, Pos: pos}
			found := true
			if from.IsGroup() {
				sender.Place, found, err = s.placeOf(chat.GroupChat(from), in.id)
			}
			if found {
				dst = append(dst, sender)
			}
		}
		if limit--; limit == 0 {
			last = pos
		}
		return err == nil, err
	})
	if err != nil {
		return dst, after, err
	}
	return dst, last, nil
}

// placeOf returns the place of a message, also of one that has expired.
func (s *Store) placeOf(c chat.ChatID, id chat.ID) (place chat.Position, found bool, err error) {
	var m chat.Message
	for _, table := range []byte{tableMessage, tableStub} {
		if found, err = s.message(table, c, id, 0, &m); found || err != nil {
			break
		}
	}
	return m.Place, found, err
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

// scanInbox calls f with a user's inbox rows with from < position <= upTo,
// until it returns false.
func (s *Store) scanInbox(ctx context.Context, user chat.User, from, upTo chat.Position, f func(pos chat.Position, row []byte) (bool, error)) error {
	if from >= upTo {
		return nil
	}
	c, err := s.inboxOf(ctx, user, from, upTo)
	if err != nil {
		return err
	}
	more := true
	for rows := 1; more && err == nil && c.next(); rows++ {
		if more, err = f(c.pos, c.row); rows%ctxEvery == 0 {
			err = errors.Join(err, ctx.Err())
		}
	}
	return errors.Join(err, c.close())
}

// inboxRange is from < position <= upTo of a user in a table, of which from is
// the lower.
func inboxRange(table byte, user chat.User, from, upTo chat.Position) *pebble.IterOptions {
	return &pebble.IterOptions{
		LowerBound: appendInboxKey(nil, table, user, from+1),
		UpperBound: append(appendInboxKey(nil, table, user, upTo), 0),
	}
}

// Truncated implements storage.Store.
func (s *Store) Truncated(ctx context.Context, user chat.User, after chat.Position) (chat.Position, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	var upTo uint64
	_, err := s.getUint64s(appendUserKey(nil, tableTruncated, user), &upTo)
	if err != nil || chat.Position(upTo) <= after {
		return 0, err
	}
	return chat.Position(upTo), nil
}
