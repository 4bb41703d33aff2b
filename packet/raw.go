package packet

import (
	"encoding/binary"

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
	if !ok {
		return Raw{}, nil, chat.Errorf(chat.CodeBadPacket, "a packet is an array")
	}
	if count == 0 || count > MaxElements {
		return Raw{}, nil, chat.Errorf(chat.CodeBadPacket, "a packet has 1 to %d elements, this one says %d", MaxElements, count)
	}
	r := reader{rest: body, left: count}
	typ := r.uint(255)
	if r.bad {
		return Raw{}, nil, chat.Errorf(chat.CodeBadPacket, "a packet's first element is its type, 0 to 255")
	}
	s := skipper{budget: MaxElements - count}
	end, ok := s.skip(r.rest, count-1, 1)
	if !ok {
		return Raw{}, nil, chat.Errorf(chat.CodeBadPacket, "a packet of type %d is cut off, nested over %d deep or has over %d elements", typ, MaxDepth, MaxElements)
	}
	n := len(r.rest) - len(end)
	return Raw{Type: Type(typ), Count: count - 1, Body: r.rest[:n:n]}, end, nil
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

// skip returns what follows count elements, which stand at a depth.
func (s *skipper) skip(b []byte, count, depth int) (rest []byte, ok bool) {
	for ; count > 0; count-- {
		if len(b) == 0 {
			return nil, false
		}
		if c := b[0]; c < fixMap || c >= negFixInt {
			b = b[1:]
			continue
		}
		head, size, nested := elementSize(b)
		if head == 0 || size > uint64(len(b)-head) {
			return nil, false
		}
		b = b[head+int(size):]
		if nested == 0 {
			continue
		}
		if depth == MaxDepth || nested > uint64(s.budget) {
			return nil, false
		}
		s.budget -= int(nested)
		if b, ok = s.skip(b, int(nested), depth+1); !ok {
			return nil, false
		}
	}
	return b, true
}

// elementSize reads the header of an element: the header's own bytes, the
// payload's, and how many elements follow that belong to it. head is 0 when the
// header is cut off or stands for nothing.
func elementSize(b []byte) (head int, size, nested uint64) {
	c := b[0]
	switch {
	case c < fixArray: // fixMap
		return 1, 0, 2 * uint64(c&0x0f)
	case c < fixStr: // fixArray
		return 1, 0, uint64(c & 0x0f)
	case c < nilCode: // fixStr
		return 1, uint64(c & 0x1f), 0
	}
	f := forms[c-nilCode]
	head = 1 + int(f.lengthBytes)
	if f.lengthBytes > 4 || head > len(b) {
		return 0, 0, 0
	}
	var n uint64
	for _, x := range b[1:head] {
		n = n<<8 | uint64(x)
	}
	return head, uint64(f.fixed) + n*uint64(f.perSize), n * uint64(f.perNested)
}

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
