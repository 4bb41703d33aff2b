package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rookery-chat/rookery/chat"
)

// What one call of Sweep does at most.
const (
	sweepMessages = 1024 // expired messages and stubs
	sweepEntries  = 2048 // inbox rows looked at
	sweepOldRows  = 2048 // chats and old messages looked at
)

// stubDays is how long a swept message's id is kept, by the time in it. A send
// is refused when its id is 30 days old; the day more is for clocks.
const (
	stubDays = 31
	stubMs   = stubDays * 24 * 60 * 60 * 1000
)

// Sweep implements storage.Store. Inboxes are gone through from where the last
// call ended; more is false where their end was reached, and the next call
// begins anew. An inbox is swept up to its first entry that stays. Chats are
// gone through in the same way, but anew only for a higher messagesBefore.
func (s *Store) Sweep(ctx context.Context, now, inboxBefore, messagesBefore int64) (more bool, err error) {
	if err := s.begin(ctx); err != nil {
		return false, err
	}
	defer s.leave()
	s.sweepMu.Lock()
	defer s.sweepMu.Unlock()
	moreExpired, err := s.sweepExpired(ctx, now)
	if err != nil {
		return false, err
	}
	moreEntries, err := s.sweepInboxes(ctx, inboxBefore)
	if err != nil {
		return false, err
	}
	moreOld, err := s.sweepOld(ctx, now, messagesBefore)
	return moreExpired || moreEntries || moreOld, err
}

// sweepExpired looks at the messages and stubs whose time has come.
func (s *Store) sweepExpired(ctx context.Context, now int64) (more bool, err error) {
	if now <= 0 {
		return false, nil
	}
	b := s.db.NewBatch()
	defer b.Close()
	upper := binary.BigEndian.AppendUint64([]byte{tableExpiry}, uint64(now)+1)
	looked, swept := 0, 0
	err = s.scan(ctx, []byte{tableExpiry}, upper, func(key, _ []byte) (bool, error) {
		if len(key) != expiryKeyBytes {
			return false, fmt.Errorf("%w: an expiry key of %d bytes", errCorrupt, len(key))
		}
		looked++
		n, err := s.expire(b, chat.ChatID(key[9:25]), idOfSortID(key), now)
		swept += n
		return looked < sweepMessages, errors.Join(err, b.Delete(key, nil))
	})
	if err != nil || looked == 0 {
		return false, err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return false, err
	}
	s.sweptMessages.Add(uint64(swept))
	return looked == sweepMessages, nil
}

// expire puts into b what follows for a message whose time has come: a stub in
// its place where its id could still be sent again, else nothing is left. It
// returns how many messages (not stubs) went.
func (s *Store) expire(b *pebble.Batch, c chat.ChatID, id chat.ID, now int64) (swept int, err error) {
	var m chat.Message
	found, err := s.message(tableMessage, c, id, 0, &m)
	if err != nil {
		return 0, err
	}
	if !found {
		if stubUntil(id) > now {
			return 0, nil
		}
		return 0, b.Delete(appendMessageKey(nil, tableStub, c, id), nil)
	}
	if !expired(m.Expires, now) {
		return 0, nil
	}
	return 1, errors.Join(b.Delete(appendMessageKey(nil, tableMessage, c, id), nil), leaveStub(b, c, &m, now))
}

// leaveStub puts into b the stub of a message that goes, where its id could
// still be sent again.
func leaveStub(b *pebble.Batch, c chat.ChatID, m *chat.Message, now int64) error {
	until := stubUntil(m.ID)
	if until <= now {
		return nil
	}
	toStub(m)
	return errors.Join(
		b.Set(appendMessageKey(nil, tableStub, c, m.ID), appendMessage(nil, m), nil),
		b.Set(appendExpiryKey(nil, until, c, m.ID), nil, nil))
}

// toStub makes a message its own stub. The expiry tells that the content is
// gone, not that it never was.
func toStub(m *chat.Message) {
	m.Content, m.Media = nil, ""
	if m.Expires <= 0 {
		m.Expires = max(m.At, 1)
	}
}

func stubUntil(id chat.ID) int64 { return id.UnixMilli() + stubMs }

