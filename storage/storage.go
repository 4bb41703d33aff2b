// Package storage is what is remembered: messages, inboxes, receipts, cursors,
// devices and the chats of a user. A partition's owner alone writes its rows,
// in batches that carry the owner's position; every row is a pure function of
// the log's prefix (law 3), so that applying a batch twice changes nothing.
//
// storage/pebble is the embedded implementation, storage/cql the scaled-out
// one; storage/storagetest is the contract that both pass.
package storage

import (
	"context"
	"errors"

	"github.com/rookery-chat/rookery/chat"
)

// Store is the contract. Its methods are safe for concurrent use; Apply is
// called by one goroutine a partition.
type Store interface {
	// Apply writes a batch, all of it or (embedded) nothing. When it returns,
	// reads see it. It need not be durable: what a crash takes away is applied
	// again from Mark on.
	Apply(ctx context.Context, b *Batch) error

	// Mark returns the position up to which a partition's batches are stored,
	// as the newest surviving Apply said, and the identity of the log it is of.
	// A store that never saw the partition returns the zero Mark.
	Mark(ctx context.Context, partition int) (Mark, error)

	// Applied returns the greatest Batch.Applied of a partition, at least its
	// Mark's position. Who reads it sees in later reads every row up to there,
	// also of batches that other processes applied (law 5).
	Applied(ctx context.Context, partition int) (chat.Position, error)

	// Sync makes everything applied so far durable, marks included.
	Sync(ctx context.Context) error

	// Message returns one message. found is false when there is none, or when
	// it has expired at now (ms since 1970): 0 < Expires <= now. A now of 0
	// asks whatever its expiry, and finds what Sweep deleted too, without
	// content and media, as long as its id could be sent again; a message of
	// those that had no expiry has one.
	Message(ctx context.Context, chatID chat.ChatID, id chat.ID, now int64) (m chat.Message, found bool, err error)

	// History appends to dst up to limit messages of a chat older than before
	// (the zero ID is no bound), newest first, without those expired at now.
	History(ctx context.Context, chatID chat.ChatID, before chat.ID, limit int, now int64, dst []chat.Message) ([]chat.Message, error)

	// Inbox appends to dst up to limit entries of the user's inbox with
	// after < Pos <= upTo, in order, with their messages, without those
	// expired at now or erased. Prev of the first is after, of each later one
	// the entry before it. last is the position up to which the range has been
	// read: upTo when it is done, else the last entry's Pos. A call may end
	// before its limit; where it ends without an entry, having stepped over
	// many rows, last is the last row's Pos, and the next call's first entry
	// has a Prev that no entry before it had as its Pos.
	Inbox(ctx context.Context, user chat.User, after, upTo chat.Position, limit int, now int64, dst []chat.Entry) (entries []chat.Entry, last chat.Position, err error)

	// Senders appends to dst who sent the messages at after < Pos <= upTo of
	// the user's inbox, in order, copies left out, whatever became of the
	// messages; but messages to a group that have gone are left out. A call looks at limit rows at most; last is the position up to
	// which it has looked: upTo when it is done.
	Senders(ctx context.Context, user chat.User, after, upTo chat.Position, limit int, dst []Sender) (senders []Sender, last chat.Position, err error)

	// Waiting counts inbox entries after a position, up to a maximum.
	Waiting(ctx context.Context, user chat.User, after, upTo chat.Position, maximum int) (int, error)

	// Heads appends to dst, for each of the users, the position of the newest
	// link of their chain that is stored: an inbox row or a receipt, of which
	// at least the newest few weeks count; 0 where there is none.
	Heads(ctx context.Context, users []chat.User, dst []chat.Position) ([]chat.Position, error)

	// Truncated returns the position up to which the inbox has been swept, where
	// that is above after: a device that resumes there has missed entries (law
	// 15). It is 0 where nothing above after was.
	Truncated(ctx context.Context, user chat.User, after chat.Position) (chat.Position, error)

	// Receipts appends to dst up to limit receipts of a user that changed at a
	// position after < p <= upTo, in order of the peers' names, of peers beyond
	// a name ("" is before all). Fewer than limit are the last.
	Receipts(ctx context.Context, user chat.User, after, upTo chat.Position, beyond chat.User, limit int, dst []chat.Receipt) ([]chat.Receipt, error)

	// ReadReceipts fills in of each of receipts, whose User and Peer are said, how
	// far Peer has come with what User sent, and where that changed; where nothing
	// is known of it they stay as they are.
	ReadReceipts(ctx context.Context, receipts []ReceiptAt) error

	// ReadTo returns how far user has read the chat with peer.
	ReadTo(ctx context.Context, user, peer chat.User) (chat.Position, error)

	// Cursors returns the cursors of a user's devices.
	Cursors(ctx context.Context, user chat.User) ([]Cursor, error)

	// ReadCursors fills in of each of cursors, whose User and Device are said, how
	// far the device is: its cursor, or where it began while it has none. Of a
	// device that is not there, or was revoked, it empties the UserCursor.
	ReadCursors(ctx context.Context, cursors []UserCursor) error

	// Delivered returns the furthest cursor of all the user's devices.
	Delivered(ctx context.Context, user chat.User) (chat.Position, error)

	// Chats appends to dst the user's chats, newest message first, up to limit.
	// Chats whose last message is not older than before are left out (the zero
	// ID is no bound); so the last message of a page is where the next begins.
	Chats(ctx context.Context, user chat.User, before chat.ID, limit int, now int64, dst []ChatSummary) ([]ChatSummary, error)

	// HasChat reports whether user and peer have ever exchanged a message. A
	// group is a chat of who has a row as its member and an entry of it.
	HasChat(ctx context.Context, user, peer chat.User) (bool, error)

	// Devices returns the devices of a user, those that were revoked among them,
	// in order of name.
	Devices(ctx context.Context, user chat.User) ([]Device, error)

	// PutDevice writes a device, durably before it returns (law 14), without its
	// Cursor, Label and Revoked, which stay as they are.
	PutDevice(ctx context.Context, user chat.User, d Device) error

	// LabelDevice writes the name that the user gave a device, durably before it
	// returns. found is false when there is no such device, or it was revoked.
	LabelDevice(ctx context.Context, user chat.User, device chat.Device, label string) (found bool, err error)

	// RevokeDevice takes a device away for ever, durably before it returns (law
	// 14): Devices tells when, and its keys, cursor and push target are gone and
	// do not come back, whoever writes them at the same time. at is ms since
	// 1970; of a device that was revoked before the first time stays. found is
	// false when there is no such device.
	RevokeDevice(ctx context.Context, user chat.User, device chat.Device, at int64) (found bool, err error)

	// PushTargets returns where the devices of a user can be told that something
	// waits, in order of the devices' names.
	PushTargets(ctx context.Context, user chat.User) ([]PushTarget, error)

	// PutPushTarget writes the provider and token of a device, durably before it
	// returns; an empty token forgets the target and how far it was pushed.
	PutPushTarget(ctx context.Context, user chat.User, t PushTarget) error

	// PutPushed notes that a device was told of everything up to a position.
	// It never lowers what is noted, and need not be durable.
	PutPushed(ctx context.Context, user chat.User, device chat.Device, pos chat.Position) error

	KeyStore
	GroupStore

	// LastSeen returns when the user was last connected, ms since 1970, 0 when
	// never; PutLastSeen writes it, and need not be durable.
	LastSeen(ctx context.Context, user chat.User) (int64, error)
	PutLastSeen(ctx context.Context, user chat.User, at int64) error

	// Sweep deletes what has expired at now, inbox entries taken in before
	// inboxBefore, and messages older than messagesBefore: those of which both
	// the time in the id and At are before it (all ms since 1970; 0 sweeps
	// nothing), a bounded amount a call. more says that it has to be called
	// again. From the first call that names a messagesBefore on no read shows
	// what is older, also after a crash, however far the deleting has come. A
	// chat whose messages have all gone is no more among Chats until there is a
	// new one; HasChat and the marks of its users stay.
	Sweep(ctx context.Context, now, inboxBefore, messagesBefore int64) (more bool, err error)

	Close() error
}

