// Package chat holds the words of the domain: users, devices, message ids,
// chats, positions, messages, receipts and error codes. It does no I/O and
// imports nothing of Rookery's. It is public API.
package chat

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limits of names, in bytes. They are part of the wire and not configurable.
const (
	MaxUserName = 64 // a user's name, without tenant
	MaxTenant   = 32 // a tenant's name
	MaxDevice   = 32 // a device's name
)

// User names an account: "name" in the default tenant, "tenant/name" in
// another. On the wire of a session only the name appears; the tenant is the
// token's.
type User string

// Device names one installation of a user.
type Device string

// NewUser checks a name (1 to MaxUserName bytes of letters, digits and ._@+-)
// and joins it to its tenant ("" is the default one). The error is CodeBadName.
func NewUser(tenant, name string) (User, error) {
	if err := checkName("user", name, MaxUserName, "._@+-"); err != nil {
		return "", err
	}
	if tenant == "" {
		return User(name), nil
	}
	if err := checkName("tenant", tenant, MaxTenant, "._-"); err != nil {
		return "", err
	}
	return User(tenant + "/" + name), nil
}

// Name returns the user's name without the tenant.
func (u User) Name() string {
	if i := strings.IndexByte(string(u), '/'); i >= 0 {
		return string(u[i+1:])
	}
	return string(u)
}

// Tenant returns the user's tenant, "" for the default one.
func (u User) Tenant() string {
	if i := strings.IndexByte(string(u), '/'); i >= 0 {
		return string(u[:i])
	}
	return ""
}

// NewDevice checks a device's name: 1 to MaxDevice bytes of letters, digits
// and ._-. The error is CodeBadName.
func NewDevice(name string) (Device, error) {
	if err := checkName("device", name, MaxDevice, "._-"); err != nil {
		return "", err
	}
	return Device(name), nil
}

func checkName(what, s string, maxBytes int, punctuation string) error {
	if s == "" || len(s) > maxBytes {
		return Errorf(CodeBadName, "a %s's name has 1 to %d bytes, this one has %d", what, maxBytes, len(s))
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !nameByte(c, punctuation) {
			return Errorf(CodeBadName, "a %s's name is letters, digits and %s; byte %d is %#02x", what, punctuation, i, c)
		}
	}
	return nil
}

// ChatID names a conversation, 16 raw bytes.
type ChatID [16]byte

// DirectChat derives the chat of two users: the first 16 bytes of
// SHA-256("rookery direct chat" 00 first 00 second), the users in byte order.
// It is symmetric, and a user may chat with themself.
func DirectChat(a, b User) ChatID {
	if b < a {
		a, b = b, a
	}
	var buf [256]byte
	in := append(buf[:0], "rookery direct chat\x00"...)
	in = append(append(append(in, a...), 0), b...)
	sum := sha256.Sum256(in)
	return ChatID(sum[:16])
}

// Position is a place in the log of the partition that owns a user: 16 bits of
// epoch, then 48 bits of offset. Offsets start at 1, so the zero Position is
// before everything. Positions of one user only ever grow.
type Position uint64

// MaxOffset is the largest offset of a Position.
const MaxOffset = 1<<48 - 1

// NewPosition joins an epoch and an offset (at most MaxOffset).
func NewPosition(epoch uint16, offset uint64) Position {
	return Position(uint64(epoch)<<48 | offset&MaxOffset)
}

// Epoch returns the position's epoch.
func (p Position) Epoch() uint16 { return uint16(p >> 48) }

// Offset returns the position's offset in its epoch.
func (p Position) Offset() uint64 { return uint64(p) & MaxOffset }

// String returns "offset" in epoch 0, else "epoch:offset".
func (p Position) String() string {
	if p.Epoch() == 0 {
		return strconv.FormatUint(p.Offset(), 10)
	}
	return fmt.Sprintf("%d:%d", p.Epoch(), p.Offset())
}

