package storagetest

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

func receiptAt(user, peer chat.User, delivered, read, pos chat.Position) storage.ReceiptAt {
	return storage.ReceiptAt{
		Receipt: chat.Receipt{User: user, Peer: peer, Delivered: delivered, Read: read}, Pos: pos,
	}
}

// receipts reads a range by pages.
func (f *fixture) receipts(user chat.User, after, upTo chat.Position) []chat.Receipt {
	f.Helper()
	const limit = 2
	var rs []chat.Receipt
	var beyond chat.User
	for {
		page, err := f.Store.Receipts(f.ctx, user, after, upTo, beyond, limit, nil)
		must(f.T, err)
		rs = append(rs, page...)
		if len(page) < limit {
			return rs
		}
		equal(f.T, "receipts on a page", len(page), limit)
		beyond = page[limit-1].Peer
	}
}

// testReceipts: one receipt a pair, at the position of its last change.
func testReceipts(f *fixture) {
	bob, carol := receiptAt("alice", "bob", 10, 5, 100), receiptAt("alice", "carol", 7, 0, 101)
	f.apply(storage.Batch{Receipts: []storage.ReceiptAt{bob, carol, receiptAt("bob", "alice", 1, 1, 100)}})
	equal(f.T, "both", f.receipts("alice", 0, 1000), []chat.Receipt{bob.Receipt, carol.Receipt})
	equal(f.T, "after is open", f.receipts("alice", 100, 1000), []chat.Receipt{carol.Receipt})
	equal(f.T, "upTo is closed", f.receipts("alice", 0, 100), []chat.Receipt{bob.Receipt})
	equal(f.T, "none after", f.receipts("alice", 101, 1000), nil)
	equal(f.T, "none before", f.receipts("alice", 0, 99), nil)

	bob = receiptAt("alice", "bob", 10, 10, 205)
	f.apply(storage.Batch{Receipts: []storage.ReceiptAt{bob}})
	equal(f.T, "changed", f.receipts("alice", 101, 205), []chat.Receipt{bob.Receipt})
	equal(f.T, "the last change counts", f.receipts("alice", 0, 204), []chat.Receipt{carol.Receipt})
	asked := []storage.ReceiptAt{receiptAt("alice", "bob", 0, 0, 0), receiptAt("bob", "carol", 0, 0, 0), receiptAt("bob", "alice", 0, 0, 0), receiptAt("alice", "bob", 0, 0, 0)}
	must(f.T, f.ReadReceipts(f.ctx, asked))
	equal(f.T, "read", asked, []storage.ReceiptAt{bob, receiptAt("bob", "carol", 0, 0, 0), receiptAt("bob", "alice", 1, 1, 100), bob})
	must(f.T, f.ReadReceipts(f.ctx, nil))
}

// testReceiptPages: in order of the peers' names, from the one beyond the last,
// whoever of them is a prefix of another.
func testReceiptPages(f *fixture) {
	var b storage.Batch
	var all []chat.Receipt
	for i, peer := range []chat.User{"b", "b-", "b.c", "ba", "c", "z"} {
		b.Receipts = append(b.Receipts, receiptAt("alice", peer, 1, 0, chat.Position(100-i)), receiptAt("alic", peer, 2, 0, 1))
		all = append(all, b.Receipts[2*i].Receipt)
	}
	slices.Reverse(b.Receipts)
	f.apply(b)
	equal(f.T, "by pages", f.receipts("alice", 0, 1000), all)
	for i, r := range all {
		rest, err := f.Store.Receipts(f.ctx, "alice", 0, 1000, r.Peer, 99, nil)
		must(f.T, err)
		equal(f.T, "beyond "+string(r.Peer), len(rest), len(all)-i-1)
	}
	none, err := f.Store.Receipts(f.ctx, "alice", 0, 1000, "", 0, nil)
	must(f.T, err)
	equal(f.T, "no limit at all", len(none), 0)
}

