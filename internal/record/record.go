// Package record is the log's record: the facts that gateways and owners append
// to a partition, as bytes. Everything stored is a function of these records
// (law 3), so their layout is versioned and decoders accept older versions.
//
// Layout of a record, version 1; integers are little-endian, "v" is an unsigned
// varint (encoding/binary), "s" is v length then bytes:
//
//	byte 0     version, 1
//	byte 1     kind
//	byte 2     flags
//	byte 3     suite of the content
//	4..11      append time, ms since 1970
//	s user     whose partition this is in
//	s peer     the other user, empty for a Mark
//	s device   the device it came from, empty for a Receipt
//	v place    position, meaning by kind
//	v read     position, for a Receipt
//	then for Message, Copy, Fanout and Forward only:
//	16         message id
//	v ttl      time to live in ms, 0 is for ever
//	s media
//	s content
//
// While a cluster is upgraded, two versions of the program append to one log and
// read what the other has appended. So what a version writes, the one before can
// read:
//
//   - A field is added behind the last one, a flag takes a free bit. Who does not
//     know them passes over them, so they say nothing that may not be missed.
//   - A kind, and a layout with another version number, is read by one version
//     of the program and written by the next one. Only what an operator begins
//     once every process can read it, as the kinds that end an epoch, may be
//     written at once.
//
// What is of a later version all the same, as after a way back, is no record to
// its owner, who puts it aside whole; a program that can read it appends it
// again (`rookery admin deadletters`).
package record

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/rookery-chat/rookery/chat"
)

// Version is the version Append writes.
const Version = 1

// Kind says what a record is.
type Kind uint8

// The kinds of record.
const (
	// Message is a message from Peer (its Device) to User. Where User is a group,
	// Place is how many members it may have.
	Message Kind = 1 + iota
	// Copy tells the sender's own devices of a message: User sent it to Peer,
	// Place is its place in Peer's partition. Derived by the owner.
	Copy
	// Mark is a device's word that it has persisted everything up to Place.
	Mark
	// Read is a device's word that it has shown the chat with Peer up to Place.
	Read
	// Receipt tells User how far Peer has come: Place is delivered, ReadTo is
	// read, both in Peer's partition. Derived by the owner. Where User is a group,
	// Place and ReadTo are in the group's order.
	Receipt
	// Fanout tells members of the group Peer, all of one partition, of its message
	// ID at Place: Content is their names (AppendName), User the first of them.
	// Derived by the owner.
	Fanout
)

// The kinds of record that end an epoch (law 16). A program that does not know
// them puts them aside as dead letters, and says their number.
const (
	// Seal ends a partition of an epoch: what comes after it belongs to the epoch
	// that begins at Place. It has no user.
	Seal Kind = 16 + iota
	// Forward carries a record that came after its partition's seal: Content is
	// that record, Place where it was, User is its user. Derived by the owner.
	Forward
)

// Flags of a record.
const (
	FlagRetry = 1 << iota // the sender has sent this id before
	FlagCopy              // the sender has other devices that want a copy
)

// Record is one decoded record. The byte slices lie in the buffer it was
// decoded from and live as long as that.
type Record struct {
	Kind    Kind
	Flags   uint8
	Suite   uint8
	At      int64 // append time, ms since 1970
	User    []byte
	Peer    []byte
	Device  []byte
	Place   chat.Position
	ReadTo  chat.Position
	ID      chat.ID
	TTL     uint64 // ms
	Media   []byte
	Content []byte
}

// ErrCorrupt is what every fault of a record's bytes wraps.
var ErrCorrupt = errors.New("record: not a record")

// Append appends the record's bytes to dst. It allocates only to grow dst.
func Append(dst []byte, r *Record) []byte {
	dst = append(dst, Version, byte(r.Kind), r.Flags, r.Suite)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.At))
	dst = appendBytes(dst, r.User)
	dst = appendBytes(dst, r.Peer)
	dst = appendBytes(dst, r.Device)
	dst = binary.AppendUvarint(dst, uint64(r.Place))
	dst = binary.AppendUvarint(dst, uint64(r.ReadTo))
	if r.Kind.hasContent() {
		dst = append(dst, r.ID[:]...)
		dst = binary.AppendUvarint(dst, r.TTL)
		dst = appendBytes(dst, r.Media)
		dst = appendBytes(dst, r.Content)
	}
	return dst
}

func (k Kind) hasContent() bool { return k == Message || k == Copy || k == Fanout || k == Forward }

func (k Kind) known() bool { return k >= Message && k <= Fanout || k == Seal || k == Forward }

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// Decode reads the record that b is, without copying. Every error wraps
// ErrCorrupt. Bytes after the last known field are left for later versions.
func (r *Record) Decode(b []byte) error {
	if len(b) < 12 {
		return fmt.Errorf("%w: %d bytes, the header has 12", ErrCorrupt, len(b))
	}
	if b[0] != Version {
		return fmt.Errorf("%w: version %d, this program reads %d", ErrCorrupt, b[0], Version)
	}
	*r = Record{Kind: Kind(b[1]), Flags: b[2], Suite: b[3], At: int64(binary.LittleEndian.Uint64(b[4:]))}
	if !r.Kind.known() {
		return fmt.Errorf("%w: kind %d", ErrCorrupt, r.Kind)
	}
	d := decoder{rest: b[12:]}
	r.User, r.Peer, r.Device = d.bytes(), d.bytes(), d.bytes()
	r.Place, r.ReadTo = chat.Position(d.uvarint()), chat.Position(d.uvarint())
	if r.Kind.hasContent() {
		copy(r.ID[:], d.take(16))
		r.TTL = d.uvarint()
		r.Media, r.Content = d.bytes(), d.bytes()
	}
	if d.short {
		return fmt.Errorf("%w: cut off", ErrCorrupt)
	}
	return nil
}

// KindOf returns the kind of an encoded record without decoding it, 0 of one that
// is too short to have any.
func KindOf(b []byte) Kind {
	if len(b) < 2 {
		return 0
	}
	return Kind(b[1])
}

// decoder walks a record's fields; after the first short read all are empty.
type decoder struct {
	rest  []byte
	short bool
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.short, d.rest = true, nil
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.short, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) bytes() []byte { return d.take(d.uvarint()) }

// AppendFramed appends the record with a 4-byte little-endian length before it,
// the form in which records stand one after another in a batch.
func AppendFramed(dst []byte, r *Record) []byte {
	start := len(dst)
	dst = Append(append(dst, 0, 0, 0, 0), r)
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// NextFramed splits the first framed record off a batch.
func NextFramed(batch []byte) (rec, rest []byte, err error) {
	if len(batch) < 4 {
		return nil, nil, fmt.Errorf("%w: a batch ends in a length", ErrCorrupt)
	}
	n := uint64(binary.LittleEndian.Uint32(batch))
	if n > uint64(len(batch)-4) {
		return nil, nil, fmt.Errorf("%w: a batch ends in a record", ErrCorrupt)
	}
	return batch[4 : 4+n : 4+n], batch[4+n:], nil
}

// AppendName appends one of the names that a Fanout has: its length as an
// unsigned varint, and the name with its tenant.
func AppendName(dst, name []byte) []byte { return appendBytes(dst, name) }

// NextName splits the first name off those of a Fanout.
func NextName(names []byte) (name, rest []byte, err error) {
	d := decoder{rest: names}
	name = d.bytes()
	if d.short || len(name) == 0 {
		return nil, nil, fmt.Errorf("%w: a name is cut off", ErrCorrupt)
	}
	return name, d.rest, nil
}
