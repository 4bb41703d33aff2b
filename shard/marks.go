package shard

import (
	"context"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/internal/view"
	"github.com/rookery-chat/rookery/storage"
)

const (
	scanRows  = 256  // inbox rows asked for at once
	cycleRows = 4096 // inbox rows after which a cycle ends, in the middle of a Mark if need be
)

// receipt is one that the cycle owes to User: it comes from Peer.
type receipt struct {
	chat.Receipt
	at int64 // of the newest record that caused it
}

// mark takes a device's word that it has persisted its chain up to a place, and
// tells the senders of what became delivered by it.
func (w *worker) mark(ctx context.Context, hash uint64, pos chat.Position) error {
	r := &w.rec
	user, device := view.String[chat.User](r.User), view.String[chat.Device](r.Device)
	place := min(r.Place, pos)
	cursorKey, deliveredKey := w.hashKey(keyCursor, r.User, r.Device, nil), w.hashKey(keyDelivered, r.User, nil, nil)
	found := true
	cursor, err := w.cell(ctx, cursorKey, "cursor", func() (at chat.Position, err error) {
		c := []storage.UserCursor{{User: user, Cursor: storage.Cursor{Device: device}}}
		err = w.store.ReadCursors(ctx, c)
		found = c[0].User != ""
		return c[0].Position, err
	})
	if err != nil || place <= cursor {
		return err
	}
	// Until another device marks, the user is taken to be as far as this one: what
	// that has further is owed again, which changes nothing; but where the user
	// blocks somebody, what was not owed then would be now.
	delivered, err := w.cell(ctx, deliveredKey, "delivered", func() (chat.Position, error) {
		if found && !w.mayBlock(user) {
			return cursor, nil
		}
		return w.store.Delivered(ctx, user)
	})
	if err != nil {
		return err
	}
	if delivered = max(delivered, cursor); place > delivered {
		known, err := w.deliveredLately(ctx, hash, user, delivered, place, pos)
		if err != nil {
			return err
		}
		if !known {
			if place, err = w.deliveredBy(ctx, user, delivered, place, pos); err != nil {
				return err
			}
		}
		w.setCell(deliveredKey, place)
	}
	w.setCell(cursorKey, place)
	w.cur.cursors = append(w.cur.cursors, storage.UserCursor{
		User:   chat.User(w.cur.keep(r.User)),
		Cursor: storage.Cursor{Device: chat.Device(w.cur.keep(r.Device)), Position: place},
	})
	return nil
}

// deliveredLately is deliveredBy from memory. It reports whether memory goes
// back far enough.
func (w *worker) deliveredLately(ctx context.Context, hash uint64, user chat.User, after, upTo, pos chat.Position) (bool, error) {
	if !w.remembers(hash, after, upTo) {
		return false, nil
	}
	for at, _ := w.newestMessage(hash); at > after; {
		a := w.arrivals.ask(hash, at)
		if newest, place, _ := w.arrivals.newest(a, upTo); newest > after {
			if err := w.owe(ctx, w.arrivals.sender(a), user, place, 0, pos); err != nil {
				return false, err
			}
		}
		at = a.prev
	}
	return true, nil
}

// newestMessage returns a position that no message of a chain is above, mostly its
// newest's.
func (w *worker) newestMessage(hash uint64) (at chat.Position, ok bool) {
	pos, ok := w.messages.get(hash)
	if !ok {
		pos, ok = w.heads.get(hash)
	}
	return chat.Position(pos), ok
}

// remembers reports whether memory has all messages of a chain above a position,
// and what is the newest up to another one.
func (w *worker) remembers(hash uint64, after, upTo chat.Position) bool {
	at, ok := w.newestMessage(hash)
	for steps := 0; ok && at > after; steps++ {
		a := w.arrivals.ask(hash, at)
		if a == nil || steps == cycleRows {
			return false
		}
		if _, _, ok := w.arrivals.newest(a, upTo); !ok {
			return false
		}
		at = a.prev
	}
	return ok
}

