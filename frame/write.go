package frame

import (
	"encoding/binary"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// AppendMessage appends an unmasked frame that is a whole message: a server's.
func AppendMessage(dst []byte, op Op, payload []byte) []byte {
	return append(AppendHeader(dst, op, false, len(payload)), payload...)
}

// AppendHeader appends the header of an unmasked, final frame of n payload
// bytes. rsv1 marks a compressed message.
func AppendHeader(dst []byte, op Op, rsv1 bool, n int) []byte {
	return appendHeader(dst, op, rsv1, n, 0)
}

func appendHeader(dst []byte, op Op, rsv1 bool, n int, masked byte) []byte {
	b0 := byte(op) | bitFin
	if rsv1 {
		b0 |= bitRSV1
	}
	switch {
	case n < len16:
		return append(dst, b0, masked|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, b0, masked|len16), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, b0, masked|len64), uint64(n))
}

// HeaderBytes returns the size of an unmasked header for n payload bytes.
func HeaderBytes(n int) int {
	switch {
	case n < len16:
		return 2
	case n <= math.MaxUint16:
		return 4
	}
	return 10
}

// AppendMasked appends a masked frame that is a whole message: a client's. The
// key must be fresh and unpredictable (RFC 6455 section 5.3).
func AppendMasked(dst []byte, op Op, payload []byte, key [4]byte) []byte {
	dst = append(appendHeader(dst, op, false, len(payload), bitMasked), key[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	ws.Cipher(dst[start:], key, 0)
	return dst
}

// AppendDeflated appends an unmasked frame that is a whole message, compressed
// with the server's window. With the zero p it is AppendMessage.
func AppendDeflated(dst []byte, op Op, payload []byte, p DeflateParams) []byte {
	if !p.enabled() {
		return AppendMessage(dst, op, payload)
	}
	start := len(dst)
	guess := HeaderBytes(len(payload))
	dst = append(dst, make([]byte, maxHeaderBytes)[:guess]...)
	dst = appendDeflated(dst, payload, p.ServerWindowBits)
	n := len(dst) - start - guess
	if size := HeaderBytes(n); size < guess {
		dst = slices.Delete(dst, start, start+guess-size)
	} else if size > guess {
		dst = slices.Insert(dst, start, make([]byte, maxHeaderBytes)[:size-guess]...)
	}
	AppendHeader(dst[:start], op, true, n)
	return dst
}

// AppendClose appends an unmasked close frame. With the code 0 or CloseNoStatus
// it is empty; a reason is cut to the characters that fit.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	if code == 0 || code == CloseNoStatus {
		return AppendHeader(dst, OpClose, false, 0)
	}
	if end := MaxControlBytes - 2; len(reason) > end {
		for end > 0 && !utf8.RuneStart(reason[end]) {
			end--
		}
		reason = reason[:end]
	}
	dst = AppendHeader(dst, OpClose, false, 2+len(reason))
	return append(binary.BigEndian.AppendUint16(dst, code), reason...)
}
