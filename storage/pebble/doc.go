// Package pebble is the embedded store: storage.Store on one Pebble database
// in a folder of this process.
//
// # Tables
//
// The first byte of a key names its table. A user inside a key is written as
// an unsigned varint length and the name, so that no user's keys are a prefix
// of another's; a name that ends a key stands bare, which keeps rows in its
// order. Positions and times are 8 bytes, big-endian. A sort id is
// chat.ID.Sortable with every bit inverted, so that the newest comes first.
//
//	table  key                              value
//	m      chat(16) sortid(16)              message row, see below
//	s      chat(16) sortid(16)              stub: message row without content and media
//	x      expires(8) chat(16) sortid(16)   nothing: look at this message or stub then
//	i      user position(8)                 version(1) kind(1) at(8) id(16) peer
//	n      chat(16) sortid(16) ids(8)       run, see below; the key has its oldest message, and SipHash-2-4 of all ids
//	j      user position(8)                 stretch, see below; the key has its last position
//	t      user                             position(8): the inbox is swept up to here
//	c      user peer                        nothing: they have exchanged a message, or the peer is a group of the user
//	r      user peer                        delivered(8) read(8) position(8)
//	e      user peer                        read to(8) position(8)
//	u      user device                      position(8): the device's cursor
//	d      user device                      version(1) seq(2) start(8) created(8)
//	a      user device                      what the user calls the device
//	q      user device                      time(8), ms since 1970: the device was revoked
//	l      user                             last seen(8), ms since 1970
//	k      partition(4)                     log identity(16) position(8) owner's bytes
//	y      user                             identity key
//	z      user device                      version(1) gone(1) v upto, s identity, s curve, s signing, s signature, v id, s key, s signature
//	o      user vdevice id(8)               s key, signature to the end
//	h      group                            position(8) info
//	b      group user                       position(8), spans: see storage.AppendSpans
//	f      group user                       delivered(8) read(8) position(8)
//	g                                       time(8), ms since 1970: older messages are gone
//	v                                       format(8) of the store; 1 where there is none
//
// A message row, version 1; "v" is an unsigned varint, "s" is v length then
// bytes:
//
//	version(1) suite(1) v at, v place, v expires, s from, s to, s media, content to the end
//
// # Runs and stretches
//
// Of a chat with many messages in a batch, or an inbox with many entries, they
// share a row: a burst of 64 is two rows instead of 128. A run has messages that
// do not expire, newest first, their ids within a second; a stretch has entries
// in order, each with its distance below the position in the key:
//
//	run      version(1), then each message: id(16) s(message row)
//	stretch  version(1), then each entry: v distance, s(inbox row)
//
// Where batches are cut depends on the owner, and after a crash they are cut at
// other places: then runs and stretches overlap, and reads leave out what they
// have had. So what is read is a function of the log, though rows are not. The
// copy of a message for its sender's other devices may be in another run than
// the receiver's owner wrote: then it is stored twice.
//
// # What refers to what
//
// Else the body of a message is stored once: the inbox row names the peer and the
// id, and with its user they name the message. A chat has a row for each of
// its two users, written with its messages until this process remembers that it
// was, and never changed.
//
// # Expiry
//
// A message has expired at now when 0 < Expires <= now: from then on reads with
// that now leave it out. It has a row of its own. Sweep deletes it and leaves a stub in another table,
// where histories need not step over it, until stubDays after the time in its
// id. Sends that are older than that are refused, so the id cannot come back.
// A stub answers Message alone, and only when now is 0.
//
// # Retention
//
// Sweep writes the time before which messages are to go, synced, and from then
// on every read leaves them out: what is shown does not depend on how far the
// deleting has come, nor on a crash in the middle of it. Then it goes round
// the chats, one seek each. As a chat's newest comes first, the old ones are
// its end: down to stubDays below that time each row is looked at, as a message
// may be taken in long after the time in its id, and the rest goes as one
// range. A run goes with the last of its messages. There is no index by age: taking a message in writes nothing for it.
//
// # Durability
//
// Apply writes a batch's rows and its mark as one Pebble batch, unsynced.
// Pebble's log is one sequence, so that what survives a crash is all batches
// up to some point: a mark never leads its rows. Sync, PutDevice
// and changes of public keys wait for the disk. A write that fails in Pebble's log ends the process, as what is
// durable is then not known.
package pebble
