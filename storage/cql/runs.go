package cql

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/rookery-chat/rookery/chat"
)

// A run is the entries of one inbox that one Apply has, in one row, at the
// position of the last of them: what a message to a large group costs the
// database is a row a member, and a row costs much the same whatever its length.
//
// What an Apply has for a user is thus stored as a whole or not at all, and
// Applies of a partition follow one another. So of any two rows of an inbox that
// follow one another the later one has every entry between them: also where an
// owner that is one no more, or was killed, had cut its cycles at other places
// and its rows overlap with those of its successor (law 3). Readers leave out
// what they have had.
const (
	runLeast   = 2 // entries; one alone has a row of columns
	runVersion = 1
)

// runsOnce is how many rows are asked for at first where they may be runs, each
// of which may have more entries than are wanted.
const runsOnce = 16

// inbox sends the entries of a batch. Those of a user are in the order of their
// positions, whoever made the batch.
func (w *writer) inbox(es []chat.Entry) {
	if !w.s.opt.InboxRuns {
		for i := range es {
			w.entry(&es[i])
		}
		return
	}
	for i := range es {
		u := w.user(es[i].User)
		u.entries = append(u.entries, &es[i])
	}
	for _, u := range w.userList {
		if len(u.entries) >= runLeast {
			w.run(u)
		} else {
			for _, e := range u.entries {
				w.entry(e)
			}
		}
		clear(u.entries)
		u.entries = u.entries[:0]
	}
}

// run writes all entries of a user into one row.
func (w *writer) run(u *userGroup) {
	slices.SortStableFunc(u.entries, func(a, b *chat.Entry) int { return cmp.Compare(a.Pos, b.Pos) })
	last := u.entries[len(u.entries)-1]
	from := len(w.runs)
	w.runs = appendRun(w.runs, u.entries)
	a := &w.arena
	a.begin(5)
	a.text(string(u.user))
	a.pos(last.Pos)
	a.lend(w.runs[from:len(w.runs):len(w.runs)])
	a.int64(last.Message.At * 1000)
	a.int32(w.s.life(last.Message.At + w.s.opt.InboxFor.Milliseconds()))
	w.add(&u.group, putRun)
	for _, e := range u.entries {
		w.linked(u, e)
	}
}

// appendRun encodes entries in the order of their positions: how many, where the
// chain was before the first, and the last one's time; of each how far it is
// below the last one, its kind, id, how much earlier it is, and its peer, empty
// for that of the one before.
func appendRun(dst []byte, es []*chat.Entry) []byte {
	last := es[len(es)-1]
	dst = append(dst, runVersion)
	dst = binary.AppendUvarint(dst, uint64(len(es)))
	dst = binary.AppendUvarint(dst, uint64(last.Pos-es[0].Prev))
	dst = binary.AppendVarint(dst, last.Message.At)
	var peer chat.User
	for _, e := range es {
		dst = binary.AppendUvarint(dst, uint64(last.Pos-e.Pos))
		dst = append(append(dst, byte(e.Kind)), e.Message.ID[:]...)
		dst = binary.AppendVarint(dst, last.Message.At-e.Message.At)
		if with := e.With(); with != peer {
			peer = with
			dst = append(binary.AppendUvarint(dst, uint64(len(peer))), peer...)
		} else {
			dst = append(dst, 0)
		}
	}
	return dst
}

// run is one that is being read.
type run struct {
	rest  []byte
	left  uint64        // entries
	end   chat.Position // its last entry's
	endAt int64
	peer  chat.User
	prev  chat.Position // of the next entry; of all but the first, the one before it
	short bool
}

// openRun begins to read the run in a row.
func openRun(row []byte, pos chat.Position) (run, error) {
	if row[0] != runVersion {
		return run{}, fmt.Errorf("an inbox row of several entries is of version %d, this program knows %d", row[0], runVersion)
	}
	r := run{rest: row[1:], end: pos}
	r.left = r.uvarint()
	r.prev = pos - chat.Position(r.uvarint())
	r.endAt = r.varint()
	return r, r.broken()
}

func (r *run) broken() error {
	if r.short {
		return fmt.Errorf("an inbox row of several entries, at %v, is cut off", r.end)
	}
	return nil
}

// next returns the next entry; it is called while there are some left.
func (r *run) next() (row inboxRow, prev chat.Position, err error) {
	r.left--
	row.pos, prev = r.end-chat.Position(r.uvarint()), r.prev
	if len(r.rest) < 1+len(row.id) {
		r.short = true
		return row, prev, r.broken()
	}
	row.kind = chat.EntryKind(r.rest[0])
	r.rest = r.rest[1+copy(row.id[:], r.rest[1:]):]
	row.at = r.endAt - r.varint()
	if n := r.uvarint(); n > uint64(len(r.rest)) {
		r.short = true
	} else if n > 0 {
		r.peer, r.rest = chat.User(r.rest[:n]), r.rest[n:]
	}
	row.peer, r.prev = r.peer, row.pos
	return row, prev, r.broken()
}

func (r *run) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	r.take(n)
	return v
}

func (r *run) varint() int64 {
	v, n := binary.Varint(r.rest)
	r.take(n)
	return v
}

func (r *run) take(n int) {
	if n <= 0 {
		r.short, n = true, len(r.rest)
	}
	r.rest = r.rest[n:]
}

// eachEntry calls f with the entries of a row, which is a run or has columns,
// until f returns false.
func eachEntry(row inboxRow, prev chat.Position, entries []byte, f func(e inboxRow, prev chat.Position) bool) error {
	if len(entries) == 0 {
		f(row, prev)
		return nil
	}
	r, err := openRun(entries, row.pos)
	for err == nil && r.left > 0 {
		var e inboxRow
		if e, prev, err = r.next(); err == nil && !f(e, prev) {
			break
		}
	}
	return err
}
