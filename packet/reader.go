package packet

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/rookery-chat/rookery/chat"
)

// Codes of the MessagePack specification.
const (
	fixMap    = 0x80
	fixArray  = 0x90
	fixStr    = 0xa0
	nilCode   = 0xc0
	falseCode = 0xc2
	trueCode  = 0xc3
	bin8      = 0xc4
	uint8c    = 0xcc
	uint16c   = 0xcd
	uint32c   = 0xce
	uint64c   = 0xcf
	int8c     = 0xd0
	int16c    = 0xd1
	int32c    = 0xd2
	int64c    = 0xd3
	str8      = 0xd9
	array16   = 0xdc
	array32   = 0xdd
	negFixInt = 0xe0
)

// reader takes a packet's elements one after another, without copying. An
// element that is absent or nil reads as the zero value. After the first fault
// bad is set and what is read means nothing.
type reader struct {
	rest []byte
	left int // elements not read yet
	bad  bool
}

// newReader starts at the first element after the type.
func newReader(p Raw, want Type) reader {
	return reader{rest: p.Body, left: p.Count, bad: p.Type != want}
}

// done returns what Decode returns. Elements that were not read belong to a
// later version and are left alone.
func (r *reader) done(p Raw, want Type) error {
	if !r.bad {
		return nil
	}
	if p.Type != want {
		return chat.Errorf(chat.CodeBadPacket, "a packet of type %d was read as %s", p.Type, want)
	}
	return chat.Errorf(chat.CodeBadPacket, "element %d of a %s is of another type or out of range", p.Count-r.left, want)
}

// code takes the first byte of the next element. ok is false when the element
// is absent or nil, or after a fault.
func (r *reader) code() (c byte, ok bool) {
	if r.bad || r.left == 0 {
		return 0, false
	}
	r.left--
	if len(r.rest) == 0 {
		r.bad = true
		return 0, false
	}
	c = r.rest[0]
	r.rest = r.rest[1:]
	return c, c != nilCode
}

// take takes n bytes.
func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// bigEndian takes n bytes as an unsigned integer.
func (r *reader) bigEndian(n uint64) uint64 {
	b := r.take(n)
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	case 8:
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// uint reads an integer from 0 to maximum, in any width, signed or not.
func (r *reader) uint(maximum uint64) uint64 {
	c, ok := r.code()
	if !ok {
		return 0
	}
	if c < fixMap {
		r.bad = r.bad || uint64(c) > maximum
		return uint64(c)
	}
	if c < uint8c || c > int64c {
		r.bad = true
		return 0
	}
	size := uint64(1) << (c & 3)
	v := r.bigEndian(size)
	if v > maximum || c >= int8c && v>>(8*size-1) != 0 {
		r.bad = true
	}
	return v
}

// int reads an integer of at most 64 bits and a sign, in any width.
func (r *reader) int() int64 {
	c, ok := r.code()
	switch {
	case !ok:
		return 0
	case c < fixMap || c >= negFixInt:
		return int64(int8(c))
	case c < uint8c || c > int64c:
		r.bad = true
		return 0
	}
	bits := 8 << (c & 3)
	v := r.bigEndian(uint64(bits) / 8)
	if c >= int8c {
		return int64(v<<(64-bits)) >> (64 - bits)
	}
	if v > math.MaxInt64 {
		r.bad = true
	}
	return int64(v)
}

// bool reads true or false.
func (r *reader) bool() bool {
	c, ok := r.code()
	if ok && c != trueCode && c != falseCode {
		r.bad = true
	}
	return c == trueCode
}

// str reads a string of UTF-8 (str, not bin). Absent and nil are nil.
func (r *reader) str() []byte {
	c, ok := r.code()
	if !ok {
		return nil
	}
	var b []byte
	switch {
	case c&0xe0 == fixStr:
		b = r.take(uint64(c & 0x1f))
	case c >= str8 && c <= str8+2:
		b = r.take(r.bigEndian(1 << (c - str8)))
	default:
		r.bad = true
	}
	if !utf8.Valid(b) {
		r.bad = true
	}
	return b
}

// bin reads bytes (bin, not str). Absent and nil are nil, bin of length 0 is
// empty and not nil.
func (r *reader) bin() []byte {
	c, ok := r.code()
	if !ok {
		return nil
	}
	if c < bin8 || c > bin8+2 {
		r.bad = true
		return nil
	}
	return r.take(r.bigEndian(1 << (c - bin8)))
}

// id reads bin of exactly 16 bytes. Absent and nil are the zero id.
func (r *reader) id() (id chat.ID) {
	c, ok := r.code()
	if !ok {
		return id
	}
	if c == bin8 && len(r.rest) > 16 && r.rest[0] == 16 {
		copy(id[:], r.rest[1:17])
		r.rest = r.rest[17:]
		return id
	}
	if c < bin8 || c > bin8+2 || r.bigEndian(1<<(c-bin8)) != 16 {
		r.bad = true
		return id
	}
	copy(id[:], r.take(16))
	return id
}

func (r *reader) position() chat.Position { return chat.Position(r.uint(math.MaxUint64)) }
