package frame

import (
	"encoding/binary"
	"math"
)

const (
	bitFin    = 0x80
	bitRSV1   = 0x40
	bitsRSV23 = 0x30
	bitsOp    = 0x0f
	bitMasked = 0x80

	len16 = 126 // the 7-bit length that announces 16 bits
	len64 = 127 // and 64 bits
)

// maxHeaderBytes is the largest header: two bytes, a 64-bit length and a key.
const maxHeaderBytes = 14

// What a peer can do wrong. The errors are shared: none is made per frame.
var (
	errReservedBits    = &Error{CloseProtocol, "reserved bits are set"}
	errReservedOp      = &Error{CloseProtocol, "the opcode is reserved"}
	errControlFragment = &Error{CloseProtocol, "a control frame is fragmented"}
	errControlLong     = &Error{CloseProtocol, "a control frame is over 125 bytes"}
	errNotStarted      = &Error{CloseProtocol, "a continuation of no message"}
	errInterleaved     = &Error{CloseProtocol, "a message begins inside another"}
	errUnmasked        = &Error{CloseProtocol, "a client's frame is not masked"}
	errMasked          = &Error{CloseProtocol, "a server's frame is masked"}
	errLengthForm      = &Error{CloseProtocol, "the length is not in its shortest form"}
	errLengthSign      = &Error{CloseProtocol, "the length's top bit is set"}
	errCloseShort      = &Error{CloseProtocol, "a close frame of one byte"}
	errCloseCode       = &Error{CloseProtocol, "the close code is not allowed"}
	errCloseUTF8       = &Error{CloseBadPayload, "the close reason is not UTF-8"}
	errUTF8            = &Error{CloseBadPayload, "the text is not UTF-8"}
	errDeflate         = &Error{CloseBadPayload, "the compressed data is broken"}
	errTooBig          = &Error{CloseTooBig, "the message is too big"}
	errFragments       = &Error{CloseTooBig, "the message has too many fragments"}
)

// header is a decoded frame header.
type header struct {
	bytes uint64 // of payload; below 2^63
	key   [4]byte
	op    Op
	fin   bool
	rsv1  bool
}

// parse reads a header from the start of b and returns its size, 0 while b is
// too short. joining says that a fragmented message is being received. What is
// wrong is reported with the first byte that shows it.
func (h *header) parse(b []byte, l *Limits, joining bool) (size int, bad *Error) {
	if len(b) == 0 {
		return 0, nil
	}
	h.op, h.fin, h.rsv1 = Op(b[0]&bitsOp), b[0]&bitFin != 0, b[0]&bitRSV1 != 0
	if bad = h.check(b[0], l, joining); bad != nil || len(b) < 2 {
		return 0, bad
	}
	if masked := b[1]&bitMasked != 0; masked == l.Client {
		if masked {
			return 0, errMasked
		}
		return 0, errUnmasked
	}
	if size, bad = h.length(b); bad != nil || size == 0 || l.Client {
		return size, bad
	}
	if len(b) < size+4 {
		return 0, nil
	}
	h.key = [4]byte(b[size:])
	return size + 4, nil
}

// check judges the first byte: RFC 6455 sections 5.2, 5.4 and 5.5, RFC 7692
// section 6.
func (h *header) check(b0 byte, l *Limits, joining bool) *Error {
	switch {
	case b0&bitsRSV23 != 0:
		return errReservedBits
	case h.op > OpPong, h.op > OpBinary && h.op < OpClose:
		return errReservedOp
	case h.rsv1 && (!l.Deflate || h.op != OpText && h.op != OpBinary):
		return errReservedBits
	case h.op.control():
		if !h.fin {
			return errControlFragment
		}
	case h.op == OpContinuation:
		if !joining {
			return errNotStarted
		}
	case joining:
		return errInterleaved
	}
	return nil
}

// length reads the payload's length and returns the header's size up to it, 0
// while b is too short.
func (h *header) length(b []byte) (size int, bad *Error) {
	n := b[1] &^ bitMasked
	if n > MaxControlBytes && h.op.control() {
		return 0, errControlLong
	}
	switch n {
	case len16:
		if len(b) < 4 {
			return 0, nil
		}
		h.bytes, size = uint64(binary.BigEndian.Uint16(b[2:])), 4
		if h.bytes < len16 {
			bad = errLengthForm
		}
	case len64:
		if len(b) < 10 {
			return 0, nil
		}
		h.bytes, size = binary.BigEndian.Uint64(b[2:]), 10
		if h.bytes > math.MaxInt64 {
			bad = errLengthSign
		} else if h.bytes <= math.MaxUint16 {
			bad = errLengthForm
		}
	default:
		h.bytes, size = uint64(n), 2
	}
	return size, bad
}
