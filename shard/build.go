package shard

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/dchest/siphash"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
)

// build gathers the next cycle from the read batch: its rows, entries, outcomes
// and derived records.
func (w *worker) build(ctx context.Context) error {
	w.batch.Reset()
	w.entries, w.outcomes = w.entries[:0], w.outcomes[:0]
	clear(w.receipts)
	w.receipts = w.receipts[:0]
	w.merged.clear()
	w.owing.clear()
	w.cut, w.stalled, w.full, w.scanned = false, false, false, 0
	w.forgetBlocks(keptBlocks)
	w.openCycle()
	n := 0
	for ; w.left > 0 && n < w.opt.BatchRecords; n++ {
		raw, rest, err := record.NextFramed(w.rest)
		if err != nil {
			w.skipRest(err)
			break
		}
		pos := w.next()
		w.built = n
		if err := w.record(ctx, raw, pos); err != nil {
			return err
		}
		if w.cut {
			break // the next cycle goes on with this record
		}
		w.noteUnpacked()
		w.rest = rest
		w.took(1, pos)
		if w.full {
			n++
			break
		}
	}
	if w.stalled {
		return nil
	}
	w.stageReceipts()
	w.tellSenders()
	w.counts.Records += uint64(n)
	w.counts.Largest = max(w.counts.Largest, uint64(n))
	w.counts.Cycles++
	return nil
}

// skipRest skips what follows a record whose frame is broken.
func (w *worker) skipRest(err error) {
	w.deadLetter(w.next(), w.rest, fmt.Errorf("%w; %d records are skipped", err, w.left))
	w.counts.DeadLetters += uint64(w.left - 1)
	w.took(w.left, w.upTo)
}

var (
	errMisrouted = errors.New("shard: the user is not of this partition")
	errNoPeer    = errors.New("shard: the peer's name is empty")
)

// record builds what follows from the record at a position. It sets cut when it
// has done a part of it only.
func (w *worker) record(ctx context.Context, raw []byte, pos chat.Position) error {
	r := &w.rec
	if err := r.Decode(raw); err != nil {
		w.deadLetter(pos, raw, err)
		return nil
	}
	if r.Kind == record.Seal {
		w.seal(pos)
		return nil
	}
	w.carried, w.sourceAt = r.Kind == record.Forward, 0
	if w.carried {
		inner, err := w.unpack()
		if err != nil {
			w.deadLetter(pos, raw, err)
		}
		if inner == nil {
			return nil
		}
		raw = inner
	}
	user := w.ring.hash(r.User)
	switch {
	case len(r.User) == 0 || w.ring.partitionOf(user) != w.p:
		w.deadLetter(pos, raw, errMisrouted)
		return nil
	case len(r.Peer) == 0 && r.Kind != record.Mark:
		w.deadLetter(pos, raw, errNoPeer)
		return nil
	}
	counted := r.Kind == record.Copy || r.Kind == record.Fanout
	if counted && w.takenBefore() {
		return nil
	}
	if w.sealed.Load() > 0 {
		if counted {
			w.noteTaken()
		}
		return w.forward(ctx, user, raw, pos)
	}
	switch r.Kind {
	case record.Message:
		return w.message(ctx, user, pos)
	case record.Copy:
		w.copied(user, pos)
	case record.Mark:
		return w.mark(ctx, user, pos)
	case record.Read:
		return w.readTo(ctx, pos)
	case record.Receipt:
		return w.receipt(ctx, user, pos)
	case record.Fanout:
		return w.fannedOut(ctx, raw, pos)
	}
	return nil
}

// deadLetter passes over a record, which the log keeps for an operator.
func (w *worker) deadLetter(pos chat.Position, raw []byte, err error) {
	if n := w.counts.DeadLetters; n&(n+1) == 0 {
		w.logger.Error("record skipped", "pos", pos.String(), "err", err, "skipped", n+1)
	}
	w.counts.DeadLetters++
	w.log.DeadLetter(w.p, pos, err.Error(), raw)
}

// link appends an entry to its user's chain. Where the head is not remembered
// it is below all that are: who has everything up to there misses nothing.
func (w *worker) link(user uint64, e chat.Entry) {
	e.Prev = w.floor
	if head, ok := w.heads.get(user); ok {
		e.Prev = chat.Position(head)
	}
	w.floor = max(w.floor, chat.Position(w.heads.put(user, uint64(e.Pos))))
	w.entries = append(w.entries, e)
	w.arrived(user, &e)
	if e.Kind != chat.EntryReceipt {
		w.batch.Inbox = append(w.batch.Inbox, e)
	}
}

// arrived remembers a message for the mark that will be about it, and the message
// before it, which is known for longer than all that came between them. The first
// entry of a chain that is seen, whatever it is, tells where none is above.
func (w *worker) arrived(user uint64, e *chat.Entry) {
	at, ok := w.messages.get(user)
	prev := chat.Position(at)
	if !ok {
		prev = e.Prev
	}
	if e.Kind != chat.EntryMessage {
		if !ok {
			w.messages.put(user, uint64(prev))
		}
		return
	}
	w.messages.put(user, uint64(e.Pos))
	if e.Message.To.IsGroup() {
		w.arrivals.putFan(user, w.fanned, e, prev)
	} else {
		w.arrivals.put(user, e, prev, senderOf(e))
	}
}

// senderOf is who gets a receipt for an entry, which may be a group; empty is
// nobody.
func senderOf(e *chat.Entry) chat.User {
	if e.Kind != chat.EntryMessage {
		return ""
	}
	return e.With()
}

// What hashKey is asked for.
const (
	keySender    = 's' // sender and node: whose ids these are
	keyReceipt   = 'r' // user, peer: what is delivered
	keyReceiptTo = 't' // user, peer: what is read
	keyOwing     = 'o' // user, peer
	keyCursor    = 'c' // user, device
	keyDelivered = 'd' // user
	keyRead      = 'e' // user, peer
	keyMember    = 'g' // group, member
	keyFanout    = 'f' // group, message
	keyBlocks    = 'b' // user
)

// hashKey is the keyed hash of two names and what it stands for.
func (w *worker) hashKey(kind byte, a, b, more []byte) uint64 {
	w.key = append(w.key[:0], kind, byte(len(a)), byte(len(a)>>8))
	w.key = append(append(append(w.key, a...), b...), more...)
	return siphash.Hash(w.ring.user.k0, w.ring.user.k1, w.key)
}

// maxTTLMs keeps absurd times to live from wrapping round: 10,000 years.
const maxTTLMs = 10_000 * 365 * 24 * 3600 * 1000

// expires is when the message of a record ends: absolute, from the time in the
// record.
func expires(r *record.Record) int64 {
	if r.TTL == 0 {
		return 0
	}
	return min(max(r.At, 0), math.MaxInt64-maxTTLMs) + int64(min(r.TTL, maxTTLMs))
}
