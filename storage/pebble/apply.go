package pebble

import (
	"bytes"
	"cmp"
	"context"
	"slices"
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
	part  []byte
	least int           // how many share a row
	chats []chat.ChatID // of the messages
	order []int32
	fresh []int32 // messages whose chats' rows are in b
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
	w.least = s.runLeast
	if err := w.build(b, s.pairs); err != nil {
		return err
	}
	if err := w.b.Commit(pebble.NoSync); err != nil {
		return err
	}
	// Only now: another partition that finds the chat here relies on its rows.
	for _, i := range w.fresh {
		s.pairs.add(w.chats[i])
	}
	s.chatRows.Add(uint64(2 * len(w.fresh)))
	if b.Applied > 0 {
		raise(s.appliedOf(b.Partition), uint64(b.Applied))
	}
	return nil
}

func (w *writer) release() {
	w.b.Close()
	w.b, w.fresh = nil, w.fresh[:0]
	writers.Put(w)
}

func (w *writer) build(b *storage.Batch, known *pairs) error {
	if err := w.messages(b.Messages, known); err != nil {
		return err
	}
	order := w.inboxOrder(b.Inbox)
	for len(order) > 0 {
		n := 1
		for n < len(order) && b.Inbox[order[n]].User == b.Inbox[order[0]].User {
			n++
		}
		if err := w.ofInbox(b.Inbox, order[:n]); err != nil {
			return err
		}
		order = order[n:]
	}
	if err := w.marks(b); err != nil {
		return err
	}
	if err := w.groups(b); err != nil {
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

// messageOrder returns the order of the messages' keys, nearly: a memtable
// takes keys that come in order at half the cost. Of one chat the later in the
// batch are mostly the newer, which come first. It sets w.chats.
func (w *writer) messageOrder(ms []chat.Message) []int32 {
	w.chats = w.chats[:0]
	for i := range ms {
		if i > 0 && ms[i].From == ms[i-1].From && ms[i].To == ms[i-1].To {
			w.chats = append(w.chats, w.chats[i-1])
			continue
		}
		w.chats = append(w.chats, ms[i].Chat())
	}
	return w.sorted(len(ms), func(i, j int32) int {
		return cmp.Or(bytes.Compare(w.chats[i][:], w.chats[j][:]), cmp.Compare(j, i))
	})
}

// inboxOrder is the same for inbox rows.
func (w *writer) inboxOrder(es []chat.Entry) []int32 {
	return w.sorted(len(es), func(i, j int32) int {
		a, b := es[i].User, es[j].User
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b), cmp.Compare(i, j))
	})
}

// sorted returns 0 to n-1 in an order, until it is called again.
func (w *writer) sorted(n int, compare func(i, j int32) int) []int32 {
	w.order = w.order[:0]
	for i := range n {
		w.order = append(w.order, int32(i))
	}
	slices.SortFunc(w.order, compare)
	return w.order
}

// messages writes the messages, and then the rows of chats that are not known
// to have them.
func (w *writer) messages(ms []chat.Message, known *pairs) error {
	order := w.messageOrder(ms)
	for len(order) > 0 {
		i, n := order[0], 1
		c := w.chats[i]
		for n < len(order) && w.chats[order[n]] == c {
			n++
		}
		if err := w.ofChat(ms, order[:n], c); err != nil {
			return err
		}
		if !ms[i].To.IsGroup() && !known.has(c) && slices.ContainsFunc(order[:n], func(i int32) bool { return ms[i].Suite != chat.SuiteKeyShare }) {
			w.fresh = append(w.fresh, i)
		}
		order = order[n:]
	}
	for _, i := range w.fresh {
		if err := w.chat(ms[i].From, ms[i].To); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) message(m *chat.Message, c chat.ChatID) error {
	w.key = appendMessageKey(w.key[:0], tableMessage, c, m.ID)
	w.row = appendMessage(w.row[:0], m)
	if err := w.set(); err != nil || m.Expires <= 0 {
		return err
	}
	w.key, w.row = appendExpiryKey(w.key[:0], m.Expires, c, m.ID), w.row[:0]
	return w.set()
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