// ParsePosition reads the form String writes. The error is CodeBadPosition.
func ParsePosition(s string) (Position, error) {
	epoch, offset, found := strings.Cut(s, ":")
	if !found {
		epoch, offset = "0", s
	}
	e, err1 := strconv.ParseUint(epoch, 10, 16)
	o, err2 := strconv.ParseUint(offset, 10, 48)
	if err1 != nil || err2 != nil {
		return 0, Errorf(CodeBadPosition, "%q is not a position: write OFFSET or EPOCH:OFFSET", s)
	}
	return NewPosition(uint16(e), o), nil
}

// Message is one stored message. Content is opaque to the server.
type Message struct {
	ID      ID
	From    User
	To      User     // the receiver, or the group
	Place   Position // where it lies in the receiver's or group's partition; ticks compare with it
	At      int64    // when the server took it in, ms since 1970
	Expires int64    // when it ends, ms since 1970; 0 is never
	Suite   uint8    // how Content is encrypted; SuitePlain is not at all
	Content []byte
	Media   string // a URL beside the content, mostly ""
}

// Suites say how content is encrypted; docs/encryption.md has their bytes.
const (
	SuitePlain    = 0 // not at all
	SuiteMegolm   = 1 // a Megolm message
	SuiteKeyShare = 2 // keys of Megolm sessions, over Olm, for devices: nothing to show
	SuiteGroup    = 3 // a Change of a group, which the server reads
)

// Chat returns the chat the message belongs to.
func (m *Message) Chat() ChatID { return ChatOf(m.From, m.To) }

// Receipt says how far Peer has come with what User sent to Peer. Both marks
// are positions in Peer's partition, cumulative: a message is delivered when
// its Place <= Delivered, and read when its Place <= Read. Where Peer is a group
// the marks are places in the group's order, up to where all members have come.
type Receipt struct {
	User      User
	Peer      User
	Delivered Position
	Read      Position
}

// Status is how far a message has come.
type Status uint8

// The states of a message, in the only order they are passed.
const (
	Sent      Status = 1 + iota // durable in the log
	Delivered                   // persisted by a device of the receiver
	Read                        // shown by a device of the receiver
)

// String returns "sent", "delivered" or "read".
func (s Status) String() string {
	switch s {
	case Sent:
		return "sent"
	case Delivered:
		return "delivered"
	case Read:
		return "read"
	}
	return "unknown"
}

// StatusOf returns the state of a message at place under a receipt.
func StatusOf(place Position, r Receipt) Status {
	switch {
	case place <= r.Read:
		return Read
	case place <= r.Delivered:
		return Delivered
	}
	return Sent
}

// EntryKind says what an Entry of a user's chain is.
type EntryKind uint8

// The kinds of entry.
const (
	EntryMessage EntryKind = 1 + iota // a message to the user
	EntryCopy                         // a message the user sent, for the user's other devices
	EntryReceipt                      // a receipt for what the user sent; has no inbox row
)

// Entry is one link of a user's chain: everything that concerns the user, in
// the order of the user's partition. Prev is the position of the link before
// it; who has everything up to Prev may take the entry without a gap.
type Entry struct {
	Kind    EntryKind
	User    User // whose chain it is
	Pos     Position
	Prev    Position
	Message Message // for EntryMessage and EntryCopy
	Receipt Receipt // for EntryReceipt
}

// With returns whom the entry's user has the chat with that it is of: a user or
// a group.
func (e *Entry) With() User {
	switch {
	case e.Kind == EntryReceipt:
		return e.Receipt.Peer
	case e.Kind == EntryCopy || e.Message.To.IsGroup():
		return e.Message.To
	}
	return e.Message.From
}

// MillisNow is the wall clock in the unit records and rows use.
func MillisNow() int64 { return time.Now().UnixMilli() }

// ValidUserName reports whether b is a user's name without tenant, as NewUser
// demands it. It does not allocate.
func ValidUserName(b []byte) bool {
	if len(b) == 0 || len(b) > MaxUserName {
		return false
	}
	for _, c := range b {
		if !nameByte(c, "._@+-") {
			return false
		}
	}
	return true
}

func nameByte(c byte, punctuation string) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte(punctuation, c) >= 0
}

// Outcome tells a sender of an accepted message: CodeOK and its first place
// when it had been stored before, another code when it was not stored.
type Outcome struct {
	User   User // the sender
	Device Device
	ID     ID
	To     User
	Code   Code
	Place  Position
}
