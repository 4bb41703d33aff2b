package storagetest

import (
	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// userRows writes something for a user into every table, told apart by n.
func (f *fixture) userRows(user, peer chat.User, n int64) {
	f.Helper()
	m := text(peer, user, day0+n, chat.Position(n))
	f.apply(storage.Batch{
		Messages: []chat.Message{m}, Inbox: []chat.Entry{inboxEntry(m)},
		Receipts: []storage.ReceiptAt{receiptAt(user, peer, chat.Position(n), chat.Position(n), chat.Position(n))},
		Reads:    []storage.ReadMark{{User: user, Peer: peer, ReadTo: chat.Position(n), Pos: chat.Position(n)}},
		Cursors:  []storage.UserCursor{userCursor(user, "phone", chat.Position(n))},
	})
	must(f.T, f.PutDevice(f.ctx, user, storage.Device{Name: "phone", Created: n, Cursor: chat.Position(n)}))
	must(f.T, f.PutLastSeen(f.ctx, user, n))
}

// onlyUserRows checks that a user has what userRows wrote, and nothing else.
func (f *fixture) onlyUserRows(user, peer chat.User, n int64) {
	f.Helper()
	m := text(peer, user, day0+n, chat.Position(n))
	pos := chat.Position(n)
	equal(f.T, "history", f.history(m.Chat(), chat.ID{}, 99, 0), []chat.Message{m})
	equal(f.T, "inbox", f.inbox(user, 0, 1<<64-1, 99, 0), []chat.Entry{
		{Kind: chat.EntryMessage, User: user, Pos: pos, Message: m},
	})
	waiting, err := f.Waiting(f.ctx, user, 0, 1<<64-1, 99)
	must(f.T, err)
	equal(f.T, "waiting", waiting, 1)
	equal(f.T, "chats", f.chats(user, chat.ID{}, 99, 0), []storage.ChatSummary{{Peer: peer, Last: m}})
	equal(f.T, "receipts", f.receipts(user, 0, 1<<64-1), []chat.Receipt{{User: user, Peer: peer, Delivered: pos, Read: pos}})
	f.readTo(user, peer, pos)
	equal(f.T, "cursors", f.cursors(user), []storage.Cursor{{Device: "phone", Position: pos}})
	devices, err := f.Devices(f.ctx, user)
	must(f.T, err)
	equal(f.T, "devices", devices, []storage.Device{{Name: "phone", Created: n, Cursor: chat.Position(n)}})
	seen, err := f.LastSeen(f.ctx, user)
	must(f.T, err)
	equal(f.T, "last seen", seen, n)
}

// testNames: users whose names begin alike share nothing, nor do pairs whose
// names joined are the same.
func testNames(f *fixture) {
	pairs := [][2]chat.User{
		{"bob", "x"}, {"bobby", "y"}, {"bo", "z"}, {"b", "obx"}, {"bobx", "q"}, {"bobb", "yy"},
		{"bob.", "w"}, {"bob-", "w2"}, {"a", "a2"}, {"aa", "a3"},
	}
	for i, p := range pairs {
		f.userRows(p[0], p[1], int64(i+1))
	}
	for i, p := range pairs {
		f.onlyUserRows(p[0], p[1], int64(i+1))
	}
	f.hasChat("bob", "by", false)
	f.hasChat("bo", "bx", false)
	f.sweep(0, day0+1+3+1, 0) // the first one's inbox row is of day0+1+3
	f.inboxLeft("bob", 0)
	for _, p := range pairs[1:] {
		f.inboxLeft(p[0], 1)
	}
}

func (f *fixture) inboxLeft(user chat.User, want int) {
	f.Helper()
	equal(f.T, "inbox of "+string(user), len(f.inbox(user, 0, 1<<64-1, 99, 0)), want)
}

// testTenants: the same names in two tenants are other users.
func testTenants(f *fixture) {
	tenants := []chat.User{"", "acme/", "acm/", "acme2/"}
	for i, t := range tenants {
		f.userRows(t+"bob", t+"alice", int64(i+1))
	}
	for i, t := range tenants {
		f.onlyUserRows(t+"bob", t+"alice", int64(i+1))
		f.hasChat(t+"bob", t+"alice", true)
	}
	f.hasChat("bob", "acme/alice", false)
}

// sample is a batch with rows of every kind.
func sample() storage.Batch {
	m1, m2 := text("alice", "bob", day0, 1), text("carol", "bob", day0+1, 2)
	m2.Expires = day0 + dayMs
	return storage.Batch{
		Partition: 2,
		Messages:  []chat.Message{m1, m2},
		Inbox:     []chat.Entry{inboxEntry(m1), inboxEntry(m2)},
		Receipts:  []storage.ReceiptAt{receiptAt("bob", "alice", 4, 3, 2)},
		Reads:     []storage.ReadMark{{User: "bob", Peer: "alice", ReadTo: 1, Pos: 2}},
		Cursors:   []storage.UserCursor{userCursor("bob", "phone", 2)},
		Mark:      storage.Mark{Log: [16]byte{1}, Position: 2},
	}
}

func (f *fixture) checkSample() {
	f.Helper()
	b := sample()
	equal(f.T, "inbox", f.inbox("bob", 0, 9, 9, 0), []chat.Entry{
		{Kind: chat.EntryMessage, User: "bob", Pos: 1, Message: b.Messages[0]},
		{Kind: chat.EntryMessage, User: "bob", Pos: 2, Prev: 1, Message: b.Messages[1]},
	})
	equal(f.T, "chats", len(f.chats("bob", chat.ID{}, 9, 0)), 2)
	equal(f.T, "receipts", f.receipts("bob", 0, 9), []chat.Receipt{b.Receipts[0].Receipt})
	f.readTo("bob", "alice", 1)
	f.delivered("bob", 2)
	f.mark(2, b.Mark)
}

// testAppliedTwice: replays change nothing, whether whole or from some point
// on.
func testAppliedTwice(f *fixture) {
	f.apply(sample())
	f.checkSample()
	f.apply(sample())
	f.checkSample()
	late := text("dave", "bob", day0+9, 3)
	f.send(late)
	f.apply(sample())
	f.send(late)
	equal(f.T, "inbox", len(f.inbox("bob", 0, 9, 9, 0)), 3)
	equal(f.T, "history", f.history(late.Chat(), chat.ID{}, 9, 0), []chat.Message{late})
}

// testBatchReused: what Apply was given may be overwritten when it returns, and
// what readers get is theirs.
func testBatchReused(f *fixture) {
	b := sample()
	must(f.T, f.Apply(f.ctx, &b))
	for i := range b.Messages {
		clear(b.Messages[i].Content)
	}
	b.Reset()
	f.checkSample()
	for range 2 {
		ms := f.history(chat.DirectChat("alice", "bob"), chat.ID{}, 9, 0)
		equal(f.T, "content", string(ms[0].Content), "alice to bob at 1750000000000")
		clear(ms[0].Content)
	}
}

// testDuplicatesInBatch: the same rows may stand in a batch more than once; of
// marks the last counts.
func testDuplicatesInBatch(f *fixture) {
	b := sample()
	b.Messages = append(b.Messages, b.Messages...)
	b.Inbox = append(b.Inbox, b.Inbox...)
	b.Receipts = append([]storage.ReceiptAt{receiptAt("bob", "alice", 1, 1, 1)}, b.Receipts...)
	b.Reads = append([]storage.ReadMark{{User: "bob", Peer: "alice", ReadTo: 0, Pos: 1}}, b.Reads...)
	b.Cursors = append([]storage.UserCursor{userCursor("bob", "phone", 1)}, b.Cursors...)
	f.apply(b)
	f.checkSample()
	f.apply(storage.Batch{})
	f.checkSample()
}

// testDstKept: what reads append to stays in front.
func testDstKept(f *fixture) {
	f.apply(sample())
	m := text("x", "y", day0, 1)
	ms, err := f.Store.History(f.ctx, chat.DirectChat("alice", "bob"), chat.ID{}, 9, 0, []chat.Message{m})
	must(f.T, err)
	equal(f.T, "messages", ids(ms), []chat.ID{m.ID, sample().Messages[0].ID})
	es, _, err := f.Store.Inbox(f.ctx, "bob", 0, 9, 1, 0, []chat.Entry{{Pos: 77}})
	must(f.T, err)
	equal(f.T, "entries", []chat.Position{es[0].Pos, es[1].Pos, es[1].Prev}, []chat.Position{77, 1, 0})
	equal(f.T, "limit is without them", len(es), 2)
	rs, err := f.Store.Receipts(f.ctx, "bob", 0, 9, "", 9, make([]chat.Receipt, 3))
	must(f.T, err)
	equal(f.T, "receipts", len(rs), 4)
	cs, err := f.Store.Chats(f.ctx, "bob", chat.ID{}, 1, 0, make([]storage.ChatSummary, 3))
	must(f.T, err)
	equal(f.T, "chats", len(cs), 4)
}
