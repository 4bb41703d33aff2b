package storagetest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// Of testModel.
const (
	modelSeeds = 4
	modelSteps = 400 // 100 with -short
)

// modelUsers are names that begin alike and pairs that join alike.
var modelUsers = []chat.User{"a", "b", "ab", "bob", "bobby", "t/bob", "t/a"}

var modelDevices = []chat.Device{"phone", "phone2", "laptop"}

// testModel walks at random over a store and a model of it, and compares what
// they answer at every step.
func testModel(f *fixture) {
	for seed := range uint64(modelSeeds) {
		f.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			w := &walk{
				fixture: &fixture{T: t, ctx: t.Context(), open: f.open}, model: newModel(),
				rnd: rand.New(rand.NewPCG(seed, 1)), now: day0, next: 1,
			}
			w.Store = f.open(t)
			defer func() { w.Store.Close() }()
			steps := modelSteps
			if testing.Short() {
				steps /= 4
			}
			for range steps {
				w.step()
				w.compare()
			}
		})
	}
}

// walk is a random walk over a store and its model. It has one partition, so
// that next is every user's next position.
type walk struct {
	*fixture
	model *model
	rnd   *rand.Rand
	now   int64         // only grows
	next  chat.Position // of the next record
	sent  []chat.Message
	log   []storage.Batch // since the last mark that counts
}

func pick[E any](rnd *rand.Rand, of []E) E { return of[rnd.IntN(len(of))] }

// step changes both.
func (w *walk) step() {
	w.now += w.rnd.Int64N(6 * 60 * 60 * 1000)
	user := pick(w.rnd, modelUsers)
	switch w.rnd.IntN(20) {
	case 0:
		w.sweepBoth()
	case 1:
		must(w.T, w.Sync(w.ctx))
		w.reopen()
	case 2:
		d := storage.Device{Name: pick(w.rnd, modelDevices), Seq: uint16(w.rnd.Uint32()), Start: w.next, Created: w.now}
		must(w.T, w.PutDevice(w.ctx, user, d))
		w.model.putDevice(user, d)
	case 3:
		must(w.T, w.PutLastSeen(w.ctx, user, w.now))
		w.model.seen[user] = w.now
	case 4:
		w.replay()
	default:
		b := w.batch()
		w.apply(b)
		w.model.apply(&b)
		w.log = append(w.log, b)
	}
}

// sweepBoth sweeps all that has expired, and some inboxes. What is swept is not
// replayed: the rows that came back would be swept again, later.
func (w *walk) sweepBoth() {
	before := w.now - w.rnd.Int64N(60*dayMs)
	messages := before - w.rnd.Int64N(20*dayMs)
	w.sweep(w.now, before, messages)
	w.model.sweep(w.now, before, messages)
	w.log = nil
}

// replay applies what was applied once more, from some batch on, as after a
// crash.
func (w *walk) replay() {
	if len(w.log) == 0 {
		return
	}
	for _, b := range w.log[w.rnd.IntN(len(w.log)):] {
		w.apply(b)
	}
}

// batch makes a batch of what may follow, with the rows of a few records.
func (w *walk) batch() storage.Batch {
	var b storage.Batch
	for range 1 + w.rnd.IntN(6) {
		user, peer := pick(w.rnd, modelUsers), pick(w.rnd, modelUsers)
		switch w.rnd.IntN(6) {
		case 0:
			b.Receipts = append(b.Receipts, receiptAt(user, peer, w.next, w.next/2, w.next))
		case 1:
			b.Reads = append(b.Reads, storage.ReadMark{User: user, Peer: peer, ReadTo: w.next, Pos: w.next})
		case 2:
			b.Cursors = append(b.Cursors, userCursor(user, pick(w.rnd, modelDevices), w.next-1))
		case 3:
			if len(w.sent) > 0 {
				m := pick(w.rnd, w.sent)
				b.Inbox = append(b.Inbox, chat.Entry{Kind: chat.EntryCopy, User: m.From, Pos: w.next,
					Message: chat.Message{ID: m.ID, From: m.From, To: m.To, At: w.now}})
			}
		default:
			m := w.message(user, peer)
			w.sent = append(w.sent, m)
			b.Messages = append(b.Messages, m)
			b.Inbox = append(b.Inbox, inboxEntry(m))
		}
		w.next++
	}
	if w.rnd.IntN(3) > 0 {
		b.Mark = storage.Mark{Log: [16]byte{1}, Position: w.next - 1}
	}
	return b
}

