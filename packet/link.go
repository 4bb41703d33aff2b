package packet

import "github.com/rookery-chat/rookery/chat"

// unlinked is what an encoded Message, Copy or Receipt with a position and gap
// of zero begins with: array header, type, position, gap.
const unlinked = 4

// AppendLink appends a link of a chain that was encoded with a position and gap
// of zero, as a link at pos behind prev: so a packet is encoded once and gets
// its place in each chain by one copy.
func AppendLink(dst, encoded []byte, pos, prev chat.Position) []byte {
	dst = append(dst, encoded[:unlinked-2]...)
	dst = appendUint(dst, uint64(pos))
	dst = appendUint(dst, uint64(pos-prev))
	return append(dst, encoded[unlinked:]...)
}
