package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// The state file is a row of commits, each written and synced before the next:
//
//	4  magic "RkS1"
//	4  length of what follows the sum, little-endian
//	4  crc32c of it, little-endian
//	   records
//
// and each record is a type byte, a varint length and a body:
//
//	identity  version 1, seq (14 bits), user, device: the first record of a file
//	node      6 bytes, then the server's clock minus ours in ns, a signed varint
//	put       a Send packet with number 0: a message enters the outbox
//	drop      16 bytes of message id: it leaves the outbox
//	cursor    position, ticks of the newest id made or seen: two varints
//
// Only the last commit can be torn, for it is synced before another is written.
// A commit that does not hold with a good one after it is damage, not a tear.
const (
	commitMagic       = "RkS1"
	commitHeaderBytes = 12
	stateVersion      = 1
)

const (
	recIdentity = 'i'
	recNode     = 'n'
	recPut      = 'p'
	recDrop     = 'd'
	recCursor   = 'c'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged is what every fault of a state file's bytes wraps.
var errDamaged = errors.New("the state file is damaged")

// state is what a state file says.
type state struct {
	user, device string
	seq          uint16
	node         chat.Node // zero until the first welcome
	offset       time.Duration
	cursor       chat.Position
	hasCursor    bool
	ticks        uint64 // of the newest id made or seen
	outbox       []stored
}

// stored is one message of the outbox.
type stored struct {
	id   chat.ID
	body []byte // a Send packet
}

// decodeState reads a file. used is where its good commits end: what follows is
// a torn tail.
func decodeState(b []byte) (s state, used int, err error) {
	for used < len(b) {
		records, n := nextCommit(b[used:])
		if n == 0 {
			break
		}
		if err := s.applyAll(records, used == 0); err != nil {
			return state{}, 0, fmt.Errorf("%w: commit at byte %d: %v", errDamaged, used, err)
		}
		used += n
	}
	if used == 0 {
		return state{}, 0, fmt.Errorf("%w: it does not begin like one", errDamaged)
	}
	if at := findCommit(b[used:]); at >= 0 {
		return state{}, 0, fmt.Errorf("%w: byte %d, with good data at byte %d", errDamaged, used, used+at)
	}
	return s, used, nil
}

// nextCommit returns the records of the commit b begins with and its size, 0
// when b begins with none.
func nextCommit(b []byte) (records []byte, n int) {
	if len(b) < commitHeaderBytes || string(b[:4]) != commitMagic {
		return nil, 0
	}
	size := uint64(binary.LittleEndian.Uint32(b[4:]))
	if size > uint64(len(b)-commitHeaderBytes) {
		return nil, 0
	}
	records = b[commitHeaderBytes : commitHeaderBytes+size]
	if crc32.Checksum(records, castagnoli) != binary.LittleEndian.Uint32(b[8:]) {
		return nil, 0
	}
	return records, commitHeaderBytes + int(size)
}

// findCommit returns where in b a whole commit begins, -1 when none does.
func findCommit(b []byte) int {
	for from := 0; ; from++ {
		at := bytes.Index(b[from:], []byte(commitMagic))
		if at < 0 {
			return -1
		}
		from += at
		if _, n := nextCommit(b[from:]); n > 0 {
			return from
		}
	}
}

// appendCommit appends a commit of records.
func appendCommit(dst, records []byte) []byte {
	dst = append(dst, commitMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(records)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(records, castagnoli))
	return append(dst, records...)
}

func appendRecord(dst []byte, kind byte, body []byte) []byte {
	dst = append(dst, kind)
	dst = binary.AppendUvarint(dst, uint64(len(body)))
	return append(dst, body...)
}

func (s *state) applyAll(records []byte, first bool) error {
	for len(records) > 0 {
		kind := records[0]
		size, n := binary.Uvarint(records[1:])
		if n <= 0 || size > uint64(len(records)-1-n) {
			return errors.New("a record is cut off")
		}
		body := records[1+n : 1+n+int(size)]
		records = records[1+n+int(size):]
		if first != (kind == recIdentity) {
			return errors.New("the identity is not the first record, and only that")
		}
		first = false
		if err := s.apply(kind, body); err != nil {
			return err
		}
	}
	return nil
}

// apply changes the state by one record; it keeps no part of body.
func (s *state) apply(kind byte, body []byte) error {
	switch kind {
	case recIdentity:
		return s.applyIdentity(body)
	case recNode:
		offset, n := binary.Varint(body[min(len(body), 6):])
		if n <= 0 {
			return errors.New("bad node record")
		}
		s.node, s.offset = chat.Node(body[:6]), time.Duration(offset)
	case recPut:
		var m packet.Send
		p, _, err := packet.Next(body)
		if err == nil {
			err = m.Decode(p)
		}
		if err != nil {
			return fmt.Errorf("bad outbox record: %w", err)
		}
		s.outbox = append(s.outbox, stored{id: m.ID, body: bytes.Clone(body)})
		s.ticks = max(s.ticks, m.ID.Ticks())
	case recDrop:
		if len(body) != 16 {
			return errors.New("bad drop record")
		}
		s.drop(chat.ID(body))
	case recCursor:
		pos, n := binary.Uvarint(body)
		ticks, m := binary.Uvarint(body[max(n, 0):])
		if n <= 0 || m <= 0 {
			return errors.New("bad cursor record")
		}
		s.cursor, s.hasCursor, s.ticks = chat.Position(pos), true, max(s.ticks, ticks)
	default:
		return fmt.Errorf("record of type %#02x is not known to this version", kind)
	}
	return nil
}

func (s *state) applyIdentity(body []byte) error {
	if len(body) < 4 || body[0] != stateVersion {
		return errors.New("written by another version of this program")
	}
	s.seq = binary.LittleEndian.Uint16(body[1:])
	userBytes := int(body[3])
	if s.seq > chat.MaxClockSeq || userBytes > len(body)-4 {
		return errors.New("bad identity record")
	}
	s.user, s.device = string(body[4:4+userBytes]), string(body[4+userBytes:])
	return nil
}

// drop removes a message, which mostly is the first.
func (s *state) drop(id chat.ID) {
	i := slices.IndexFunc(s.outbox, func(m stored) bool { return m.id == id })
	switch i {
	case -1:
	case 0:
		s.outbox[0] = stored{}
		s.outbox = s.outbox[1:]
	default:
		s.outbox = slices.Delete(s.outbox, i, i+1)
	}
}

// appendRecords appends records that make this state out of nothing.
func (s *state) appendRecords(dst []byte) []byte {
	identity := binary.LittleEndian.AppendUint16([]byte{stateVersion}, s.seq)
	identity = append(append(append(identity, byte(len(s.user))), s.user...), s.device...)
	dst = appendRecord(dst, recIdentity, identity)
	if s.node != (chat.Node{}) {
		dst = appendRecord(dst, recNode, s.nodeBody())
	}
	if s.hasCursor {
		dst = appendRecord(dst, recCursor, s.cursorBody())
	}
	for _, m := range s.outbox {
		dst = appendRecord(dst, recPut, m.body)
	}
	return dst
}

func (s *state) nodeBody() []byte {
	return binary.AppendVarint(s.node[:len(s.node):len(s.node)], int64(s.offset))
}

func (s *state) cursorBody() []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(s.cursor)), s.ticks)
}

// bytes is about what appendRecords appends.
func (s *state) bytes() int64 {
	n := int64(256)
	for _, m := range s.outbox {
		n += int64(len(m.body)) + 8
	}
	return n
}
