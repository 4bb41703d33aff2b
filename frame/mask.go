package frame

import (
	"encoding/binary"

	"github.com/gobwas/ws"
)

// shortBytes is up to where unmask does it itself: of what is longer ws.Cipher
// takes wider steps, of what is shorter it needs twice the time to begin.
const shortBytes = 256

// unmask masks or unmasks b in place with a key that begins at its first byte
// (RFC 6455 section 5.3), the key as a little-endian number.
func unmask(b []byte, key uint32) {
	if len(b) > shortBytes {
		ws.Cipher(b, [4]byte{byte(key), byte(key >> 8), byte(key >> 16), byte(key >> 24)}, 0)
		return
	}
	wide := uint64(key)<<32 | uint64(key)
	for len(b) >= 32 {
		p := b[:32]
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^wide)
		binary.LittleEndian.PutUint64(p[8:], binary.LittleEndian.Uint64(p[8:])^wide)
		binary.LittleEndian.PutUint64(p[16:], binary.LittleEndian.Uint64(p[16:])^wide)
		binary.LittleEndian.PutUint64(p[24:], binary.LittleEndian.Uint64(p[24:])^wide)
		b = b[32:]
	}
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
		b = b[8:]
	}
	if len(b) >= 4 {
		binary.LittleEndian.PutUint32(b, binary.LittleEndian.Uint32(b)^key)
		b = b[4:]
	}
	for i := range b {
		b[i] ^= byte(key >> (8 * i))
	}
}