// deliveredBy owes receipts for the messages in the user's inbox with
// after < position <= upTo. It returns how far it has come: where it has looked
// at as many rows as a cycle may, it ends the cycle below upTo. pos is where
// the record that says so lies.
func (w *worker) deliveredBy(ctx context.Context, user chat.User, after, upTo, pos chat.Position) (reached chat.Position, err error) {
	reached = after
	if p, ok := w.ahead.senders[w.ring.hash(view.Bytes(user))]; ok && p.after <= reached && p.last > reached {
		for _, s := range p.senders {
			if s.Pos > reached && s.Pos <= upTo {
				if err := w.owe(ctx, s.From, user, placeOf(s), 0, pos); err != nil {
					return 0, err
				}
			}
		}
		w.scanned += len(p.senders) + 1
		reached = min(p.last, upTo)
	}
	for reached < upTo && !w.cut {
		var last chat.Position
		err = w.try(ctx, "senders", func() (err error) {
			w.scan, last, err = w.store.Senders(ctx, user, reached, upTo, scanRows, w.scan[:0])
			return err
		})
		if err != nil {
			return 0, err
		}
		for _, s := range w.scan {
			if err := w.owe(ctx, s.From, user, placeOf(s), 0, pos); err != nil {
				return 0, err
			}
		}
		w.scanned += scanRows
		if last == upTo {
			w.scanned += len(w.scan) + 1 - scanRows
		}
		clear(w.scan)
		reached = last
		w.cut = reached < upTo && w.scanned >= cycleRows
	}
	for i := range w.batch.Inbox {
		e := &w.batch.Inbox[i]
		if e.Pos > reached {
			break
		}
		if e.Pos > after && e.User == user && e.Kind == chat.EntryMessage {
			if err := w.owe(ctx, senderOf(e), user, e.Message.Place, 0, pos); err != nil {
				return 0, err
			}
		}
	}
	return reached, nil
}

// placeOf is the place of the message of an inbox row.
func placeOf(s storage.Sender) chat.Position {
	if s.Place > 0 {
		return s.Place
	}
	return s.Pos
}

// readTo takes a device's word that it has shown a chat up to a place: of the
// user's chain, or in the order of the group that the peer is.
func (w *worker) readTo(ctx context.Context, pos chat.Position) error {
	r := &w.rec
	user, peer := view.String[chat.User](r.User), view.String[chat.User](r.Peer)
	place := r.Place
	if !peer.IsGroup() {
		place = min(place, pos)
	}
	key := w.hashKey(keyRead, r.User, r.Peer, nil)
	old, err := w.cell(ctx, key, "read to", func() (chat.Position, error) { return w.store.ReadTo(ctx, user, peer) })
	if err != nil || place <= old {
		return err
	}
	w.setCell(key, place)
	w.cur.reads = append(w.cur.reads, storage.ReadMark{
		User: chat.User(w.cur.keep(r.User)), Peer: chat.User(w.cur.keep(r.Peer)), ReadTo: place, Pos: pos,
	})
	return w.owe(ctx, peer, user, place, place, pos)
}

// owe notes a receipt for what sender has sent to user. A cycle sends one for
// the two of them. Its places are of messages, not of marks, so that it does
// not depend on where cycles end. Who is blocked where the record at pos lies
// gets none.
func (w *worker) owe(ctx context.Context, sender, user chat.User, delivered, read, pos chat.Position) error {
	if hidden, err := w.blocked(ctx, user, sender, pos); err != nil || hidden {
		return err
	}
	key := w.hashKey(keyOwing, view.Bytes(sender), view.Bytes(user), nil)
	i, ok := w.owing.get(key)
	if !ok || w.receipts[i].User != sender || w.receipts[i].Peer != user {
		i = len(w.receipts)
		w.owing.put(key, i)
		kept := chat.User(w.cur.keep(view.Bytes(sender))) // arrivals may forget it
		w.receipts = append(w.receipts, receipt{Receipt: chat.Receipt{User: kept, Peer: user}})
	}
	o := &w.receipts[i]
	o.Delivered, o.Read = max(o.Delivered, delivered), max(o.Read, read)
	o.at = max(o.at, w.rec.At)
	return nil
}

