package packet

import (
	"encoding/binary"
	"math"

	"github.com/rookery-chat/rookery/chat"
)

// appendHead begins a packet of count elements, the type included, fewer than 16.
func appendHead(dst []byte, t Type, count int) []byte {
	return append(dst, fixArray|byte(count), byte(t))
}

// appendUint appends the shortest form of v.
func appendUint(dst []byte, v uint64) []byte {
	switch {
	case v < fixMap:
		return append(dst, byte(v))
	case v <= math.MaxUint8:
		return append(dst, uint8c, byte(v))
	case v <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, uint16c), uint16(v))
	case v <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, uint32c), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(dst, uint64c), v)
}

// appendInt appends the shortest form of v.
func appendInt(dst []byte, v int64) []byte {
	switch {
	case v >= 0:
		return appendUint(dst, uint64(v))
	case v >= -32:
		return append(dst, byte(v))
	case v >= math.MinInt8:
		return append(dst, int8c, byte(v))
	case v >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(dst, int16c), uint16(v))
	case v >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(dst, int32c), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(dst, int64c), uint64(v))
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, trueCode)
	}
	return append(dst, falseCode)
}

// appendStr appends a str; nil is the empty one.
func appendStr(dst, s []byte) []byte {
	if len(s) < 32 {
		return append(append(dst, fixStr|byte(len(s))), s...)
	}
	return append(appendLength(dst, str8, len(s)), s...)
}

// appendBin appends a bin; nil is nil.
func appendBin(dst, b []byte) []byte {
	if b == nil {
		return append(dst, nilCode)
	}
	return append(appendLength(dst, bin8, len(b)), b...)
}

// appendLength appends a code of three, for lengths of 8, 16 or 32 bits.
func appendLength(dst []byte, code byte, n int) []byte {
	switch {
	case n <= math.MaxUint8:
		return append(dst, code, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, code+1), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, code+2), uint32(n))
}

// appendID appends a bin of 16 bytes; the zero id is nil.
func appendID(dst []byte, id *chat.ID) []byte {
	if id.Zero() {
		return append(dst, nilCode)
	}
	return append(append(dst, bin8, 16), id[:]...)
}
