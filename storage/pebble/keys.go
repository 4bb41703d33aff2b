package pebble

import (
	"encoding/binary"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rookery-chat/rookery/chat"
)

// The tables; the package's doc has their layouts.
const (
	tableMessage   = 'm'
	tableStub      = 's'
	tableExpiry    = 'x'
	tableInbox     = 'i'
	tableTruncated = 't'
	tableChat      = 'c'
	tableReceipt   = 'r'
	tableRead      = 'e'
	tableCursor    = 'u'
	tableDevice    = 'd'
	tableLastSeen  = 'l'
	tableMark      = 'k'
	tableKept      = 'g'
	tablePush      = 'p'
	tablePushed    = 'w'
	tableIdentity  = 'y'
	tableKeys      = 'z'
	tableOneTime   = 'o'
	tableRun       = 'n' // right behind tableMessage: Sweep goes through both
	tableStretch   = 'j' // right behind tableInbox
	tableFormat    = 'v'
	tableGroup     = 'h'
	tableMember    = 'b'
	tableGroupMark = 'f'
	tableLabel     = 'a'
	tableRevoked   = 'q'
)

const (
	messageKeyBytes = 1 + 16 + 16
	runKeyBytes     = messageKeyBytes + 8
	expiryKeyBytes  = 1 + 8 + 16 + 16
)

// The whole tables of messages and of runs.
var (
	messageRange = pebble.IterOptions{LowerBound: []byte{tableMessage}, UpperBound: []byte{tableMessage + 1}}
	runRange     = pebble.IterOptions{LowerBound: []byte{tableRun}, UpperBound: []byte{tableRun + 1}}
)

// maxPosition is above all positions that there are.
const maxPosition = math.MaxUint64

// appendUserKey appends the part of a key that all rows of a user share.
func appendUserKey(dst []byte, table byte, user chat.User) []byte {
	dst = binary.AppendUvarint(append(dst, table), uint64(len(user)))
	return append(dst, user...)
}

// appendPairKey appends the key of a row of (user, other); other is a peer or
// a device.
func appendPairKey[S ~string](dst []byte, table byte, user chat.User, other S) []byte {
	return append(appendUserKey(dst, table, user), other...)
}

// appendInboxKey appends the key of an inbox row, or of the stretch that ends at
// the position.
func appendInboxKey(dst []byte, table byte, user chat.User, pos chat.Position) []byte {
	return binary.BigEndian.AppendUint64(appendUserKey(dst, table, user), uint64(pos))
}

// positionOf reads the end of an inbox key.
func positionOf(key []byte) chat.Position {
	return chat.Position(binary.BigEndian.Uint64(key[len(key)-8:]))
}

// appendMessageKey appends the key of a message, of its stub, or what the key of
// a run begins with of which it is the oldest.
func appendMessageKey(dst []byte, table byte, c chat.ChatID, id chat.ID) []byte {
	return appendSortID(append(append(dst, table), c[:]...), id)
}

// appendTicksKey appends the least key of a message of a chat whose id is from
// before a time: no message has the key itself.
func appendTicksKey(dst []byte, table byte, c chat.ChatID, ticks uint64) []byte {
	return append(appendMessageKey(dst, table, c, chat.NewID(ticks, 0, chat.Node{})), 0)
}

func appendExpiryKey(dst []byte, at int64, c chat.ChatID, id chat.ID) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, tableExpiry), uint64(at))
	return appendSortID(append(dst, c[:]...), id)
}

func appendMarkKey(dst []byte, partition int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, tableMark), uint32(partition))
}

func appendSortID(dst []byte, id chat.ID) []byte {
	s := id.Sortable()
	for i := range s {
		s[i] = ^s[i]
	}
	return append(dst, s[:]...)
}

// oldestOf reads the key of a run.
func oldestOf(key []byte) chat.ID { return idOfSortID(key[:messageKeyBytes]) }

// idOfSortID undoes appendSortID on the last 16 bytes of a key.
func idOfSortID(key []byte) chat.ID {
	s := [16]byte(key[len(key)-16:])
	for i := range s {
		s[i] = ^s[i]
	}
	return chat.IDFromSortable(s)
}

// after appends the least key above every key that begins with prefix.
// A table's byte is never 255, so there always is one.
func after(dst, prefix []byte) []byte {
	dst = append(dst, prefix...)
	for i := len(dst) - 1; i >= 0; i-- {
		if dst[i]++; dst[i] != 0 {
			return dst[:i+1]
		}
	}
	return dst
}
