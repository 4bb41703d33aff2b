package storagetest

import (
	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// toBob stores n messages to bob of several senders, with gaps in their
// positions, and returns the entries that bob's inbox then has.
func (f *fixture) toBob(n int) []chat.Entry {
	f.Helper()
	senders := []chat.User{"alice", "carol", "dave"}
	var entries []chat.Entry
	var prev chat.Position
	for i := range n {
		m := text(senders[i%3], "bob", day0+int64(i), chat.Position(i*3+5))
		f.send(m)
		entries = append(entries, chat.Entry{Kind: chat.EntryMessage, User: "bob", Pos: m.Place, Prev: prev, Message: m})
		prev = m.Place
	}
	return entries
}

func testInboxPages(f *fixture) {
	want := f.toBob(20)
	end := want[19].Pos
	page, last, err := f.Inbox(f.ctx, "bob", 0, end, 7, 0, nil)
	must(f.T, err)
	equal(f.T, "page", page, want[:7])
	equal(f.T, "last", last, want[6].Pos)
	page, last, err = f.Inbox(f.ctx, "bob", last, end, 100, 0, nil)
	must(f.T, err)
	equal(f.T, "the rest", page, want[7:])
	equal(f.T, "last", last, end)
	for _, limit := range []int{1, 3, 19, 20, 21} {
		equal(f.T, "page by page", f.inbox("bob", 0, end, limit, 0), want)
	}
	equal(f.T, "of nobody", f.inbox("eve", 0, end, 5, 0), nil)
}

// testInboxBounds: the lower bound is open, the upper one closed; Prev of the
// first is the lower bound, a row's position or not.
func testInboxBounds(f *fixture) {
	rows := f.toBob(5) // at 5, 8, 11, 14, 17
	for _, c := range []struct{ after, upTo, first, end chat.Position }{
		{0, 17, 0, 5}, {5, 17, 1, 5}, {4, 17, 0, 5}, {7, 11, 1, 3}, {8, 13, 2, 3},
		{17, 17, 0, 0}, {17, 1 << 62, 0, 0}, {0, 4, 0, 0}, {0, 1<<64 - 1, 0, 5}, {13, 14, 3, 4},
	} {
		want := append([]chat.Entry(nil), rows[c.first:c.end]...)
		if len(want) > 0 {
			want[0].Prev = c.after
		}
		got, last, err := f.Inbox(f.ctx, "bob", c.after, c.upTo, 100, 0, nil)
		must(f.T, err)
		equal(f.T, "entries", got, want)
		equal(f.T, "last", last, c.upTo)
	}
}

// testInboxExpiry: expired messages are left out of the entries, and the chain
// closes over them; a page may be short of its limit and is never stuck.
func testInboxExpiry(f *fixture) {
	var want []chat.Entry
	var prev chat.Position
	for i := range 12 {
		m := text("alice", "bob", day0+int64(i), chat.Position(i+1))
		if i%4 != 1 {
			m.Expires = day0 + 1000
		}
		f.send(m)
		if i%4 == 1 {
			want = append(want, chat.Entry{Kind: chat.EntryMessage, User: "bob", Pos: m.Place, Prev: prev, Message: m})
			prev = m.Place
		}
	}
	equal(f.T, "not yet", len(f.inbox("bob", 0, 12, 5, day0+999)), 12)
	equal(f.T, "expired", f.inbox("bob", 0, 12, 100, day0+1000), want)
	for _, limit := range []int{1, 2, 3} {
		got := f.inbox("bob", 0, 12, limit, day0+1000)
		for i := range got {
			got[i].Prev = want[i].Prev // later, where a page without entries was before
		}
		equal(f.T, "expired, by pages", got, want)
	}
	f.sweep(day0+1000, 0, 0)
	equal(f.T, "swept", f.inbox("bob", 0, 12, 100, 0), want)
}

// testInboxCopies: a copy is in the sender's inbox at the sender's position and
// is the same message, with the receiver's place.
func testInboxCopies(f *fixture) {
	m := text("alice", "bob", day0, 40)
	m.Media, m.Suite = "https://media.example/1", 3
	f.send(m)
	f.apply(storage.Batch{Partition: 1, Inbox: []chat.Entry{
		{Kind: chat.EntryCopy, User: "alice", Pos: 7, Message: refOf(m)},
	}})
	self := text("alice", "alice", day0+1, 9)
	f.send(self)
	equal(f.T, "alice's", f.inbox("alice", 0, 9, 10, 0), []chat.Entry{
		{Kind: chat.EntryCopy, User: "alice", Pos: 7, Message: m},
		{Kind: chat.EntryMessage, User: "alice", Pos: 9, Prev: 7, Message: self},
	})
	equal(f.T, "bob's", f.inbox("bob", 0, 40, 10, 0), []chat.Entry{
		{Kind: chat.EntryMessage, User: "bob", Pos: 40, Message: m},
	})
}

// testInboxEpochs: a later epoch comes after every offset of an earlier one, up
// to the last that a signed number of 64 bits holds: databases have no other.
func testInboxEpochs(f *fixture) {
	places := []chat.Position{
		1, 255, 256, chat.MaxOffset, chat.NewPosition(1, 1), chat.NewPosition(1, 300), chat.NewPosition(0x7fff, chat.MaxOffset-1),
	}
	for i, p := range places {
		f.send(text("alice", "bob", day0-int64(i), p))
	}
	var got []chat.Position
	for _, e := range f.inbox("bob", 0, 1<<64-1, 2, 0) {
		got = append(got, e.Pos)
	}
	equal(f.T, "positions", got, places)
	equal(f.T, "between epochs", len(f.inbox("bob", 256, chat.NewPosition(1, 1), 9, 0)), 2)
}

// testSenders: of messages, not of copies, whether they have expired or not; by
// pages of rows, between the same bounds as Inbox.
func testSenders(f *fixture) {
	var want []storage.Sender
	for i, e := range f.toBob(9) { // at 5, 8, … 29
		if i == 4 {
			f.apply(storage.Batch{Inbox: []chat.Entry{{Kind: chat.EntryCopy, User: "bob", Pos: 18, Message: text("bob", "carol", day0, 3)}}})
		}
		want = append(want, storage.Sender{From: e.Message.From, Pos: e.Pos})
	}
	gone := text("erin", "bob", day0+99, 31)
	gone.Expires = 1
	f.send(gone)
	want = append(want, storage.Sender{From: "erin", Pos: 31})
	senders := func(after, upTo chat.Position, limit int) (all []storage.Sender) {
		f.Helper()
		for calls := 0; ; calls++ {
			var last chat.Position
			var err error
			before := len(all)
			all, last, err = f.Senders(f.ctx, "bob", after, upTo, limit, all)
			must(f.T, err)
			if last <= after || last > upTo || len(all)-before > limit || calls > 20 {
				f.Fatalf("Senders(%v, %v, limit %d) has looked up to %v and found %v", after, upTo, limit, last, all[before:])
			}
			if after = last; last == upTo {
				return all
			}
		}
	}
	for _, limit := range []int{1, 2, 3, 10, 11, 12, 100} {
		equal(f.T, "senders", senders(0, 40, limit), want)
		equal(f.T, "senders within", senders(8, 26, limit), want[2:8])
		equal(f.T, "senders of a copy", senders(17, 19, limit), nil)
	}
	_, last, err := f.Senders(f.ctx, "eve", 3, 9, 5, nil)
	must(f.T, err)
	equal(f.T, "last of nobody's", last, 9)
}

func testWaiting(f *fixture) {
	f.toBob(10) // at 5, 8, … 32
	for _, c := range []struct {
		after, upTo chat.Position
		maximum     int
		want        int
	}{{0, 32, 100, 10}, {0, 32, 10, 10}, {0, 32, 9, 9}, {5, 32, 100, 9}, {0, 31, 100, 9}, {32, 99, 100, 0}, {0, 32, 0, 0}, {0, 1<<64 - 1, 99, 10}} {
		got, err := f.Waiting(f.ctx, "bob", c.after, c.upTo, c.maximum)
		must(f.T, err)
		if got != c.want {
			f.Fatalf("Waiting(%d, %d, maximum %d) is %d, not %d", c.after, c.upTo, c.maximum, got, c.want)
		}
	}
}