func (f *fixture) readTo(user, peer chat.User, want chat.Position) {
	f.Helper()
	got, err := f.ReadTo(f.ctx, user, peer)
	must(f.T, err)
	if got != want {
		f.Fatalf("%s has read the chat with %s up to %d, not %d", user, peer, got, want)
	}
}

func testReadTo(f *fixture) {
	f.readTo("alice", "bob", 0)
	f.apply(storage.Batch{Reads: []storage.ReadMark{
		{User: "alice", Peer: "bob", ReadTo: 5, Pos: 9}, {User: "bob", Peer: "alice", ReadTo: 6, Pos: 9},
	}})
	f.readTo("alice", "bob", 5)
	f.readTo("bob", "alice", 6)
	f.readTo("alice", "carol", 0)
	f.apply(storage.Batch{Reads: []storage.ReadMark{{User: "alice", Peer: "bob", ReadTo: chat.NewPosition(2, 1), Pos: 10}}})
	f.readTo("alice", "bob", chat.NewPosition(2, 1))
}

func userCursor(user chat.User, device chat.Device, pos chat.Position) storage.UserCursor {
	return storage.UserCursor{User: user, Cursor: storage.Cursor{Device: device, Position: pos}}
}

func (f *fixture) cursors(user chat.User) []storage.Cursor {
	f.Helper()
	cs, err := f.Store.Cursors(f.ctx, user)
	must(f.T, err)
	slices.SortFunc(cs, func(a, b storage.Cursor) int { return cmp.Compare(a.Device, b.Device) })
	return cs
}

func (f *fixture) delivered(user chat.User, want chat.Position) {
	f.Helper()
	got, err := f.Delivered(f.ctx, user)
	must(f.T, err)
	if got != want {
		f.Fatalf("delivered of %s is %d, not %d", user, got, want)
	}
}

func (f *fixture) cursor(user chat.User, device chat.Device, want chat.Position, there bool) {
	f.Helper()
	asked := []storage.UserCursor{userCursor("nobody", "phone", 0), userCursor(user, device, 0), userCursor(user, device+"-", 0)}
	expected := make([]storage.UserCursor, len(asked))
	if there {
		expected[1] = userCursor(user, device, want)
	}
	must(f.T, f.ReadCursors(f.ctx, asked))
	equal(f.T, "cursors read", asked, expected)
}

// testCursors: delivered is the furthest of all devices, whoever came last.
func testCursors(f *fixture) {
	equal(f.T, "of nobody", f.cursors("alice"), nil)
	f.delivered("alice", 0)
	f.cursor("alice", "phone", 0, false)
	must(f.T, f.PutDevice(f.ctx, "alice", storage.Device{Name: "phone", Start: 7}))
	f.cursor("alice", "phone", 7, true)
	f.apply(storage.Batch{Cursors: []storage.UserCursor{
		userCursor("alice", "phone", 300), userCursor("alice", "laptop", 2), userCursor("bob", "phone", 999),
	}})
	f.delivered("alice", 300)
	f.apply(storage.Batch{Cursors: []storage.UserCursor{userCursor("alice", "laptop", 299)}})
	f.delivered("alice", 300)
	equal(f.T, "cursors", f.cursors("alice"), []storage.Cursor{{Device: "laptop", Position: 299}, {Device: "phone", Position: 300}})
	f.apply(storage.Batch{Cursors: []storage.UserCursor{userCursor("alice", "laptop", 301)}})
	f.delivered("alice", 301)
	f.delivered("bob", 999)
	f.cursor("alice", "laptop", 301, true)
	f.cursor("alice", "phone", 300, true)
	f.cursor("alice", "phon", 0, false)
	f.cursor("bob", "phone", 999, true)
}

