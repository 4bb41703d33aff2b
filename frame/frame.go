// Package frame turns bytes into WebSocket frames and back: the opening
// handshake and framing of RFC 6455, with permessage-deflate of RFC 7692. It
// never sees a socket. A parser takes the bytes there are and answers one of
// three things: need more, here is one, this is wrong.
//
// A frame on the wire (RFC 6455 section 5.2):
//
//	byte 0      FIN 1 bit, RSV1 RSV2 RSV3 1 bit each, opcode 4 bits
//	byte 1      MASK 1 bit, length 7 bits: 0-125, or 126, or 127
//	0 2 or 8    the length, big endian, when those 7 bits are 126 or 127
//	0 or 4      the masking key, when MASK is set: always from a client
//	length      the payload
package frame

import "cmp"

// Op is a frame's opcode.
type Op byte

// The opcodes of RFC 6455 section 5.2. A Reader joins fragments, so its events
// never carry a continuation.
const (
	OpContinuation Op = 0
	OpText         Op = 1
	OpBinary       Op = 2
	OpClose        Op = 8
	OpPing         Op = 9
	OpPong         Op = 10
)

// control reports whether the frame is a control frame.
func (op Op) control() bool { return op&8 != 0 }

// The close codes this package sends or reports (RFC 6455 section 7.4.1).
const (
	CloseNormal     = 1000
	CloseProtocol   = 1002
	CloseNoStatus   = 1005 // a close frame without a code; never on the wire
	CloseBadPayload = 1007
	CloseTooBig     = 1009
)

// Defaults of Limits.
const (
	DefaultMessageBytes          = 64 << 10
	DefaultFragments             = 1024
	DefaultFragmentOverheadBytes = 64
)

// MaxControlBytes is the largest payload of a control frame (RFC 6455 section
// 5.5). A close reason has two bytes less.
const MaxControlBytes = 125

// Limits says what a Reader takes. The zero value is a server's side with the
// defaults and without compression. It is not changed by the Reader and may be
// shared by any number of them.
type Limits struct {
	// MessageBytes bounds a message as received and as inflated; over it the
	// error is 1009, before anything is allocated. 0: DefaultMessageBytes.
	MessageBytes int
	// Fragments bounds the frames of one message; over it the error is 1009.
	// 0: DefaultFragments.
	Fragments int
	// FragmentOverheadBytes is charged against MessageBytes for each fragment
	// after a message's first. 0: DefaultFragmentOverheadBytes.
	FragmentOverheadBytes int
	// Deflate says that permessage-deflate was negotiated, without context
	// takeover by the peer.
	Deflate bool
	// Client says that a client reads: frames of a server, which are unmasked.
	Client bool
}

func (l *Limits) messageBytes() int { return cmp.Or(l.MessageBytes, DefaultMessageBytes) }
func (l *Limits) fragments() int    { return cmp.Or(l.Fragments, DefaultFragments) }
func (l *Limits) overheadBytes() int {
	return cmp.Or(l.FragmentOverheadBytes, DefaultFragmentOverheadBytes)
}

// Event is a whole message or a control frame.
//
// Its fields stand so that it has 32 bytes: what is larger the compiler keeps in
// memory and not in registers, which doubled the time of a frame.
type Event struct {
	Op Op
	// Code is the code of a close, CloseNoStatus where it has none.
	Code uint16
	// Payload is lent until the next call of the Reader or until the buffer
	// given to it is reused, whichever is first. For a close it is the reason.
	Payload []byte
}

// Error says what a peer did wrong and with which code to close.
type Error struct {
	Code   uint16 // 1002, 1007 or 1009
	Reason string // fits a close frame
}

// Error returns the reason.
func (e *Error) Error() string { return "websocket: " + e.Reason }