func (w *walk) message(from, to chat.User) chat.Message {
	m := text(from, to, w.now-w.rnd.Int64N(3*dayMs), w.next)
	m.ID = idAt(m.ID.UnixMilli(), byte(w.next))
	m.At = w.now
	if w.rnd.IntN(3) == 0 {
		m.Expires = w.now + 1 + w.rnd.Int64N(pick(w.rnd, []int64{dayMs, 40 * dayMs}))
	}
	if w.rnd.IntN(8) == 0 {
		m.Media, m.Suite = "https://media.example/"+string(from), 200
	}
	return m
}

// compare asks both the same, of everything by turns.
func (w *walk) compare() {
	now := pick(w.rnd, []int64{0, w.now})
	user, peer := pick(w.rnd, modelUsers), pick(w.rnd, modelUsers)
	w.compareMessages(user, peer, now)
	w.compareInbox(user, now)

	equal(w.T, "chats", w.chats(user, chat.ID{}, 99, now), w.model.chatsOf(user, chat.ID{}, 99, now))
	before, limit := idAt(w.now-w.rnd.Int64N(30*dayMs), byte(w.rnd.IntN(256))), w.rnd.IntN(5)
	equal(w.T, "older chats", w.chats(user, before, limit, now), w.model.chatsOf(user, before, limit, now))
	w.hasChat(user, peer, w.model.chats[pair{user, peer}])

	from, to := w.interval()
	equal(w.T, "receipts", w.receipts(user, from, to), w.model.receiptsOf(user, from, to))
	r := []storage.ReceiptAt{{Receipt: chat.Receipt{User: user, Peer: peer}}}
	must(w.T, w.ReadReceipts(w.ctx, r))
	want := w.model.receipts[pair{user, peer}]
	want.User, want.Peer = user, peer
	equal(w.T, "receipt", r[0], want)
	w.readTo(user, peer, w.model.reads[pair{user, peer}])

	cursors, furthest := w.model.cursorsOf(user)
	equal(w.T, "cursors", w.cursors(user), cursors)
	w.delivered(user, furthest)
	devices, err := w.Devices(w.ctx, user)
	must(w.T, err)
	equal(w.T, "devices", devices, w.model.devicesOf(user))
	seen, err := w.LastSeen(w.ctx, user)
	must(w.T, err)
	equal(w.T, "last seen", seen, w.model.seen[user])
	w.mark(0, w.model.marks[0])
}

func (w *walk) compareMessages(user, peer chat.User, now int64) {
	c := chat.DirectChat(user, peer)
	before := chat.ID{}
	if len(w.sent) > 0 {
		m := pick(w.rnd, w.sent)
		k := keyOf(&m)
		got, found, err := w.Message(w.ctx, k.chat, k.id, now)
		must(w.T, err)
		want, wantFound := w.model.message(k, now)
		equal(w.T, "found", found, wantFound)
		if found {
			equal(w.T, "message", got, want)
		}
		if w.rnd.IntN(2) == 0 {
			before = m.ID
		}
	}
	limit := 1 + w.rnd.IntN(20)
	equal(w.T, "history", w.history(c, before, limit, now), w.model.history(c, before, limit, now))
}

// interval is a range of positions, mostly within what there is.
func (w *walk) interval() (after, upTo chat.Position) {
	after = chat.Position(w.rnd.Uint64N(uint64(w.next)))
	upTo = after + chat.Position(w.rnd.Uint64N(uint64(w.next)+1))
	return after, upTo
}

func (w *walk) compareInbox(user chat.User, now int64) {
	after, upTo := w.interval()
	want, rows := w.model.inboxOf(user, after, upTo, now)
	got := w.inbox(user, after, upTo, 1+w.rnd.IntN(8), now)
	for i := range got {
		got[i].Prev = 0 // inbox has checked it
	}
	equal(w.T, "inbox", got, want)
	maximum := w.rnd.IntN(30)
	waiting, err := w.Waiting(w.ctx, user, after, upTo, maximum)
	must(w.T, err)
	visible, _ := w.model.inboxOf(user, after, upTo, w.now)
	if waiting > min(rows, maximum) || waiting < min(len(visible), maximum) {
		w.Fatalf("%d waiting: there are %d rows, %d of them unexpired, the maximum is %d", waiting, rows, len(visible), maximum)
	}
	truncated, err := w.Truncated(w.ctx, user, after)
	must(w.T, err)
	equal(w.T, "truncated", truncated, w.model.truncatedOf(user, after))
}
