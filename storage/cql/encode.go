package cql

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/gocql/gocql"

	"github.com/rookery-chat/rookery/chat"
)

// The driver marshals values through interfaces and reflection. A pointer to
// bytes that are encoded already passes it untouched, and costs no allocation.

const (
	arenaBytes  = 64 << 10
	arenaValues = 2048
)

// arena holds the values of a batch as CQL encodes them, and the arguments that
// point to them. What it has handed out stays where it is until reset. Strings
// and contents are not copied: they are the caller's until the batch is done.
type arena struct {
	bytes  []byte
	values []gocql.DirectMarshal
	args   []any

	full  []slab // used up
	spare []slab
	start int // of the statement under way, in args
	size  int // its bytes
}

type slab struct {
	bytes  []byte
	values []gocql.DirectMarshal
	args   []any
}

// maxSpareSlabs bounds the memory that an arena keeps.
const maxSpareSlabs = 16

// reset forgets everything that was handed out.
func (a *arena) reset() {
	if a.bytes != nil {
		a.full = append(a.full, slab{a.bytes, a.values, a.args})
	}
	for _, s := range a.full {
		clear(s.values)
		clear(s.args)
		if len(a.spare) < maxSpareSlabs {
			a.spare = append(a.spare, slab{s.bytes[:0], s.values[:0], s.args[:0]})
		}
	}
	clear(a.full)
	*a = arena{full: a.full[:0], spare: a.spare}
}

// begin makes room for a statement: values of n numbers at most, and begins it.
func (a *arena) begin(n int) {
	if cap(a.bytes)-len(a.bytes) < 16*n || cap(a.values)-len(a.values) < n {
		if a.bytes != nil {
			a.full = append(a.full, slab{a.bytes, a.values, a.args})
		}
		s := slab{make([]byte, 0, arenaBytes), make([]gocql.DirectMarshal, 0, arenaValues), make([]any, 0, arenaValues)}
		if n := len(a.spare); n > 0 {
			s, a.spare = a.spare[n-1], a.spare[:n-1]
		}
		a.bytes, a.values, a.args = s.bytes, s.values, s.args
	}
	a.start, a.size = len(a.args), 0
}

// end returns the statement's arguments.
func (a *arena) end() []any { return a.args[a.start:len(a.args):len(a.args)] }

// lend adds bytes that are not copied. None are an empty value, not a null.
func (a *arena) lend(b []byte) {
	if b == nil {
		b = noBytes
	}
	a.values = append(a.values, b)
	a.args = append(a.args, &a.values[len(a.values)-1])
	a.size += len(b)
}

var noBytes = []byte{}

// unset leaves a column alone; a null would be a tombstone.
func (a *arena) unset() { a.args = append(a.args, gocql.UnsetValue) }

func (a *arena) int64(v int64) {
	n := len(a.bytes)
	a.bytes = binary.BigEndian.AppendUint64(a.bytes, uint64(v))
	a.lend(a.bytes[n:len(a.bytes):len(a.bytes)])
}

func (a *arena) pos(p chat.Position) { a.int64(int64(p)) }

func (a *arena) int32(v int32) {
	n := len(a.bytes)
	a.bytes = binary.BigEndian.AppendUint32(a.bytes, uint32(v))
	a.lend(a.bytes[n:len(a.bytes):len(a.bytes)])
}

func (a *arena) int8(v uint8) {
	n := len(a.bytes)
	a.bytes = append(a.bytes, v)
	a.lend(a.bytes[n:len(a.bytes):len(a.bytes)])
}

// key copies the 16 bytes of an id.
func (a *arena) key(id [16]byte) {
	n := len(a.bytes)
	a.bytes = append(a.bytes, id[:]...)
	a.lend(a.bytes[n:len(a.bytes):len(a.bytes)])
}

// text lends a string's bytes, which nobody writes to.
func (a *arena) text(s string) {
	if s == "" {
		a.lend(noBytes)
		return
	}
	a.lend(unsafe.Slice(unsafe.StringData(s), len(s)))
}

// stamp is the write timestamp of a cell that a position decides: the later
// position wins, whoever writes it and whenever (law 3). All of them are below
// zero, hence never in a database's future, and below what an administrator
// writes by hand.
func stamp(p chat.Position) int64 { return math.MinInt64 + 1 + int64(p) }

// firstStamp lets the lowest position win.
func firstStamp(p chat.Position) int64 { return -int64(p) }

// maxPosition is the last that a bigint holds: of epoch 32,767.
const maxPosition = chat.Position(math.MaxInt64 - 1)

// clamp is a bound of positions as a bigint.
func clamp(p chat.Position) int64 { return int64(min(p, math.MaxInt64)) }

// How message ids are laid out over partitions.
const (
	dayMs      = 24 * 60 * 60 * 1000
	bucketDays = 10 // a third of a compaction window; never to be changed
	bucketMs   = bucketDays * dayMs
)

// bucketOf is which part of its chat a message lies in.
func bucketOf(ms int64) int32 { return int32(floorDiv(ms, bucketMs)) }

func dayOf(ms int64) int32 { return int32(floorDiv(ms, dayMs)) }

func floorDiv(a, b int64) int64 {
	if a < 0 {
		a -= b - 1
	}
	return a / b
}
