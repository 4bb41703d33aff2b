package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rookery-chat/rookery/chat"
)

// round is how far Sweep has come through the table of messages.
type round struct {
	from []byte // key at which the next call goes on; nil when none is under way
	to   int64  // what it is for: messages older than this
	done int64  // what the last one that ended was for
}

// older reports whether a message is from before a time, by its id and by when
// it was taken in.
func older(id chat.ID, at, before int64) bool { return at < before && id.UnixMilli() < before }

// loadKept reads keptFrom.
func (s *Store) loadKept() error {
	var before uint64
	_, err := s.getUint64s([]byte{tableKept}, &before)
	s.keptFrom.Store(int64(before))
	return err
}

// raiseKept hides the messages from before a time, durably first: what a read
// has left out must not come back with a crash.
func (s *Store) raiseKept(before int64) error {
	if before <= s.keptFrom.Load() {
		return nil
	}
	if err := s.db.Set([]byte{tableKept}, appendUint64s(nil, uint64(before)), pebble.Sync); err != nil {
		return err
	}
	s.keptFrom.Store(before)
	return nil
}

// endOf returns the key from which on all of a chat is gone for reads.
func (s *Store) endOf(c chat.ChatID) []byte {
	if before := s.keptFrom.Load(); before > 0 {
		return appendAgeKey(nil, c, before-stubMs)
	}
	return after(nil, append([]byte{tableMessage}, c[:]...))
}

// appendAgeKey appends the least key of a message of a chat whose id is from
// before a time: no message has the key itself.
func appendAgeKey(dst []byte, c chat.ChatID, before int64) []byte {
	id := chat.NewID(chat.Ticks(time.UnixMilli(before)), 0, chat.Node{})
	return append(appendMessageKey(dst, tableMessage, c, id), 0)
}

// sweepOld goes on with the round through the messages, or begins one where
// there is more to delete than the last one did.
func (s *Store) sweepOld(ctx context.Context, now, before int64) (more bool, err error) {
	if before <= 0 {
		return false, nil
	}
	if err := s.raiseKept(before); err != nil {
		return false, err
	}
	if s.round.from == nil {
		if s.round.to = s.keptFrom.Load(); s.round.to <= s.round.done {
			return false, nil
		}
		s.round.from = []byte{tableMessage}
	}
	it, err := s.db.NewIterWithContext(ctx, &messageRange)
	if err != nil {
		return false, err
	}
	w := oldSweep{b: s.db.NewBatch(), now: now, before: s.round.to}
	defer w.b.Close()
	next, err := w.run(it, s.round.from)
	if err = errors.Join(err, it.Close()); err != nil || ctx.Err() != nil {
		return false, errors.Join(err, ctx.Err())
	}
	if w.b.Count() > 0 {
		if err := w.b.Commit(pebble.NoSync); err != nil {
			return false, err
		}
	}
	if s.round.from = next; next == nil {
		s.round.done = s.round.to
	}
	s.sweptMessages.Add(uint64(w.swept))
	return s.round.done < s.keptFrom.Load(), nil
}

// oldSweep is one call's way through the chats.
type oldSweep struct {
	b           *pebble.Batch
	now, before int64
	bound       []byte // scratch
	swept       int
}

// run looks at sweepOldRows rows from a key on, of each chat's young end only
// at the first, and returns the key to go on from, nil at the end of the table.
func (w *oldSweep) run(it *pebble.Iterator, from []byte) (next []byte, err error) {
	ok := it.SeekGE(from)
	for looked := 0; ok && looked < sweepOldRows; looked++ {
		key := it.Key()
		if len(key) != messageKeyBytes {
			return nil, fmt.Errorf("%w: a message key of %d bytes", errCorrupt, len(key))
		}
		c := chat.ChatID(key[1:17])
		if w.bound = appendAgeKey(w.bound[:0], c, w.before); bytes.Compare(key, w.bound) < 0 {
			ok = it.SeekGE(w.bound)
			continue
		}
		if w.bound = appendAgeKey(w.bound[:0], c, w.before-stubMs); bytes.Compare(key, w.bound) < 0 {
			if err := w.row(it, c); err != nil {
				return nil, err
			}
			ok = it.Next()
			continue
		}
		// Nothing here can have been taken in since, nor come in meanwhile.
		end := after(w.bound[:0], key[:17])
		if err := w.b.DeleteRange(key, end, nil); err != nil {
			return nil, err
		}
		w.swept++
		ok = it.SeekGE(end)
	}
	if ok {
		next = append([]byte(nil), it.Key()...)
	}
	return next, it.Error()
}

// row puts into w.b what follows for one message.
func (w *oldSweep) row(it *pebble.Iterator, c chat.ChatID) error {
	row, err := it.ValueAndErr()
	if err != nil {
		return err
	}
	m := chat.Message{ID: idOfSortID(it.Key())}
	if at, _, err := timesOf(row); err != nil || !older(m.ID, at, w.before) {
		return err
	}
	w.swept++
	if stubUntil(m.ID) <= w.now {
		return w.b.Delete(it.Key(), nil)
	}
	if err := decodeMessage(row, &m); err != nil {
		return err
	}
	return remove(w.b, c, &m, w.now)
}