func testDevices(f *fixture) {
	list := func(user chat.User) []storage.Device {
		f.Helper()
		ds, err := f.Devices(f.ctx, user)
		must(f.T, err)
		return ds
	}
	equal(f.T, "of nobody", list("alice"), nil)
	phone := storage.Device{Name: "phone", Seq: chat.MaxClockSeq, Start: chat.NewPosition(1, 5), Created: day0}
	laptop := storage.Device{Name: "z", Seq: 1, Created: day0 + 1}
	long := storage.Device{Name: "a-device-with-quite-a-long-name"}
	for _, d := range []storage.Device{phone, laptop, long} {
		must(f.T, f.PutDevice(f.ctx, "alice", d))
	}
	must(f.T, f.PutDevice(f.ctx, "bob", storage.Device{Name: "phone", Seq: 8}))
	equal(f.T, "in order of name", list("alice"), []storage.Device{long, phone, laptop})
	phone.Seq = 2
	must(f.T, f.PutDevice(f.ctx, "alice", phone))
	f.reopen()
	equal(f.T, "written again", list("alice"), []storage.Device{long, phone, laptop})
	equal(f.T, "bob's", list("bob"), []storage.Device{{Name: "phone", Seq: 8}})
}

// testApplied: it only rises, and is not below the mark.
func testApplied(f *fixture) {
	check := func(what string, partition int, want chat.Position) {
		f.Helper()
		got, err := f.Applied(f.ctx, partition)
		must(f.T, err)
		equal(f.T, what, got, want)
	}
	check("before anything", 1, 0)
	f.apply(storage.Batch{Partition: 1, Applied: 10})
	check("without a mark", 1, 10)
	f.apply(storage.Batch{Partition: 1, Applied: 20, Mark: storage.Mark{Log: [16]byte{1}, Position: 10}})
	check("with a mark behind", 1, 20)
	f.apply(storage.Batch{Partition: 1, Applied: 15})
	check("by an owner that lags", 1, 20)
	f.apply(storage.Batch{Partition: 1, Mark: storage.Mark{Log: [16]byte{1}, Position: 20}})
	check("by a mark alone", 1, 20)
	check("of another partition", 2, 0)
	f.reopen()
	check("opened again", 1, 20)
}

// testHeads: the newest link counts, be it a row or a receipt.
func testHeads(f *fixture) {
	m := text("bob", "alice", day0, 7)
	f.send(m)
	f.apply(storage.Batch{Receipts: []storage.ReceiptAt{receiptAt("alice", "bob", 3, 3, 5), receiptAt("bob", "alice", 7, 0, 9)}})
	heads, err := f.Heads(f.ctx, []chat.User{"alice", "nobody", "bob"}, []chat.Position{1})
	must(f.T, err)
	equal(f.T, "heads", heads, []chat.Position{1, 7, 0, 9})
	f.apply(storage.Batch{Receipts: []storage.ReceiptAt{receiptAt("alice", "bob", 4, 3, 8)}})
	heads, err = f.Heads(f.ctx, []chat.User{"alice"}, nil)
	must(f.T, err)
	equal(f.T, "after a receipt", heads, []chat.Position{8})
}

func testLastSeen(f *fixture) {
	for i, want := range []int64{0, day0, day0 + 5} {
		if i > 0 {
			must(f.T, f.PutLastSeen(f.ctx, "alice", want))
		}
		got, err := f.LastSeen(f.ctx, "alice")
		must(f.T, err)
		equal(f.T, "last seen", got, want)
	}
	got, err := f.LastSeen(f.ctx, "bob")
	must(f.T, err)
	equal(f.T, "never seen", got, 0)
}

func (f *fixture) mark(partition int, want storage.Mark) {
	f.Helper()
	got, err := f.Mark(f.ctx, partition)
	must(f.T, err)
	equal(f.T, "mark", got, want)
}

