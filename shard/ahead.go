package shard

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/internal/view"
	"github.com/rookery-chat/rookery/storage"
)

// ahead is what the next cycle will ask the store, asked at once before it is
// built: where the store is on other machines, one question after the other
// would take longer than all else. What fails is asked again when it is needed.
type ahead struct {
	asks     []ask
	asked    index                      // by key
	messages map[messageAt]chat.Message // looked up: the zero Message is none
	senders  map[uint64]senderPage      // by the user's hash
	receipts []storage.ReceiptAt        // asked for together: in the embedded store that takes less time than one by one
	cursors  []storage.UserCursor       // the same
}

type messageAt struct {
	chat chat.ChatID
	id   chat.ID
}

// ask is one question and its answer.
type ask struct {
	kind       byte // as hashKey has them; keyDelivered is for all cursors, keySender for a message, askSenders
	hash       uint64
	user, peer chat.User
	at         messageAt
	after      chat.Position
	upTo       chat.Position

	failed  bool
	place   chat.Position
	cursors []storage.Cursor
	message chat.Message
	senders senderPage
}

const askSenders = 'S'

// senderPage is who sent the messages of an inbox with after < position <= last.
type senderPage struct {
	after, last chat.Position
	senders     []storage.Sender
}

// askAhead asks what the records of the next cycle need: in the embedded store
// receipts alone, which where people write to ever new peers nearly all are unknown,
// and cursors, of those who mark for the first time.
func (w *worker) askAhead(ctx context.Context) {
	a := &w.ahead
	clear(a.messages)
	clear(a.senders)
	w.eachAhead(w.needs)
	w.answerAhead(ctx)
	if w.opt.ReadsAhead == 0 {
		return
	}
	w.eachAhead(func(r *record.Record) {
		if r.Kind == record.Mark {
			w.needsSenders(r)
		}
	})
	w.answerAhead(ctx)
}

// needsReceipt notes the receipt that a record changes, unless it is known.
func (w *worker) needsReceipt(r *record.Record) {
	user, peer := view.String[chat.User](r.User), view.String[chat.User](r.Peer)
	if user.IsGroup() {
		return
	}
	key := w.hashKey(keyReceipt, r.User, r.Peer, nil)
	if _, known := w.knownReceipt(key, w.hashKey(keyReceiptTo, r.User, r.Peer, nil)); known {
		return
	}
	if _, ok := w.ahead.asked.get(key); !ok {
		w.ahead.asked.put(key, len(w.ahead.receipts))
		w.ahead.receipts = append(w.ahead.receipts, storage.ReceiptAt{Receipt: chat.Receipt{User: user, Peer: peer}})
	}
}

// needsCursor notes the cursor that a mark moves, unless it is known.
func (w *worker) needsCursor(r *record.Record) {
	key := w.hashKey(keyCursor, r.User, r.Device, nil)
	if _, ok := w.ahead.asked.get(key); !ok && !w.holds(key) {
		w.ahead.asked.put(key, len(w.ahead.cursors))
		w.ahead.cursors = append(w.ahead.cursors, storage.UserCursor{
			User: view.String[chat.User](r.User), Cursor: storage.Cursor{Device: view.String[chat.Device](r.Device)},
		})
	}
}

// takeCursor remembers how far a device is, and with that its user at the least: not
// of one who may have blocked somebody, as mark says.
func (w *worker) takeCursor(c *storage.UserCursor) {
	user := view.Bytes(c.User)
	w.places.put(w.hashKey(keyCursor, user, view.Bytes(c.Device), nil), uint64(c.Position))
	if key := w.hashKey(keyDelivered, user, nil, nil); !w.mayBlock(c.User) && !w.holds(key) {
		w.places.put(key, uint64(c.Position))
	}
}

// takeReceipt remembers a receipt as it is stored.
func (w *worker) takeReceipt(r *storage.ReceiptAt) {
	user, peer := view.Bytes(r.User), view.Bytes(r.Peer)
	w.places.put(w.hashKey(keyReceipt, user, peer, nil), uint64(r.Delivered))
	w.places.put(w.hashKey(keyReceiptTo, user, peer, nil), uint64(r.Read))
}

// eachAhead calls f with the records that the next cycle may take.
func (w *worker) eachAhead(f func(r *record.Record)) {
	rest := w.rest
	for n := 0; n < min(w.left, w.opt.BatchRecords); n++ {
		raw, more, err := record.NextFramed(rest)
		if err != nil {
			return
		}
		rest = more
		if k := record.KindOf(raw); w.opt.ReadsAhead == 0 && k != record.Receipt && k != record.Mark {
			continue
		}
		err = w.rec.Decode(raw)
		if err == nil && w.rec.Kind == record.Forward {
			err = w.rec.Decode(w.rec.Content)
		}
		if err == nil && len(w.rec.User) > 0 {
			f(&w.rec)
		}
	}
}

