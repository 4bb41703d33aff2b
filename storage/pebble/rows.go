package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// rowVersion is the version of message, inbox and device rows written here.
const rowVersion = 1

const (
	inboxRowHead   = 1 + 1 + 8 + 16
	deviceRowBytes = 1 + 2 + 8 + 8
	markRowBytes   = 16 + 8
)

// errCorrupt is what every fault of a row's bytes wraps.
var errCorrupt = errors.New("storage/pebble: corrupt row")

// appendMessage appends a message's row, without what its key holds. A stub is
// the row of a message without content and media.
func appendMessage(dst []byte, m *chat.Message) []byte {
	dst = append(dst, rowVersion, m.Suite)
	dst = binary.AppendUvarint(dst, uint64(m.At))
	dst = binary.AppendUvarint(dst, uint64(m.Place))
	dst = binary.AppendUvarint(dst, uint64(m.Expires))
	dst = appendString(dst, m.From)
	dst = appendString(dst, m.To)
	dst = appendString(dst, m.Media)
	return append(dst, m.Content...)
}

func appendString[S ~string](dst []byte, s S) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// decodeMessage reads a message's row into m, all but the id, which its key
// has. It copies what it keeps; users that m already names are not copied again.
func decodeMessage(row []byte, m *chat.Message) error {
	if len(row) < 2 || row[0] != rowVersion {
		return fmt.Errorf("%w: a message of %d bytes, or of a later version", errCorrupt, len(row))
	}
	d := rowDecoder{rest: row[2:]}
	m.Suite = row[1]
	m.At = int64(d.uvarint())
	m.Place = chat.Position(d.uvarint())
	m.Expires = int64(d.uvarint())
	m.From = keep(m.From, d.bytes())
	m.To = keep(m.To, d.bytes())
	m.Media = string(d.bytes())
	if d.short {
		return fmt.Errorf("%w: a message is cut off", errCorrupt)
	}
	m.Content = nil
	if len(d.rest) > 0 {
		m.Content = append([]byte(nil), d.rest...)
	}
	return nil
}

// timesOf reads only when a message was taken in, and when it expires; 0 is
// never.
func timesOf(row []byte) (at, expires int64, err error) {
	if len(row) < 2 || row[0] != rowVersion {
		return 0, 0, fmt.Errorf("%w: a message of %d bytes, or of a later version", errCorrupt, len(row))
	}
	d := rowDecoder{rest: row[2:]}
	at = int64(d.uvarint())
	d.uvarint()
	expires = int64(d.uvarint())
	if d.short {
		return 0, 0, fmt.Errorf("%w: a message is cut off", errCorrupt)
	}
	return at, expires, nil
}

func expired(expires, now int64) bool { return expires > 0 && expires <= now }

// keep is string(b), old itself where that is the same.
func keep(old chat.User, b []byte) chat.User {
	if string(old) == string(b) {
		return old
	}
	return chat.User(b)
}

// rowDecoder walks a row's fields; after the first short read all are empty.
type rowDecoder struct {
	rest  []byte
	short bool
}

func (d *rowDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.short, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *rowDecoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.short, d.rest = true, nil
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

// inboxRow is a decoded inbox row. peer lies in the row's bytes.
type inboxRow struct {
	kind chat.EntryKind
	at   int64
	id   chat.ID
	peer []byte
}

func appendInbox(dst []byte, e *chat.Entry) []byte {
	peer := e.With()
	dst = append(dst, rowVersion, byte(e.Kind))
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Message.At))
	dst = append(dst, e.Message.ID[:]...)
	return append(dst, peer...)
}

func decodeInbox(row []byte) (inboxRow, error) {
	if len(row) < inboxRowHead || row[0] != rowVersion {
		return inboxRow{}, fmt.Errorf("%w: an inbox row of %d bytes, or of a later version", errCorrupt, len(row))
	}
	return inboxRow{
		kind: chat.EntryKind(row[1]),
		at:   int64(binary.BigEndian.Uint64(row[2:])),
		id:   chat.ID(row[10:26]),
		peer: row[inboxRowHead:],
	}, nil
}

func appendDevice(dst []byte, d storage.Device) []byte {
	dst = binary.BigEndian.AppendUint16(append(dst, rowVersion), d.Seq)
	return appendUint64s(dst, uint64(d.Start), uint64(d.Created))
}

func decodeDevice(row []byte, d *storage.Device) error {
	if len(row) < deviceRowBytes || row[0] != rowVersion {
		return fmt.Errorf("%w: a device of %d bytes, or of a later version", errCorrupt, len(row))
	}
	d.Seq = binary.BigEndian.Uint16(row[1:])
	d.Start = chat.Position(binary.BigEndian.Uint64(row[3:]))
	d.Created = int64(binary.BigEndian.Uint64(row[11:]))
	return nil
}

// appendUint64s writes the rows that are positions and times alone.
func appendUint64s(dst []byte, vs ...uint64) []byte {
	for _, v := range vs {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	return dst
}

// readUint64s reads what appendUint64s wrote.
func readUint64s(row []byte, vs ...*uint64) error {
	if len(row) != 8*len(vs) {
		return fmt.Errorf("%w: %d bytes where %d numbers should be", errCorrupt, len(row), len(vs))
	}
	for i, v := range vs {
		*v = binary.BigEndian.Uint64(row[8*i:])
	}
	return nil
}