// testMarks: marks are a partition's own; the zero Mark leaves it; rows may be
// ahead of it.
func testMarks(f *fixture) {
	f.mark(0, storage.Mark{})
	first := storage.Mark{Log: [16]byte{1, 2, 3}, Position: chat.NewPosition(1, 9), Owner: "what the owner remembers \x00\xff"}
	f.apply(storage.Batch{Partition: 0, Mark: first})
	f.apply(storage.Batch{Partition: 0, Cursors: []storage.UserCursor{userCursor("alice", "phone", 12)}})
	f.mark(0, first)
	f.delivered("alice", 12)
	f.mark(1, storage.Mark{})
	other := storage.Mark{Log: [16]byte{9}, Position: 1}
	f.apply(storage.Batch{Partition: 300, Mark: other})
	f.mark(0, first)
	f.mark(300, other)
	next := storage.Mark{Log: first.Log, Position: first.Position + 5}
	f.apply(storage.Batch{Partition: 0, Mark: next})
	must(f.T, f.Sync(f.ctx))
	f.reopen()
	f.mark(0, next)
	f.mark(300, other)
}

// testMarkOwner: what a mark carries comes back as it was, up to its bound; a
// batch over it leaves nothing behind.
func testMarkOwner(f *fixture) {
	owner := make([]byte, storage.MaxMarkOwner)
	for i := range owner {
		owner[i] = byte(i * 7)
	}
	full := storage.Mark{Position: 5, Owner: string(owner)}
	f.apply(storage.Batch{Mark: full})
	f.mark(0, full)
	m := text("alice", "bob", day0, 6)
	over := storage.Batch{Messages: []chat.Message{m}, Mark: storage.Mark{Position: 6, Owner: full.Owner + "x"}}
	if err := f.Apply(f.ctx, &over); !errors.Is(err, storage.ErrMarkOwner) {
		f.Fatalf("a mark with a byte too many: %v", err)
	}
	f.notFound(m.Chat(), m.ID, 0)
	f.mark(0, full)
	less := storage.Mark{Position: 6, Owner: "x"}
	f.apply(storage.Batch{Mark: less})
	f.reopen()
	f.mark(0, less)
}

// testReopen: what was applied before Sync is there when the store is opened
// again.
func testReopen(f *fixture) {
	m := text("alice", "bob", day0, 7)
	mark := storage.Mark{Log: [16]byte{4}, Position: 7}
	f.apply(storage.Batch{
		Messages: []chat.Message{m}, Inbox: []chat.Entry{inboxEntry(m)},
		Receipts: []storage.ReceiptAt{receiptAt("alice", "bob", 7, 6, 3)},
		Reads:    []storage.ReadMark{{User: "bob", Peer: "alice", ReadTo: 6, Pos: 7}},
		Cursors:  []storage.UserCursor{userCursor("bob", "phone", 7)},
		Mark:     mark,
	})
	must(f.T, f.PutLastSeen(f.ctx, "bob", day0))
	must(f.T, f.Sync(f.ctx))
	f.reopen()
	f.mark(0, mark)
	equal(f.T, "history", f.history(m.Chat(), chat.ID{}, 9, 0), []chat.Message{m})
	equal(f.T, "inbox", len(f.inbox("bob", 0, 7, 9, 0)), 1)
	equal(f.T, "chats", len(f.chats("bob", chat.ID{}, 9, 0)), 1)
	equal(f.T, "receipts", len(f.receipts("alice", 0, 9)), 1)
	f.readTo("bob", "alice", 6)
	f.delivered("bob", 7)
	seen, err := f.LastSeen(f.ctx, "bob")
	must(f.T, err)
	equal(f.T, "last seen", seen, day0)
}

