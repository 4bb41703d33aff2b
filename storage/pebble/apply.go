package pebble

import (
	"context"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// maxRetainedBatchBytes is how large a batch's memory may be and yet be used
// again.
const maxRetainedBatchBytes = 4 << 20

// writer builds a Pebble batch. Its buffers are used again; the Pebble batch
// comes from Pebble's own pool.
type writer struct {
	b     *pebble.Batch
	key   []byte
	row   []byte
	fresh []chat.ChatID // chats whose rows are in b
}

var writers = sync.Pool{New: func() any { return new(writer) }}

// Apply implements storage.Store.
func (s *Store) Apply(ctx context.Context, b *storage.Batch) error {
	if len(b.Mark.Owner) > storage.MaxMarkOwner {
		return storage.ErrMarkOwner
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.leave()
	w := writers.Get().(*writer)
	defer w.release()
	w.b = s.db.NewBatch(pebble.WithMaxRetainedSizeBytes(maxRetainedBatchBytes))
	if err := w.build(b, s.pairs); err != nil {
		return err
	}
	if err := w.b.Commit(pebble.NoSync); err != nil {
		return err
	}
	// Only now: another partition that finds the chat here relies on its rows.
	s.pairs.add(w.fresh)
	s.chatRows.Add(uint64(2 * len(w.fresh)))
	return nil
}

func (w *writer) release() {
	w.b.Close()
	w.b, w.fresh = nil, w.fresh[:0]
	writers.Put(w)
}

func (w *writer) build(b *storage.Batch, known *pairs) error {
	for i := range b.Messages {
		if err := w.message(&b.Messages[i], known); err != nil {
			return err
		}
	}
	for i := range b.Inbox {
		e := &b.Inbox[i]
		w.key = appendInboxKey(w.key[:0], e.User, e.Pos)
		w.row = appendInbox(w.row[:0], e)
		if err := w.set(); err != nil {
			return err
		}
	}
	if err := w.marks(b); err != nil {
		return err
	}
	if b.Mark == (storage.Mark{}) {
		return nil
	}
	w.key = appendMarkKey(w.key[:0], b.Partition)
	w.row = append(appendUint64s(append(w.row[:0], b.Mark.Log[:]...), uint64(b.Mark.Position)), b.Mark.Owner...)
	return w.set()
}

// marks writes the rows that are positions.
func (w *writer) marks(b *storage.Batch) error {
	for i := range b.Receipts {
		r := &b.Receipts[i]
		w.key = appendPairKey(w.key[:0], tableReceipt, r.User, r.Peer)
		w.row = appendUint64s(w.row[:0], uint64(r.Delivered), uint64(r.Read), uint64(r.Pos))
		if err := w.set(); err != nil {
			return err
		}
	}
	for i := range b.Reads {
		r := &b.Reads[i]
		w.key = appendPairKey(w.key[:0], tableRead, r.User, r.Peer)
		w.row = appendUint64s(w.row[:0], uint64(r.ReadTo), uint64(r.Pos))
		if err := w.set(); err != nil {
			return err
		}
	}
	for i := range b.Cursors {
		c := &b.Cursors[i]
		w.key = appendPairKey(w.key[:0], tableCursor, c.User, c.Device)
		w.row = appendUint64s(w.row[:0], uint64(c.Position))
		if err := w.set(); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) message(m *chat.Message, known *pairs) error {
	c := m.Chat()
	w.key = appendMessageKey(w.key[:0], tableMessage, c, m.ID)
	w.row = appendMessage(w.row[:0], m)
	if err := w.set(); err != nil {
		return err
	}
	if m.Expires > 0 {
		w.key, w.row = appendExpiryKey(w.key[:0], m.Expires, c, m.ID), w.row[:0]
		if err := w.set(); err != nil {
			return err
		}
	}
	if known.has(c) || len(w.fresh) > 0 && w.fresh[len(w.fresh)-1] == c {
		return nil
	}
	w.fresh = append(w.fresh, c)
	return w.chat(m.From, m.To)
}

// chat writes the rows by which each of the two finds the chat.
func (w *writer) chat(a, b chat.User) error {
	w.key, w.row = appendPairKey(w.key[:0], tableChat, a, b), w.row[:0]
	if err := w.set(); err != nil || a == b {
		return err
	}
	w.key = appendPairKey(w.key[:0], tableChat, b, a)
	return w.set()
}

// set puts the row into the batch, which copies both.
func (w *writer) set() error { return w.b.Set(w.key, w.row, nil) }
