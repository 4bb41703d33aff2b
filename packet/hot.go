package packet

import (
	"math"

	"github.com/rookery-chat/rookery/chat"
)

// The packets that every message costs. They are decoded in place (slices lie
// in the packet's bytes) and encoded in their shortest form, both without an
// allocation. Send, Message and Copy leave out trailing elements that are zero.

// Decode reads a Send. The error is CodeBadPacket.
func (x *Send) Decode(p Raw) error {
	b := p.elements(TypeSend)
	x.N, b = takeUint(b, math.MaxUint64)
	b = takeID(b, &x.ID)
	x.To, b = takeStr(b)
	x.Suite, b = takeByte(b)
	x.Content, b = takeBin(b)
	x.Flags, b = takeByte(b)
	ttl, b := takeUint(b, math.MaxUint32)
	x.TTL = uint32(ttl)
	x.Media, b = takeStr(b)
	return p.end(b, TypeSend)
}

// AppendTo appends the encoded Send.
func (x *Send) AppendTo(dst []byte) []byte {
	count := 6
	switch {
	case len(x.Media) > 0:
		count = 9
	case x.TTL != 0:
		count = 8
	case x.Flags != 0:
		count = 7
	}
	dst = appendUint(appendHead(dst, TypeSend, count), x.N)
	dst = appendStr(appendID(dst, &x.ID), x.To)
	dst = appendBin(appendUint(dst, uint64(x.Suite)), x.Content)
	if count > 6 {
		dst = appendUint(dst, uint64(x.Flags))
	}
	if count > 7 {
		dst = appendUint(dst, uint64(x.TTL))
	}
	if count > 8 {
		dst = appendStr(dst, x.Media)
	}
	return dst
}

// Decode reads a Mark. The error is CodeBadPacket.
func (x *Mark) Decode(p Raw) error {
	b := p.elements(TypeMark)
	x.Pos, b = takePosition(b)
	return p.end(b, TypeMark)
}

// AppendTo appends the encoded Mark.
func (x *Mark) AppendTo(dst []byte) []byte {
	return appendUint(appendHead(dst, TypeMark, 2), uint64(x.Pos))
}

// Decode reads a Read. The error is CodeBadPacket.
func (x *Read) Decode(p Raw) error {
	b := p.elements(TypeRead)
	x.Peer, b = takeStr(b)
	x.Pos, b = takePosition(b)
	return p.end(b, TypeRead)
}

// AppendTo appends the encoded Read.
func (x *Read) AppendTo(dst []byte) []byte {
	return appendUint(appendStr(appendHead(dst, TypeRead, 3), x.Peer), uint64(x.Pos))
}

// Decode reads a Typing. The error is CodeBadPacket.
func (x *Typing) Decode(p Raw) error {
	b := p.elements(TypeTyping)
	x.Peer, b = takeStr(b)
	x.On, b = takeBool(b)
	return p.end(b, TypeTyping)
}

// AppendTo appends the encoded Typing.
func (x *Typing) AppendTo(dst []byte) []byte {
	return appendBool(appendStr(appendHead(dst, TypeTyping, 3), x.Peer), x.On)
}

// Decode reads a TypingFrom. The error is CodeBadPacket.
func (x *TypingFrom) Decode(p Raw) error {
	b := p.elements(TypeTypingFrom)
	x.Peer, b = takeStr(b)
	x.On, b = takeBool(b)
	return p.end(b, TypeTypingFrom)
}

// AppendTo appends the encoded TypingFrom.
func (x *TypingFrom) AppendTo(dst []byte) []byte {
	return appendBool(appendStr(appendHead(dst, TypeTypingFrom, 3), x.Peer), x.On)
}

// Decode reads an Accepted. The error is CodeBadPacket.
func (x *Accepted) Decode(p Raw) error {
	b := p.elements(TypeAccepted)
	x.N, b = takeUint(b, math.MaxUint64)
	x.Count, b = takeUint(b, math.MaxUint64)
	x.Pos, b = takePosition(b)
	return p.end(b, TypeAccepted)
}

// AppendTo appends the encoded Accepted.
func (x *Accepted) AppendTo(dst []byte) []byte {
	dst = appendUint(appendHead(dst, TypeAccepted, 4), x.N)
	return appendUint(appendUint(dst, x.Count), uint64(x.Pos))
}

