package pebble

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/dchest/siphash"

	"github.com/rookery-chat/rookery/chat"
)

// What a batch has many of shares rows: a run is messages of one chat, newest
// first, and a stretch entries of one inbox. A row costs the same whatever its
// length, so a burst of 64 messages costs two rows instead of 128.
const (
	runLeast = 8        // fewer get rows of their own
	runMost  = 256      // messages or entries
	runBytes = 32 << 10 // content of a run
)

// runSpanTicks bounds the times in the ids of a run, so that it is found by
// each of them: the key has the oldest. It is a second, in 100 ns.
const runSpanTicks = 10_000_000

// runLength returns how many of the messages, from the first on, may be a run;
// 0 says that the first may not. What expires does not, as it goes alone.
func runLength(ms []chat.Message, order []int32) int {
	content := 0
	newest := ms[order[0]].ID
	for n, i := range order {
		m := &ms[i]
		content += len(m.Content) + len(m.Media)
		switch {
		case m.Expires > 0 || n == runMost || content > runBytes:
			return n
		case n > 0 && (m.ID.Compare(ms[order[n-1]].ID) >= 0 || newest.Ticks()-m.ID.Ticks() >= runSpanTicks):
			return n
		}
	}
	return len(order)
}

// ofChat writes messages of one chat.
func (w *writer) ofChat(ms []chat.Message, order []int32, c chat.ChatID) error {
	for len(order) > 0 {
		n := runLength(ms, order)
		if n > 0 && n >= w.least {
			if err := w.run(ms, order[:n], c); err != nil {
				return err
			}
			order = order[n:]
			continue
		}
		for _, i := range order[:max(n, 1)] {
			if err := w.message(&ms[i], c); err != nil {
				return err
			}
		}
		order = order[max(n, 1):]
	}
	return nil
}

// run writes a run. Its key ends with a hash of its ids: another owner, or this
// one after a crash, may cut another run that has the same oldest message.
func (w *writer) run(ms []chat.Message, order []int32, c chat.ChatID) error {
	ids := siphash.New(make([]byte, 16))
	w.row = append(w.row[:0], rowVersion)
	for _, i := range order {
		w.part = appendMessage(w.part[:0], &ms[i])
		w.row = append(w.row, ms[i].ID[:]...)
		w.row = append(binary.AppendUvarint(w.row, uint64(len(w.part))), w.part...)
		ids.Write(ms[i].ID[:])
	}
	w.key = appendMessageKey(w.key[:0], tableRun, c, ms[order[len(order)-1]].ID)
	w.key = binary.BigEndian.AppendUint64(w.key, ids.Sum64())
	return w.set()
}

// ofInbox writes entries of one inbox, in the order of their positions.
func (w *writer) ofInbox(es []chat.Entry, order []int32) error {
	for len(order) > 0 {
		n := 1
		for n < min(len(order), runMost) && es[order[n-1]].Pos < es[order[n]].Pos {
			n++
		}
		if n >= w.least {
			w.stretch(es, order[:n])
			if err := w.set(); err != nil {
				return err
			}
			order = order[n:]
			continue
		}
		for _, i := range order[:n] {
			w.key = appendInboxKey(w.key[:0], tableInbox, es[i].User, es[i].Pos)
			w.row = appendInbox(w.row[:0], &es[i])
			if err := w.set(); err != nil {
				return err
			}
		}
		order = order[n:]
	}
	return nil
}

func (w *writer) stretch(es []chat.Entry, order []int32) {
	last := es[order[len(order)-1]].Pos
	w.key = appendInboxKey(w.key[:0], tableStretch, es[order[0]].User, last)
	w.row = append(w.row[:0], rowVersion)
	for _, i := range order {
		w.part = appendInbox(w.part[:0], &es[i])
		w.row = binary.AppendUvarint(w.row, uint64(last-es[i].Pos))
		w.row = append(binary.AppendUvarint(w.row, uint64(len(w.part))), w.part...)
	}
}

// parts are what is left of a run or stretch that is being read.
type parts struct{ rest []byte }

func partsOf(row []byte) (parts, error) {
	if len(row) < 2 || row[0] != rowVersion {
		return parts{}, fmt.Errorf("%w: a run of %d bytes, or of a later version", errCorrupt, len(row))
	}
	return parts{row[1:]}, nil
}

// message takes the next message off a run.
func (p *parts) message() (id chat.ID, row []byte, err error) {
	if len(p.rest) < len(id) {
		return id, nil, fmt.Errorf("%w: a run is cut off", errCorrupt)
	}
	id = chat.ID(p.rest)
	d := rowDecoder{rest: p.rest[len(id):]}
	row, p.rest = d.bytes(), d.rest
	if d.short {
		return id, nil, fmt.Errorf("%w: a run is cut off", errCorrupt)
	}
	return id, row, nil
}

// entry takes the next entry off a stretch that ends at a position.
func (p *parts) entry(last chat.Position) (pos chat.Position, row []byte, err error) {
	d := rowDecoder{rest: p.rest}
	pos = last - chat.Position(d.uvarint())
	row, p.rest = d.bytes(), d.rest
	if d.short {
		return 0, nil, fmt.Errorf("%w: a stretch of an inbox is cut off", errCorrupt)
	}
	return pos, row, nil
}

// runFinder looks messages up in the runs, those of one run at the cost of one.
type runFinder struct{ it *pebble.Iterator }

// find calls f with the row of a message that lies in a run; found is false
// where none does. key is the message's in the table of messages.
func (r *runFinder) find(key []byte, f func(row []byte) error) (found bool, err error) {
	c, id := chat.ChatID(key[1:17]), idOfSortID(key)
	if r.it.Valid() && chat.ChatID(r.it.Key()[1:17]) == c {
		if found, err = r.inThis(id, f); found || err != nil {
			return found, err
		}
	}
	end := appendTicksKey(nil, tableRun, c, id.Ticks()-min(id.Ticks(), runSpanTicks))
	for ok := r.it.SeekGE(appendMessageKey(nil, tableRun, c, id)); ok && string(r.it.Key()) < string(end); ok = r.it.Next() {
		if found, err = r.inThis(id, f); found || err != nil {
			return found, err
		}
	}
	return false, r.it.Error()
}

// inThis looks into the run that the iterator stands on.
func (r *runFinder) inThis(id chat.ID, f func(row []byte) error) (found bool, err error) {
	value, err := r.it.ValueAndErr()
	if err != nil {
		return false, err
	}
	p, err := partsOf(value)
	for err == nil && len(p.rest) > 0 {
		var at chat.ID
		var row []byte
		if at, row, err = p.message(); err == nil && at == id {
			return true, f(row)
		}
	}
	return false, err
}