// stageReceipts makes records of what the cycle owes.
func (w *worker) stageReceipts() {
	for i := range w.receipts {
		o := &w.receipts[i]
		w.out.stage(w.ring.PartitionOf(o.User), w.seq, &record.Record{
			Kind: record.Receipt, At: o.at, User: view.Bytes(o.User), Peer: view.Bytes(o.Peer),
			Place: o.Delivered, ReadTo: o.Read,
		})
	}
}

// receipt merges how far a peer has come into what is known of it.
func (w *worker) receipt(ctx context.Context, user uint64, pos chat.Position) error {
	r := &w.rec
	name, peer := view.String[chat.User](r.User), view.String[chat.User](r.Peer)
	if name.IsGroup() {
		return w.come(ctx, name, peer, pos)
	}
	key, keyTo := w.hashKey(keyReceipt, r.User, r.Peer, nil), w.hashKey(keyReceiptTo, r.User, r.Peer, nil)
	at, here := w.merged.get(key)
	here = here && w.batch.Receipts[at].User == name && w.batch.Receipts[at].Peer == peer
	old, known := w.knownReceipt(key, keyTo)
	if here {
		old = w.batch.Receipts[at].Receipt
	} else if !known {
		stored, err := w.storedReceipt(ctx, name, peer)
		if err != nil {
			return err
		}
		old = stored.Receipt
	}
	now := chat.Receipt{
		User: name, Peer: peer,
		Delivered: max(old.Delivered, r.Place, r.ReadTo), Read: max(old.Read, r.ReadTo),
	}
	if now.Delivered == old.Delivered && now.Read == old.Read {
		return w.receiptAgain(ctx, user, pos, now)
	}
	w.counts.Receipts++
	if !here {
		at = len(w.batch.Receipts)
		w.merged.put(key, at)
		w.batch.Receipts = append(w.batch.Receipts, storage.ReceiptAt{})
	}
	w.batch.Receipts[at] = storage.ReceiptAt{Receipt: now, Pos: pos}
	w.places.put(key, uint64(now.Delivered))
	w.places.put(keyTo, uint64(now.Read))
	w.link(user, chat.Entry{Kind: chat.EntryReceipt, User: name, Pos: pos, Receipt: now})
	return nil
}

// knownReceipt is what is remembered of a receipt.
func (w *worker) knownReceipt(key, keyTo uint64) (r chat.Receipt, known bool) {
	delivered, ok := w.places.get(key)
	read, okTo := w.places.get(keyTo)
	r.Delivered, r.Read = chat.Position(delivered), chat.Position(read)
	return r, ok && okTo
}

// receiptAgain links a receipt that changes nothing because an earlier owner has
// stored it at this very position.
func (w *worker) receiptAgain(ctx context.Context, user uint64, pos chat.Position, now chat.Receipt) error {
	stored, err := w.storedReceipt(ctx, now.User, now.Peer)
	if err == nil && stored.Pos == pos {
		w.link(user, chat.Entry{Kind: chat.EntryReceipt, User: now.User, Pos: pos, Receipt: now})
	}
	return err
}

// storedReceipt is how far a peer has come by the store, and where that changed.
func (w *worker) storedReceipt(ctx context.Context, user, peer chat.User) (storage.ReceiptAt, error) {
	asked := []storage.ReceiptAt{{Receipt: chat.Receipt{User: user, Peer: peer}}}
	err := w.try(ctx, "receipt", func() error { return w.store.ReadReceipts(ctx, asked) })
	return asked[0], err
}