// Decode reads a Message. The error is CodeBadPacket.
func (x *Message) Decode(p Raw) error {
	b := p.elements(TypeMessage)
	x.Pos, b = takePosition(b)
	x.Gap, b = takeUint(b, math.MaxUint64)
	b = takeID(b, &x.ID)
	x.From, b = takeStr(b)
	x.Late, b = takeInt(b)
	x.Suite, b = takeByte(b)
	x.Content, b = takeBin(b)
	x.Expires, b = takeInt(b)
	x.Media, b = takeStr(b)
	return p.end(b, TypeMessage)
}

// AppendTo appends the encoded Message.
func (x *Message) AppendTo(dst []byte) []byte {
	extra := expiryElements(x.Expires, x.Media)
	dst = appendChain(appendHead(dst, TypeMessage, 8+extra), x.Pos, x.Gap)
	dst = appendStr(appendID(dst, &x.ID), x.From)
	dst = appendUint(appendInt(dst, x.Late), uint64(x.Suite))
	return appendExpiry(appendBin(dst, x.Content), extra, x.Expires, x.Media)
}

// Decode reads a Copy. The error is CodeBadPacket.
func (x *Copy) Decode(p Raw) error {
	b := p.elements(TypeCopy)
	x.Pos, b = takePosition(b)
	x.Gap, b = takeUint(b, math.MaxUint64)
	b = takeID(b, &x.ID)
	x.To, b = takeStr(b)
	x.Late, b = takeInt(b)
	x.Suite, b = takeByte(b)
	x.Content, b = takeBin(b)
	x.Place, b = takePosition(b)
	x.Expires, b = takeInt(b)
	x.Media, b = takeStr(b)
	return p.end(b, TypeCopy)
}

// AppendTo appends the encoded Copy.
func (x *Copy) AppendTo(dst []byte) []byte {
	extra := expiryElements(x.Expires, x.Media)
	dst = appendChain(appendHead(dst, TypeCopy, 9+extra), x.Pos, x.Gap)
	dst = appendStr(appendID(dst, &x.ID), x.To)
	dst = appendUint(appendInt(dst, x.Late), uint64(x.Suite))
	dst = appendUint(appendBin(dst, x.Content), uint64(x.Place))
	return appendExpiry(dst, extra, x.Expires, x.Media)
}

// Decode reads a Receipt. The error is CodeBadPacket.
func (x *Receipt) Decode(p Raw) error {
	b := p.elements(TypeReceipt)
	x.Pos, b = takePosition(b)
	x.Gap, b = takeUint(b, math.MaxUint64)
	x.Peer, b = takeStr(b)
	x.Delivered, b = takePosition(b)
	x.Read, b = takePosition(b)
	return p.end(b, TypeReceipt)
}

// AppendTo appends the encoded Receipt.
func (x *Receipt) AppendTo(dst []byte) []byte {
	dst = appendChain(appendHead(dst, TypeReceipt, 6), x.Pos, x.Gap)
	dst = appendUint(appendStr(dst, x.Peer), uint64(x.Delivered))
	return appendUint(dst, uint64(x.Read))
}

// Decode reads a CaughtUp. The error is CodeBadPacket.
func (x *CaughtUp) Decode(p Raw) error {
	b := p.elements(TypeCaughtUp)
	x.Pos, b = takePosition(b)
	return p.end(b, TypeCaughtUp)
}

// AppendTo appends the encoded CaughtUp.
func (x *CaughtUp) AppendTo(dst []byte) []byte {
	return appendUint(appendHead(dst, TypeCaughtUp, 2), uint64(x.Pos))
}

// appendChain appends the place of an entry in its chain.
func appendChain(dst []byte, pos chat.Position, gap uint64) []byte {
	return appendUint(appendUint(dst, uint64(pos)), gap)
}

// expiryElements is how many of the trailing elements expires and media have to
// be there.
func expiryElements(expires int64, media []byte) int {
	switch {
	case len(media) > 0:
		return 2
	case expires != 0:
		return 1
	}
	return 0
}

func appendExpiry(dst []byte, elements int, expires int64, media []byte) []byte {
	if elements > 0 {
		dst = appendInt(dst, expires)
	}
	if elements > 1 {
		dst = appendStr(dst, media)
	}
	return dst
}

// AppendWith appends the encoded Welcome with limits that EncodeLimits encoded in
// the place of its own: a server's are the same for everybody, and all may come
// at once.
func (x *Welcome) AppendWith(dst, limits []byte) []byte {
	dst = appendUint(appendHead(dst, TypeWelcome, 10), x.Version)
	dst = appendBin(appendInt(dst, x.Now), x.Node[:])
	dst = appendUint(appendStr(dst, []byte(x.User)), uint64(x.Resume))
	dst = appendUint(appendUint(dst, x.Waiting), x.Heartbeat)
	return append(appendInt(dst, x.Expires), limits...)
}
