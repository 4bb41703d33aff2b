package pebble

import (
	"encoding/binary"

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
)

const (
	messageKeyBytes = 1 + 16 + 16
	expiryKeyBytes  = 1 + 8 + 16 + 16
)

// messageRange is the whole table of messages.
var messageRange = pebble.IterOptions{LowerBound: []byte{tableMessage}, UpperBound: []byte{tableMessage + 1}}

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

func appendInboxKey(dst []byte, user chat.User, pos chat.Position) []byte {
	return binary.BigEndian.AppendUint64(appendUserKey(dst, tableInbox, user), uint64(pos))
}

// positionOf reads the end of an inbox key.
func positionOf(key []byte) chat.Position {
	return chat.Position(binary.BigEndian.Uint64(key[len(key)-8:]))
}

// appendMessageKey appends the key of a message, or of its stub.
func appendMessageKey(dst []byte, table byte, c chat.ChatID, id chat.ID) []byte {
	return appendSortID(append(append(dst, table), c[:]...), id)
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