// needs notes what a record will make its owner ask, unless that is known.
func (w *worker) needs(r *record.Record) {
	user, peer := view.String[chat.User](r.User), view.String[chat.User](r.Peer)
	switch r.Kind {
	case record.Message:
		node, ticks := r.ID.Node(), r.ID.Ticks()
		newest, known := w.recent.get(w.hashKey(keySender, r.Peer, nil, node[:]))
		if !known {
			newest = w.older
		}
		if r.Flags&record.FlagRetry != 0 || ticks <= newest {
			w.ask(w.hashKey(keySender, r.User, r.Peer, r.ID[:]), ask{kind: keySender, at: messageAt{chat.ChatOf(peer, user), r.ID}})
		}
	case record.Mark:
		if w.opt.ReadsAhead == 0 {
			w.needsCursor(r)
			return
		}
		if !w.holds(w.hashKey(keyDelivered, r.User, nil, nil)) || !w.holds(w.hashKey(keyCursor, r.User, r.Device, nil)) {
			w.ask(w.hashKey(keyDelivered, r.User, nil, nil), ask{kind: keyDelivered, user: user})
		}
	case record.Read:
		if key := w.hashKey(keyRead, r.User, r.Peer, nil); !w.holds(key) {
			w.ask(key, ask{kind: keyRead, user: user, peer: peer})
		}
	case record.Fanout:
		w.ask(w.hashKey(keyFanout, r.Peer, nil, r.ID[:]), ask{kind: keySender, at: messageAt{chat.GroupChat(peer), r.ID}})
	case record.Receipt:
		w.needsReceipt(r)
	}
}

// needsSenders notes whom a mark will make its owner look for in the inbox.
func (w *worker) needsSenders(r *record.Record) {
	delivered, known := w.places.get(w.hashKey(keyDelivered, r.User, nil, nil))
	after, hash := chat.Position(delivered), w.ring.hash(r.User)
	if !known || r.Place <= after || w.remembers(hash, after, r.Place) {
		return
	}
	if i, ok := w.ahead.asked.get(hash); ok {
		w.ahead.asks[i].upTo = max(w.ahead.asks[i].upTo, r.Place)
		return
	}
	w.ask(hash, ask{kind: askSenders, hash: hash, user: view.String[chat.User](r.User), after: after, upTo: r.Place})
}

// holds reports whether a cursor or read need not be asked for.
func (w *worker) holds(key uint64) bool {
	if _, ok := w.places.get(key); ok {
		return true
	}
	_, ok := w.cells[key]
	return ok
}

func (w *worker) ask(key uint64, a ask) {
	if _, ok := w.ahead.asked.get(key); ok {
		return
	}
	w.ahead.asked.put(key, len(w.ahead.asks))
	if a.hash == 0 {
		a.hash = key
	}
	w.ahead.asks = append(w.ahead.asks, a)
}

// answerAhead asks the store, and remembers the answers.
func (w *worker) answerAhead(ctx context.Context) {
	a := &w.ahead
	if w.opt.ReadsAhead > 1 {
		w.answerAtOnce(ctx)
	} else {
		for i := range a.asks {
			a.asks[i].answer(ctx, w.store)
		}
		readReceipts(ctx, w.store, a.receipts)
		if len(a.cursors) > 0 && w.store.ReadCursors(ctx, a.cursors) != nil {
			clear(a.cursors)
		}
	}
	for i := range a.asks {
		if q := &a.asks[i]; !q.failed {
			w.take(q)
		}
	}
	w.counts.Ahead += uint64(len(a.asks))
	for i := range a.receipts {
		if r := &a.receipts[i]; r.User != "" {
			w.takeReceipt(r)
			w.counts.Ahead++
		}
	}
	for i := range a.cursors {
		if c := &a.cursors[i]; c.User != "" {
			w.takeCursor(c)
			w.counts.Ahead++
		}
	}
	clear(a.asks)
	clear(a.receipts)
	clear(a.cursors)
	a.asks, a.receipts, a.cursors = a.asks[:0], a.receipts[:0], a.cursors[:0]
	a.asked.clear()
}

// answerAtOnce asks the store by several goroutines.
func (w *worker) answerAtOnce(ctx context.Context) {
	a, n := &w.ahead, w.opt.ReadsAhead
	var g errgroup.Group
	g.SetLimit(n)
	for i := range a.asks {
		g.Go(func() error {
			a.asks[i].answer(ctx, w.store)
			return nil
		})
	}
	for some := range slices.Chunk(a.receipts, len(a.receipts)/n+1) {
		g.Go(func() error {
			readReceipts(ctx, w.store, some)
			return nil
		})
	}
	g.Wait()
}

// readReceipts fills receipts in; it empties them where the store does not answer.
func readReceipts(ctx context.Context, store Store, receipts []storage.ReceiptAt) {
	if len(receipts) > 0 && store.ReadReceipts(ctx, receipts) != nil {
		clear(receipts)
	}
}

func (q *ask) answer(ctx context.Context, store Store) {
	var err error
	switch q.kind {
	case keySender:
		q.message, _, err = store.Message(ctx, q.at.chat, q.at.id, 0)
	case keyDelivered:
		q.cursors, err = store.Cursors(ctx, q.user)
	case keyRead:
		q.place, err = store.ReadTo(ctx, q.user, q.peer)
	case askSenders:
		q.senders.after = q.after
		q.senders.senders, q.senders.last, err = store.Senders(ctx, q.user, q.after, q.upTo, scanRows, nil)
	}
	q.failed = err != nil
}

// take remembers an answer. What waits to be stored is newer than the store.
func (w *worker) take(q *ask) {
	remember := func(key uint64, place chat.Position) {
		if !w.holds(key) {
			w.places.put(key, uint64(place))
		}
	}
	switch q.kind {
	case keySender:
		w.ahead.messages[q.at] = q.message
	case keyDelivered:
		var furthest chat.Position
		for _, c := range q.cursors {
			furthest = max(furthest, c.Position)
			remember(w.hashKey(keyCursor, view.Bytes(q.user), view.Bytes(c.Device), nil), c.Position)
		}
		remember(q.hash, furthest)
	case keyRead:
		remember(q.hash, q.place)
	case askSenders:
		w.ahead.senders[q.hash] = q.senders
	}
}
