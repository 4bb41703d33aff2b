package shard

import (
	"context"
	"slices"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/view"
	"github.com/rookery-chat/rookery/storage"
)

// cycle is what has been built at once and is not marked yet: it may be when
// its derived records are durable, and those of every cycle before it.
type cycle struct {
	seq   uint64
	upTo  chat.Position
	owner []byte // of the mark

	// rows that may be stored only together with a mark that covers them
	cursors []storage.UserCursor
	reads   []storage.ReadMark
	members []storage.GroupMark
	cells   []uint64 // what stands for cursors and reads until then

	names []byte // memory of the rows' names
}

// cell is a cursor or read that waits to be stored, and the cycle that stores it.
type cell struct {
	value chat.Position
	seq   uint64
}

// maxWaiting is how many rows may wait for their mark. Over it the worker waits
// for derived records to become durable.
const maxWaiting = 1 << 16

// maxSpareCycles bounds the memory kept for cycles to come.
const maxSpareCycles = 16

// openCycle begins a cycle.
func (w *worker) openCycle() {
	w.seq++
	if n := len(w.spare); n > 0 {
		w.cur, w.spare = w.spare[n-1], w.spare[:n-1]
	} else {
		w.cur = new(cycle)
	}
	w.cur.seq = w.seq
}

// closeCycle puts the cycle that has been built behind the open ones. One that
// derives nothing becomes part of the one before it, which bounds how many are
// open by what waits in the outbox.
func (w *worker) closeCycle() {
	c := w.cur
	c.upTo, c.owner = w.last, w.appendOwner(c.owner[:0])
	if n := len(w.open); n > 0 && !w.out.staged() {
		before := w.open[n-1]
		before.seq, before.upTo = c.seq, c.upTo
		before.owner, c.owner = c.owner, before.owner
		before.cursors = append(before.cursors, c.cursors...)
		before.reads = append(before.reads, c.reads...)
		before.members = append(before.members, c.members...)
		before.cells = append(before.cells, c.cells...)
		c.names = nil // its rows still lie there
		w.reuse(c)
		return
	}
	w.open = append(w.open, c)
}

// ready is how many open cycles may be marked.
func (w *worker) ready() int {
	oldest := w.out.oldest()
	n := 0
	for n < len(w.open) && w.open[n].seq < oldest {
		n++
	}
	return n
}

// addReady adds to the batch the mark of the first n cycles and the rows that
// go with it, of each cursor, read and member the newest.
func (w *worker) addReady(n int) {
	w.newer.clear()
	for _, c := range slices.Backward(w.open[:n]) {
		for _, r := range slices.Backward(c.cursors) {
			if w.isNewest(w.hashKey(keyCursor, view.Bytes(r.User), view.Bytes(r.Device), nil)) {
				w.batch.Cursors = append(w.batch.Cursors, r)
			}
		}
		for _, r := range slices.Backward(c.reads) {
			if w.isNewest(w.hashKey(keyRead, view.Bytes(r.User), view.Bytes(r.Peer), nil)) {
				w.batch.Reads = append(w.batch.Reads, r)
			}
		}
		for _, m := range slices.Backward(c.members) {
			if w.isNewest(w.hashKey(keyMember, view.Bytes(m.Group), view.Bytes(m.User), nil)) {
				w.batch.GroupMarks = append(w.batch.GroupMarks, m)
			}
		}
	}
	if n > 0 {
		c := w.open[n-1]
		w.batch.Mark = storage.Mark{Log: w.log.Identity(), Position: c.upTo, Owner: view.String[string](c.owner)}
	}
}

// isNewest reports whether a row is the first of its key since newer was cleared.
func (w *worker) isNewest(key uint64) bool {
	if _, ok := w.newer.get(key); ok {
		return false
	}
	w.newer.put(key, 0)
	return true
}

// retire forgets the first n cycles, which are in the store now.
func (w *worker) retire(n int) {
	for _, c := range w.open[:n] {
		w.waiting -= len(c.cells) + len(c.members)
		for _, key := range c.cells {
			if w.cells[key].seq <= c.seq {
				delete(w.cells, key)
			}
		}
		w.retired = c.seq
		w.reuse(c)
	}
	kept := copy(w.open, w.open[n:])
	clear(w.open[kept:])
	w.open = w.open[:kept]
}

// reuse keeps the memory of a cycle for a later one.
func (w *worker) reuse(c *cycle) {
	if len(w.spare) == maxSpareCycles {
		return
	}
	clear(c.cursors)
	clear(c.reads)
	clear(c.members)
	*c = cycle{cursors: c.cursors[:0], reads: c.reads[:0], members: c.members[:0], cells: c.cells[:0], owner: c.owner[:0], names: c.names[:0]}
	w.spare = append(w.spare, c)
}

// keep copies a name to where it lives as long as the cycle.
func (c *cycle) keep(name []byte) string {
	from := len(c.names)
	c.names = append(c.names, name...)
	return view.String[string](c.names[from:])
}

// cell returns the value of a cursor or read: the one that is remembered or
// waits to be stored, else the store's.
func (w *worker) cell(ctx context.Context, key uint64, what string, stored func() (chat.Position, error)) (value chat.Position, err error) {
	if place, ok := w.places.get(key); ok {
		return chat.Position(place), nil
	}
	if c, ok := w.cells[key]; ok {
		return c.value, nil
	}
	err = w.try(ctx, what, func() (err error) {
		value, err = stored()
		return err
	})
	return value, err
}

// setCell makes a value wait for the cycle being built to be marked.
func (w *worker) setCell(key uint64, value chat.Position) {
	w.places.put(key, uint64(value))
	w.cells[key] = cell{value: value, seq: w.cur.seq}
	w.cur.cells = append(w.cur.cells, key)
	w.waiting++
}