// ErrMarkOwner says that a batch's mark carries more than MaxMarkOwner bytes.
// Nothing of the batch was stored.
var ErrMarkOwner = errors.New("storage: the mark carries too much for its owner")

// ErrClosed says that the store was closed.
var ErrClosed = errors.New("storage: closed")

// Batch is what an owner stores at once. Everything in it lies in slices that
// the caller reuses after Apply has returned.
type Batch struct {
	Partition int

	// Messages to store. They are new: the owner has looked.
	Messages []chat.Message

	// Inbox rows. Kind is EntryMessage or EntryCopy; of Message only ID, From,
	// To and At are read, as the row refers to the message.
	Inbox []chat.Entry

	// Receipts as they are from now on, and the position that changed them.
	Receipts []ReceiptAt

	// Reads: how far a user has read a chat.
	Reads []ReadMark

	// Cursors of devices as they are from now on.
	Cursors []UserCursor

	// Groups whose info, members whose spans and marks are from now on these.
	Groups     []GroupAt
	Members    []MemberAt
	GroupMarks []GroupMark

	// Applied is how far everything of the partition is stored once this batch
	// is; 0 says nothing.
	Applied chat.Position

	// Mark to store with it; the zero Mark leaves the stored one alone. It may
	// lag behind the rows, never lead them.
	Mark Mark
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	clear(b.Messages)
	clear(b.Inbox)
	clear(b.Groups)
	clear(b.Members)
	*b = Batch{
		Messages: b.Messages[:0], Inbox: b.Inbox[:0], Receipts: b.Receipts[:0],
		Reads: b.Reads[:0], Cursors: b.Cursors[:0],
		Groups: b.Groups[:0], Members: b.Members[:0], GroupMarks: b.GroupMarks[:0],
	}
}