// calls are all methods but Close, for what holds of every one.
func (f *fixture) calls() map[string]func(ctx context.Context) error {
	s := f.Store
	return map[string]func(ctx context.Context) error{
		"Apply":   func(ctx context.Context) error { return s.Apply(ctx, &storage.Batch{}) },
		"Mark":    func(ctx context.Context) error { _, err := s.Mark(ctx, 0); return err },
		"Sync":    s.Sync,
		"Message": func(ctx context.Context) error { _, _, err := s.Message(ctx, chat.ChatID{}, chat.ID{}, 0); return err },
		"History": func(ctx context.Context) error {
			_, err := s.History(ctx, chat.ChatID{}, chat.ID{}, 1, 0, nil)
			return err
		},
		"Inbox":     func(ctx context.Context) error { _, _, err := s.Inbox(ctx, "a", 0, 9, 1, 0, nil); return err },
		"Senders":   func(ctx context.Context) error { _, _, err := s.Senders(ctx, "a", 0, 9, 1, nil); return err },
		"Waiting":   func(ctx context.Context) error { _, err := s.Waiting(ctx, "a", 0, 9, 1); return err },
		"Truncated": func(ctx context.Context) error { _, err := s.Truncated(ctx, "a", 0); return err },
		"Receipts":  func(ctx context.Context) error { _, err := s.Receipts(ctx, "a", 0, 9, "", 9, nil); return err },
		"ReadReceipts": func(ctx context.Context) error {
			return s.ReadReceipts(ctx, []storage.ReceiptAt{receiptAt("a", "b", 0, 0, 0)})
		},
		"ReadTo":  func(ctx context.Context) error { _, err := s.ReadTo(ctx, "a", "b"); return err },
		"Cursors": func(ctx context.Context) error { _, err := s.Cursors(ctx, "a"); return err },
		"ReadCursors": func(ctx context.Context) error {
			return s.ReadCursors(ctx, []storage.UserCursor{userCursor("a", "d", 0)})
		},
		"Delivered":    func(ctx context.Context) error { _, err := s.Delivered(ctx, "a"); return err },
		"Chats":        func(ctx context.Context) error { _, err := s.Chats(ctx, "a", chat.ID{}, 9, 0, nil); return err },
		"HasChat":      func(ctx context.Context) error { _, err := s.HasChat(ctx, "a", "b"); return err },
		"Devices":      func(ctx context.Context) error { _, err := s.Devices(ctx, "a"); return err },
		"PutDevice":    func(ctx context.Context) error { return s.PutDevice(ctx, "a", storage.Device{Name: "d"}) },
		"LabelDevice":  func(ctx context.Context) error { _, err := s.LabelDevice(ctx, "a", "d", "l"); return err },
		"RevokeDevice": func(ctx context.Context) error { _, err := s.RevokeDevice(ctx, "a", "d", 1); return err },
		"Applied":      func(ctx context.Context) error { _, err := s.Applied(ctx, 0); return err },
		"Heads":        func(ctx context.Context) error { _, err := s.Heads(ctx, []chat.User{"a"}, nil); return err },
		"PushTargets":  func(ctx context.Context) error { _, err := s.PushTargets(ctx, "a"); return err },
		"PutPushTarget": func(ctx context.Context) error {
			return s.PutPushTarget(ctx, "a", storage.PushTarget{Device: "d", Provider: "p", Token: "t"})
		},
		"PutPushed":   func(ctx context.Context) error { return s.PutPushed(ctx, "a", "d", 1) },
		"LastSeen":    func(ctx context.Context) error { _, err := s.LastSeen(ctx, "a"); return err },
		"PutLastSeen": func(ctx context.Context) error { return s.PutLastSeen(ctx, "a", 1) },
		"Sweep":       func(ctx context.Context) error { _, err := s.Sweep(ctx, 1, 1, 1); return err },
	}
}

func testClosed(f *fixture) {
	must(f.T, f.Close())
	for name, call := range f.calls() {
		if err := call(f.ctx); !errors.Is(err, storage.ErrClosed) {
			f.Errorf("%s on a closed store: %v", name, err)
		}
	}
	if err := f.Close(); !errors.Is(err, storage.ErrClosed) {
		f.Errorf("Close on a closed store: %v", err)
	}
}

func testContextEnded(f *fixture) {
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	for name, call := range f.calls() {
		if err := call(ctx); !errors.Is(err, context.Canceled) {
			f.Errorf("%s with an ended context: %v", name, err)
		}
	}
}
