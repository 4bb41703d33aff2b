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

// The take functions read the first element of b and return it with what
// follows. They copy nothing. Where b is at its end the element is absent, and
// that and nil are the zero value. A fault returns nil for what follows, of
// which every later take makes the zero value and nil again, so that a decoder
// looks once, at its end.

// elements returns what a packet's decoder takes from: nil when it is of
// another type.
func (p *Raw) elements(want Type) []byte {
	if p.Type != want {
		return nil
	}
	return p.Body
}

// end returns what Decode returns when rest follows the last element it knows.
// Elements after it belong to a later version and are left alone.
func (p *Raw) end(rest []byte, want Type) error {
	if rest != nil {
		return nil
	}
	return p.fault(want)
}

func (p *Raw) fault(want Type) error {
	if p.Type != want {
		return chat.Errorf(chat.CodeBadPacket, "a packet of type %d was read as %s", p.Type, want)
	}
	return chat.Errorf(chat.CodeBadPacket, "an element of a %s is of another type or out of range", want)
}

// takeUint reads an integer from 0 to maximum (127 at least), in any width,
// signed or not.
func takeUint(b []byte, maximum uint64) (v uint64, rest []byte) {
	if len(b) > 0 && b[0] < fixMap {
		return uint64(b[0]), b[1:]
	}
	return takeWideUint(b, maximum)
}

func takeWideUint(b []byte, maximum uint64) (v uint64, rest []byte) {
	c, b := takeCode(b)
	if c < uint8c || c > int64c {
		return 0, unlessNil(c, b)
	}
	size := 1 << (c & 3)
	v, b = takeBigEndian(b, size)
	if v > maximum || c >= int8c && v>>(8*size-1) != 0 {
		return 0, nil
	}
	return v, b
}

// takeInt reads an integer of 64 bits with its sign, in any width.
func takeInt(b []byte) (v int64, rest []byte) {
	c, b := takeCode(b)
	if c < fixMap || c >= negFixInt {
		return int64(int8(c)), b
	}
	if c < uint8c || c > int64c {
		return 0, unlessNil(c, b)
	}
	size := 1 << (c & 3)
	u, b := takeBigEndian(b, size)
	if c >= int8c {
		unused := 64 - 8*size
		return int64(u<<unused) >> unused, b
	}
	if u > math.MaxInt64 {
		return 0, nil
	}
	return int64(u), b
}

// takeBool reads true or false.
func takeBool(b []byte) (v bool, rest []byte) {
	c, b := takeCode(b)
	if c == trueCode || c == falseCode {
		return c == trueCode, b
	}
	return false, unlessNil(c, b)
}

// takeStr reads a string of UTF-8 (str, not bin).
func takeStr(b []byte) (s, rest []byte) {
	c, b := takeCode(b)
	switch {
	case c&0xe0 == fixStr && int(c&0x1f) <= len(b):
		n := int(c & 0x1f)
		s, b = b[:n:n], b[n:]
	case c >= str8 && c < array16:
		s, b = takeLength(b, c-str8)
	default:
		return nil, unlessNil(c, b)
	}
	if !isUTF8(s) {
		return nil, nil
	}
	return s, b
}

// isUTF8 is utf8.Valid, faster for names, which are short and ASCII.
func isUTF8(s []byte) bool {
	for _, x := range s {
		if x >= utf8.RuneSelf {
			return utf8.Valid(s)
		}
	}
	return true
}

// takeBin reads bytes (bin, not str). Absent and nil are nil; bin of length 0 is
// empty and not nil.
func takeBin(b []byte) (v, rest []byte) {
	if len(b) > 1 && b[0] == bin8 {
		return takeBytes(b[2:], uint64(b[1]))
	}
	c, b := takeCode(b)
	if c < bin8 || c > bin8+2 {
		return nil, unlessNil(c, b)
	}
	return takeLength(b, c-bin8)
}

// takeID reads bin of exactly 16 bytes.
func takeID(b []byte, id *chat.ID) (rest []byte) {
	if len(b) >= 18 && b[0] == bin8 && b[1] == 16 {
		*id = chat.ID(b[2:18])
		return b[18:]
	}
	v, b := takeBin(b)
	*id = chat.ID{}
	if v != nil && len(v) != len(id) {
		return nil
	}
	copy(id[:], v)
	return b
}

func takeByte(b []byte) (v uint8, rest []byte) {
	u, b := takeUint(b, math.MaxUint8)
	return uint8(u), b
}

func takePosition(b []byte) (pos chat.Position, rest []byte) {
	v, b := takeUint(b, math.MaxUint64)
	return chat.Position(v), b
}

// takeCode reads an element's first byte. Where b is at its end that is nil.
func takeCode(b []byte) (c byte, rest []byte) {
	if len(b) == 0 {
		return nilCode, b
	}
	return b[0], b[1:]
}

// unlessNil is what follows an element that is no value of its field: a fault,
// unless it is nil.
func unlessNil(c byte, rest []byte) []byte {
	if c == nilCode {
		return rest
	}
	return nil
}

// takeLength reads a length of 1, 2 or 4 bytes and as many bytes as it says.
func takeLength(b []byte, widthLog2 byte) (v, rest []byte) {
	n, b := takeBigEndian(b, 1<<widthLog2)
	return takeBytes(b, n)
}

func takeBytes(b []byte, n uint64) (v, rest []byte) {
	if n > uint64(len(b)) || b == nil {
		return nil, nil
	}
	return b[:n:n], b[n:]
}

// takeBigEndian reads an unsigned integer of 1, 2, 4 or 8 bytes.
func takeBigEndian(b []byte, size int) (v uint64, rest []byte) {
	if size > len(b) {
		return 0, nil
	}
	switch size {
	case 1:
		v = uint64(b[0])
	case 2:
		v = uint64(binary.BigEndian.Uint16(b))
	case 4:
		v = uint64(binary.BigEndian.Uint32(b))
	case 8:
		v = binary.BigEndian.Uint64(b)
	}
	return v, b[size:]
}
