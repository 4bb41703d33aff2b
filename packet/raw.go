package packet

import (
	"encoding/binary"
	"math"

	"github.com/rookery-chat/rookery/chat"
)

// Bounds of a packet that do not depend on its type. They keep one packet from
// costing more than its bytes; neither is configurable.
const (
	MaxDepth    = 8       // arrays and maps, not empty, inside one another; the packet itself is the first
	MaxElements = 1 << 16 // elements of a packet, those of nested arrays and maps included
)

// Raw is one packet whose elements are well formed but not yet decoded.
type Raw struct {
	Type  Type
	Count int    // elements after the type
	Body  []byte // those elements, encoded; lies in the message it came from
}

// Next splits the first packet off a WebSocket message. The error is
// CodeBadPacket: where the packet ends is not known then, and the rest of the
// message is lost. A message has to hold one packet at least.
func Next(msg []byte) (p Raw, rest []byte, err error) {
	count, body, ok := arrayHeader(msg)
	if !ok || count == 0 || count > MaxElements {
		return Raw{}, nil, chat.Errorf(chat.CodeBadPacket, "a packet is an array of 1 to %d elements", MaxElements)
	}
	typ, elements := takeUint(body, math.MaxUint8)
	if elements == nil || len(body) == 0 || body[0] == nilCode {
		return Raw{}, nil, chat.Errorf(chat.CodeBadPacket, "a packet's first element is its type, 0 to 255")
	}
	s := skipper{budget: MaxElements - count}
	n := s.skip(elements, count-1, 1)
	if n < 0 {
		return Raw{}, nil, chat.Errorf(chat.CodeBadPacket, "a packet of type %d is cut off, nested over %d deep or has over %d elements", typ, MaxDepth, MaxElements)
	}
	return Raw{Type: Type(typ), Count: count - 1, Body: elements[:n:n]}, elements[n:], nil
}

// arrayHeader reads the header of an array and returns its length in elements
// and what follows.
func arrayHeader(b []byte) (count int, rest []byte, ok bool) {
	switch {
	case len(b) == 0:
		return 0, nil, false
	case b[0]&0xf0 == fixArray:
		return int(b[0] & 0x0f), b[1:], true
	case b[0] == array16 && len(b) >= 3:
		return int(binary.BigEndian.Uint16(b[1:])), b[3:], true
	case b[0] == array32 && len(b) >= 5:
		return int(binary.BigEndian.Uint32(b[1:])), b[5:], true
	}
	return 0, nil, false
}

// skipper walks over elements without looking at what they mean. budget is how
// many nested elements it may still meet.
type skipper struct{ budget int }

// skip returns how many bytes count elements have, which stand at a depth; -1
// when they are cut off or over a bound.
func (s *skipper) skip(b []byte, count, depth int) int {
	i := 0
	for ; count > 0; count-- {
		if i >= len(b) {
			return -1
		}
		if n := int(sizes[b[i]]); n > 0 { // most elements
			i += n
			continue
		}
		if b[i] == bin8 && i+1 < len(b) { // ids and most contents
			i += 2 + int(b[i+1])
			continue
		}
		n := s.skipLong(b[i:], depth)
		if n < 0 {
			return -1
		}
		i += n
	}
	if i > len(b) {
		return -1
	}
	return i
}

// skipLong is skip for one element that has a length or elements of its own.
func (s *skipper) skipLong(b []byte, depth int) int {
	head, size, nested := elementSize(b)
	if head == 0 || size > uint64(len(b)-head) {
		return -1
	}
	if nested == 0 {
		return head + int(size)
	}
	if depth == MaxDepth || nested > uint64(s.budget) {
		return -1
	}
	s.budget -= int(nested)
	n := s.skip(b[head:], int(nested), depth+1)
	if n < 0 {
		return -1
	}
	return head + n
}

// elementSize reads the header of an element that sizes does not know: the
// header's own bytes, the payload's, and how many elements follow that belong
// to it. head is 0 when the header is cut off or stands for nothing.
func elementSize(b []byte) (head int, size, nested uint64) {
	c := b[0]
	if c < fixArray { // fixMap: keys and values
		return 1, 0, 2 * uint64(c&0x0f)
	}
	if c < fixStr {
		return 1, 0, uint64(c & 0x0f)
	}
	f := forms[c-nilCode]
	if f.lengthBytes == noForm {
		return 0, 0, 0
	}
	n, rest := takeBigEndian(b[1:], int(f.lengthBytes))
	if rest == nil {
		return 0, 0, 0
	}
	return 1 + int(f.lengthBytes), uint64(f.fixed) + n*uint64(f.perSize), n * uint64(f.perNested)
}

// sizes are the bytes of an element by its first byte, where that alone says.
var sizes = func() (s [256]uint8) {
	for c := range s {
		switch {
		case c < fixMap || c >= negFixInt:
			s[c] = 1
		case c >= fixStr && c < nilCode:
			s[c] = 1 + uint8(c&0x1f)
		case c >= nilCode && forms[c-nilCode].lengthBytes == 0 && forms[c-nilCode].perNested == 0:
			s[c] = 1 + forms[c-nilCode].fixed
		}
	}
	return s
}()

// form is how the bytes of an element with a code from nilCode on are counted:
// length bytes after the code, then fixed bytes, then as many bytes or elements
// for each unit of length.
type form struct{ lengthBytes, fixed, perSize, perNested uint8 }

const noForm = 255

// forms of the codes 0xc0 to 0xdf, in the order of the MessagePack specification.
var forms = [...]form{
	{}, {lengthBytes: noForm}, {}, {}, // nil, never used, false, true
	{1, 0, 1, 0}, {2, 0, 1, 0}, {4, 0, 1, 0}, // bin 8 16 32
	{1, 1, 1, 0}, {2, 1, 1, 0}, {4, 1, 1, 0}, // ext 8 16 32
	{fixed: 4}, {fixed: 8}, // float 32 64
	{fixed: 1}, {fixed: 2}, {fixed: 4}, {fixed: 8}, // uint 8 16 32 64
	{fixed: 1}, {fixed: 2}, {fixed: 4}, {fixed: 8}, // int 8 16 32 64
	{fixed: 2}, {fixed: 3}, {fixed: 5}, {fixed: 9}, {fixed: 17}, // fixext 1 2 4 8 16
	{1, 0, 1, 0}, {2, 0, 1, 0}, {4, 0, 1, 0}, // str 8 16 32
	{2, 0, 0, 1}, {4, 0, 0, 1}, // array 16 32
	{2, 0, 0, 2}, {4, 0, 0, 2}, // map 16 32
}