// Mark is how far a partition of a log is stored.
type Mark struct {
	Log      [16]byte // the log's identity
	Position chat.Position

	// Owner is what the owner has to remember as of Position, opaque to the
	// store, which keeps it with the mark and gives it back as it was. It has
	// at most MaxMarkOwner bytes; Apply refuses a batch with more.
	Owner string
}

// MaxMarkOwner is how many bytes a Mark carries for the owner.
const MaxMarkOwner = 64 << 10

// ReceiptAt is a receipt and the position of the record that changed it.
type ReceiptAt struct {
	chat.Receipt
	Pos chat.Position
}

// ReadMark is how far User has read the chat with Peer, a position in User's
// partition, and the position of the record that said so.
type ReadMark struct {
	User, Peer chat.User
	ReadTo     chat.Position
	Pos        chat.Position
}

// Sender is who sent the message at a position of a user's inbox: for a message
// to a group the group, and the message's place in its order.
type Sender struct {
	From  chat.User
	Pos   chat.Position
	Place chat.Position // 0 where From is a user
}

// Cursor is how far a device has persisted its user's chain.
type Cursor struct {
	Device   chat.Device
	Position chat.Position
}

// UserCursor is a Cursor with its user.
type UserCursor struct {
	User chat.User
	Cursor
}

// Device is one installation of a user.
type Device struct {
	Name    chat.Device
	Seq     uint16        // the clock sequence of its ids; a change tells of a clone or a new installation
	Start   chat.Position // where its chain begins
	Created int64         // ms since 1970
	Cursor  chat.Position // see Cursors; 0 where it has none
	Label   string        // what the user calls it
	Revoked int64         // ms since 1970; 0: it was not
}

// PushTarget is where a device can be reached that is not connected.
type PushTarget struct {
	Device   chat.Device
	Provider string        // such as fcm
	Token    string        // the provider's name for the device
	Pushed   chat.Position // it was told of everything up to here
}

// ChatSummary is one chat of a user.
type ChatSummary struct {
	Peer chat.User
	Last chat.Message // the newest
}
