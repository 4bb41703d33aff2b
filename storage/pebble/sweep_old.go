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

// endOf returns the key from which on all of a chat in a table, of messages or
// of runs, is gone for reads.
func (s *Store) endOf(table byte, c chat.ChatID) []byte {
	if before := s.keptFrom.Load(); before > 0 {
		return appendGoneKey(nil, table, c, before)
	}
	return after(nil, append([]byte{table}, c[:]...))
}

// appendAgeKey is appendTicksKey for a time in ms since 1970.
func appendAgeKey(dst []byte, table byte, c chat.ChatID, before int64) []byte {
	return appendTicksKey(dst, table, c, chat.Ticks(time.UnixMilli(before)))
}

// appendGoneKey appends the key from which on rows of a chat have only messages
// so old that nothing has to be known of them.
func appendGoneKey(dst []byte, table byte, c chat.ChatID, before int64) []byte {
	ticks := chat.Ticks(time.UnixMilli(before - stubMs))
	if table == tableRun { // has the oldest in its key
		ticks -= min(ticks, runSpanTicks)
	}
	return appendTicksKey(dst, table, c, ticks)
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
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: []byte{tableMessage}, UpperBound: []byte{tableRun + 1}})
	if err != nil {
		return false, err
	}
	w := oldSweep{b: s.db.NewBatch(), now: now, before: s.round.to}
	defer w.b.Close()
	next, err := w.rows(it, s.round.from)
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

// rows looks at sweepOldRows rows from a key on, of each chat's young end only
// at the first, and returns the key to go on from, nil at the end of the table.
func (w *oldSweep) rows(it *pebble.Iterator, from []byte) (next []byte, err error) {
	ok := it.SeekGE(from)
	for looked := 0; ok && looked < sweepOldRows; looked++ {
		key := it.Key()
		table := key[0]
		if table == tableMessage && len(key) != messageKeyBytes || table == tableRun && len(key) != runKeyBytes {
			return nil, fmt.Errorf("%w: a message's or run's key of %d bytes", errCorrupt, len(key))
		}
		c := chat.ChatID(key[1:17])
		if w.bound = appendAgeKey(w.bound[:0], table, c, w.before); bytes.Compare(key, w.bound) < 0 {
			ok = it.SeekGE(w.bound)
			continue
		}
		if w.bound = appendGoneKey(w.bound[:0], table, c, w.before); bytes.Compare(key, w.bound) < 0 {
			n, err := w.row(it, c)
			if err != nil {
				return nil, err
			}
			looked += max(n-1, 0)
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

// row puts into w.b what follows for one row, and returns how many messages go.
func (w *oldSweep) row(it *pebble.Iterator, c chat.ChatID) (n int, err error) {
	row, err := it.ValueAndErr()
	if err != nil {
		return 0, err
	}
	if it.Key()[0] == tableRun {
		n, err = w.run(row, c)
	} else {
		n, err = w.message(idOfSortID(it.Key()), row, c)
	}
	if err != nil || n == 0 {
		return 0, err
	}
	w.swept += n
	return n, w.b.Delete(it.Key(), nil)
}

// message leaves the stub of a message that goes, and returns 1, 0 where it
// stays.
func (w *oldSweep) message(id chat.ID, row []byte, c chat.ChatID) (n int, err error) {
	if at, _, err := timesOf(row); err != nil || !older(id, at, w.before) {
		return 0, err
	}
	m := chat.Message{ID: id}
	if stubUntil(id) > w.now {
		if err := decodeMessage(row, &m); err != nil {
			return 0, err
		}
	}
	return 1, leaveStub(w.b, c, &m, w.now)
}

// run does the same for the messages of a run, which goes with its last.
func (w *oldSweep) run(row []byte, c chat.ChatID) (n int, err error) {
	whole, err := partsOf(row)
	for p := whole; err == nil && len(p.rest) > 0; {
		id, row, broken := p.message()
		at, _, torn := timesOf(row)
		if err = errors.Join(broken, torn); err == nil && !older(id, at, w.before) {
			return 0, nil
		}
	}
	for p := whole; err == nil && len(p.rest) > 0; n++ {
		var id chat.ID
		var row []byte
		if id, row, err = p.message(); err == nil {
			_, err = w.message(id, row, c)
		}
	}
	return n, err
}