// sweepInboxes deletes inbox rows from before a time, and says so in each
// inbox's truncated row.
func (s *Store) sweepInboxes(ctx context.Context, before int64) (more bool, err error) {
	if before <= 0 {
		return false, nil
	}
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{
		LowerBound: []byte{tableInbox}, UpperBound: []byte{tableStretch + 1},
	})
	if err != nil {
		return false, err
	}
	w := inboxSweep{b: s.db.NewIndexedBatch(), before: before}
	defer w.b.Close()
	next, err := w.run(it, s.sweepFrom)
	if err = errors.Join(err, it.Close()); err != nil || ctx.Err() != nil {
		return false, errors.Join(err, ctx.Err())
	}
	if w.b.Count() > 0 {
		if err := w.b.Commit(pebble.NoSync); err != nil {
			return false, err
		}
	}
	s.sweepFrom = next
	s.sweptEntries.Add(uint64(w.swept))
	return next != nil, nil
}

// inboxSweep is one call's way through the inboxes.
type inboxSweep struct {
	b      *pebble.Batch // indexed
	before int64
	prefix []byte        // of the inbox we are in: table and user
	upTo   chat.Position // deleted in it so far
	swept  int
}

// run looks at sweepEntries rows from a key on, and returns the key to go on
// from, nil at the end of the table.
func (w *inboxSweep) run(it *pebble.Iterator, from []byte) (next []byte, err error) {
	ok := it.SeekGE(from)
	for looked := 0; ok && looked < sweepEntries; {
		key := it.Key()
		if len(key) < 8 {
			return nil, fmt.Errorf("%w: an inbox key of %d bytes", errCorrupt, len(key))
		}
		if prefix := key[:len(key)-8]; string(prefix) != string(w.prefix) {
			if err := w.endInbox(); err != nil {
				return nil, err
			}
			w.prefix, w.upTo = append(w.prefix[:0], prefix...), 0
		}
		row, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		whole, n, err := w.row(key, row)
		if err != nil {
			return nil, err
		}
		looked += max(n, 1)
		w.swept += n
		if whole {
			ok = it.Next()
		} else {
			ok = it.SeekGE(after(nil, w.prefix))
		}
	}
	if ok {
		next = append([]byte(nil), it.Key()...)
	}
	return next, errors.Join(it.Error(), w.endInbox())
}

// row sweeps n entries of a row. whole reports whether that is all of them.
func (w *inboxSweep) row(key, row []byte) (whole bool, n int, err error) {
	if key[0] == tableStretch {
		return w.stretch(key, row)
	}
	in, err := decodeInbox(row)
	if err != nil || in.at >= w.before {
		return false, 0, err
	}
	w.upTo = max(w.upTo, positionOf(key))
	return true, 1, w.b.Delete(key, nil)
}

// stretch is row for a stretch, of which the entries that stay are written again.
func (w *inboxSweep) stretch(key, row []byte) (whole bool, n int, err error) {
	p, err := partsOf(row)
	for err == nil && len(p.rest) > 0 {
		var in inboxRow
		var pos chat.Position
		stay, last := p.rest, positionOf(key)
		if pos, row, err = p.entry(last); err == nil {
			in, err = decodeInbox(row)
		}
		if err == nil && in.at >= w.before {
			if n > 0 {
				err = w.b.Set(key, append([]byte{rowVersion}, stay...), nil)
			}
			return false, n, err
		}
		w.upTo = max(w.upTo, pos)
		n++
	}
	if err != nil {
		return false, n, err
	}
	return true, n, w.b.Delete(key, nil)
}

// endInbox writes the truncated row of the inbox we were in, never a lower one
// than it has.
func (w *inboxSweep) endInbox() error {
	if w.upTo == 0 {
		return nil
	}
	key := append([]byte{tableTruncated}, w.prefix[1:]...)
	old := uint64(0)
	row, closer, err := w.b.Get(key) // of this call too: rows and stretches are gone through one after the other
	if err == nil {
		err = errors.Join(readUint64s(row, &old), closer.Close())
	} else if errors.Is(err, pebble.ErrNotFound) {
		err = nil
	}
	if err != nil {
		return err
	}
	return w.b.Set(key, appendUint64s(nil, max(old, uint64(w.upTo))), nil)
}
