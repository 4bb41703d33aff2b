package frame

import "encoding/binary"

// mask applies a masking key to b in place (RFC 6455 section 5.3); at is where
// b starts in its payload. Applied twice it undoes itself.
func mask(b []byte, key [4]byte, at int) {
	k32 := binary.LittleEndian.Uint32(key[:])
	k32 = k32>>(8*(at&3)) | k32<<(32-8*(at&3))
	k64 := uint64(k32)<<32 | uint64(k32)
	for len(b) >= 32 {
		w := b[:32:32]
		binary.LittleEndian.PutUint64(w[0:], binary.LittleEndian.Uint64(w[0:])^k64)
		binary.LittleEndian.PutUint64(w[8:], binary.LittleEndian.Uint64(w[8:])^k64)
		binary.LittleEndian.PutUint64(w[16:], binary.LittleEndian.Uint64(w[16:])^k64)
		binary.LittleEndian.PutUint64(w[24:], binary.LittleEndian.Uint64(w[24:])^k64)
		b = b[32:]
	}
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k64)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(k64 >> (8 * i))
	}
}
