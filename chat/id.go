package chat

import (
	"encoding/binary"
	"encoding/hex"
	"time"
)

// ID names a message: a TIMEUUID (RFC 9562, version 1) made by the sender's
// device, 16 raw bytes in network order, the same bytes a CQL timeuuid has.
//
// Its parts: 60 bits of time in 100 ns ticks since 1582-10-15 (the device's
// clock corrected by the server's), 14 clock-sequence bits drawn at random per
// installation, and 48 node bits which the server gives to (user, device).
type ID [16]byte

// Node is the node field of an ID: 48 bits the server derives from
// (user, device) and hands out in the welcome packet. The multicast bit is set,
// as RFC 9562 section 6.10 asks of a node that is no hardware address.
type Node [6]byte

// gregorianToUnix is the distance between the two epochs in ticks of 100 ns.
const gregorianToUnix = 0x01b21dd213814000

// MaxClockSeq is the largest clock sequence an ID can carry (14 bits).
const MaxClockSeq = 1<<14 - 1

// NewID makes the ID for a time in ticks of 100 ns since 1582-10-15.
// Only the low 60 bits of ticks and the low 14 bits of seq are used.
func NewID(ticks uint64, seq uint16, node Node) ID {
	var id ID
	binary.BigEndian.PutUint32(id[0:], uint32(ticks))
	binary.BigEndian.PutUint16(id[4:], uint16(ticks>>32))
	binary.BigEndian.PutUint16(id[6:], uint16(ticks>>48)&0x0fff|0x1000)
	binary.BigEndian.PutUint16(id[8:], seq&MaxClockSeq|0x8000)
	copy(id[10:], node[:])
	return id
}

// Ticks converts a wall-clock time to ticks of 100 ns since 1582-10-15.
func Ticks(t time.Time) uint64 {
	return uint64(t.UnixNano()/100) + gregorianToUnix
}

// Ticks returns the ID's time in units of 100 ns since 1582-10-15.
func (id ID) Ticks() uint64 {
	return uint64(binary.BigEndian.Uint32(id[0:])) |
		uint64(binary.BigEndian.Uint16(id[4:]))<<32 |
		uint64(binary.BigEndian.Uint16(id[6:])&0x0fff)<<48
}

// Time returns the ID's time as wall-clock time.
func (id ID) Time() time.Time {
	return time.Unix(0, int64(id.Ticks()-gregorianToUnix)*100)
}

// UnixMilli returns the ID's time in milliseconds since 1970.
func (id ID) UnixMilli() int64 {
	return (int64(id.Ticks()) - gregorianToUnix) / 10_000
}

// Node returns the ID's node field.
func (id ID) Node() Node { return Node(id[10:16]) }

// ClockSeq returns the ID's 14 clock-sequence bits.
func (id ID) ClockSeq() uint16 { return binary.BigEndian.Uint16(id[8:]) & MaxClockSeq }

// Valid reports whether the version and variant bits are those of a TIMEUUID
// and the node has its multicast bit set.
func (id ID) Valid() bool {
	return id[6]>>4 == 1 && id[8]>>6 == 2 && id[10]&1 == 1
}

// Zero reports whether the ID is unset.
func (id ID) Zero() bool { return id == ID{} }

// Compare orders IDs by time, then by clock sequence and node as unsigned
// bytes. The result is negative, zero or positive.
func (id ID) Compare(other ID) int {
	a, b := id.Sortable(), other.Sortable()
	for i := range a {
		if a[i] != b[i] {
			return int(a[i]) - int(b[i])
		}
	}
	return 0
}

// Sortable returns the ID with its time first, most significant byte first, so
// that comparing bytes compares times: the form storage keys use.
func (id ID) Sortable() [16]byte {
	var s [16]byte
	copy(s[0:2], id[6:8])
	copy(s[2:4], id[4:6])
	copy(s[4:8], id[0:4])
	copy(s[8:], id[8:])
	return s
}

// IDFromSortable undoes Sortable.
func IDFromSortable(s [16]byte) ID {
	var id ID
	copy(id[6:8], s[0:2])
	copy(id[4:6], s[2:4])
	copy(id[0:4], s[4:8])
	copy(id[8:], s[8:])
	return id
}

// String returns the usual form, 8-4-4-4-12 hexadecimal digits.
func (id ID) String() string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// ParseID reads the form String writes. The error is CodeBadID.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, Errorf(CodeBadID, "%q is not a message id of the form 8-4-4-4-12", s)
	}
	digits := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil {
		return id, Errorf(CodeBadID, "%q is not a message id: %v", s, err)
	}
	return id, nil
}

// A Clock makes the IDs of one installation of one device. IDs from one Clock
// rise strictly, whatever the wall clock does. It is not safe for concurrent use.
type Clock struct {
	node Node
	seq  uint16
	last uint64
}

// NewClock returns a Clock. seq is drawn at random once per installation and
// kept with its state; last is the newest ID this installation has made or
// seen, or the zero ID.
func NewClock(node Node, seq uint16, last ID) *Clock {
	c := &Clock{node: node, seq: seq}
	if !last.Zero() {
		c.last = last.Ticks()
	}
	return c
}

// Next returns an ID for now (the server-corrected time) that is above every ID
// this Clock has made or been shown by See.
func (c *Clock) Next(now time.Time) ID {
	c.last = max(Ticks(now), c.last+1)
	return NewID(c.last, c.seq, c.node)
}

// See makes later IDs greater than id.
func (c *Clock) See(id ID) { c.last = max(c.last, id.Ticks()) }
