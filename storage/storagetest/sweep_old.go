package storagetest

import (
	"fmt"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// testSweepOld: no read shows what is older, a chat that has lost all is not
// listed until it has something new, and what is no message stays.
func testSweepOld(f *fixture) {
	ab := f.conversation("alice", "bob", 20) // a second apart
	ac := f.conversation("alice", "carol", 3)
	keep := ab[5:]
	for range 2 {
		f.sweep(0, 0, ab[5].At)
		for _, m := range append(ac[:3:3], ab[:5]...) {
			f.notFound(m.Chat(), m.ID, day0)
		}
		for now := range int64(2) {
			equal(f.T, "history", f.history(ab[0].Chat(), chat.ID{}, 99, now), reversed(keep))
			equal(f.T, "page", f.history(ab[0].Chat(), ab[7].ID, 99, now), reversed(ab[5:7]))
			equal(f.T, "emptied", f.history(ac[0].Chat(), chat.ID{}, 99, now), nil)
			equal(f.T, "chats", f.chats("alice", chat.ID{}, 9, now), []storage.ChatSummary{{Peer: "bob", Last: ab[19]}})
			equal(f.T, "chats of carol", f.chats("carol", chat.ID{}, 9, now), nil)
			equal(f.T, "inbox of carol", f.inbox("carol", 0, 99, 9, now), nil)
			equal(f.T, "inboxes", len(f.inbox("bob", 0, 99, 9, now))+len(f.inbox("alice", 0, 99, 9, now)), len(keep))
		}
		f.hasChat("carol", "alice", true)
		f.reopen()
	}
	again := text("alice", "carol", day0+dayMs, 50)
	f.send(again)
	equal(f.T, "chats of carol", f.chats("carol", chat.ID{}, 9, 0), []storage.ChatSummary{{Peer: "alice", Last: again}})
}

// testSweepOldBounds: a message stays while its id or its At is not before the
// time; one that came in late is not gone before it was there.
func testSweepOldBounds(f *fixture) {
	at := func(id, at int64, place chat.Position) chat.Message {
		m := text("alice", "bob", id, place)
		m.At = at
		return m
	}
	late, ahead := at(day0-29*dayMs, day0, 1), at(day0, day0-5, 2)
	both, gone := at(day0+1, day0+1, 3), at(day0-1, day0-1, 4)
	f.send(late, ahead, both, gone)
	f.sweep(day0, 0, day0)
	equal(f.T, "history", f.history(late.Chat(), chat.ID{}, 9, day0), []chat.Message{both, ahead, late})
	equal(f.T, "inbox", len(f.inbox("bob", 0, 9, 9, day0)), 3)
	f.sweep(day0, 0, day0-100) // lower than before: nothing comes back
	equal(f.T, "history", f.history(late.Chat(), chat.ID{}, 9, day0), []chat.Message{both, ahead, late})
	f.sweep(day0, 0, day0+1)
	equal(f.T, "history", f.history(late.Chat(), chat.ID{}, 9, day0), []chat.Message{both})
}

// testSweepOldStubs: of an old message whose id could be sent again a stub
// stays, and goes in its time; it tells that content is gone.
func testSweepOldStubs(f *fixture) {
	young, old, expires := text("alice", "bob", day0, 1), text("alice", "bob", day0-40*dayMs, 2), text("alice", "bob", day0+1, 3)
	expires.Expires, expires.Media, expires.Suite = day0+5*dayMs, "https://media.example/1", 2
	f.send(young, old, expires)
	for _, now := range []int64{day0 + dayMs, day0 + 30*dayMs} {
		f.sweep(now, 0, day0+dayMs)
		for _, want := range []chat.Message{young, expires} {
			got, found, err := f.Message(f.ctx, want.Chat(), want.ID, 0)
			must(f.T, err)
			equal(f.T, "found", found, true)
			if want.Expires == 0 {
				want.Expires = want.At
			}
			want.Content, want.Media = nil, ""
			equal(f.T, "content", len(got.Content), 0)
			got.Content = nil
			equal(f.T, "stub", got, want)
			f.notFound(want.Chat(), want.ID, day0)
		}
		f.notFound(old.Chat(), old.ID, 0)
		f.reopen()
	}
	f.sweep(day0+32*dayMs, 0, day0+dayMs)
	f.notFound(young.Chat(), young.ID, 0)
	f.notFound(expires.Chat(), expires.ID, 0)
}

// testSweepOldMany: what takes several calls is gone for readers from the first
// on, and a store that is opened in the middle goes on.
func testSweepOldMany(f *fixture) {
	const chats, each, keep = 40, 150, 10
	var b storage.Batch
	for c := range chats {
		for i := range int64(each) {
			m := text("alice", chat.User(fmt.Sprintf("peer%02d", c)), day0+i*dayMs, chat.Position(c*each+int(i)+1))
			b.Messages = append(b.Messages, m)
			b.Inbox = append(b.Inbox, inboxEntry(m))
		}
	}
	f.apply(b)
	const before = day0 + (each-keep)*dayMs
	check := func(now int64) {
		for c := range chats {
			of := b.Messages[c*each : (c+1)*each]
			equal(f.T, "history", f.history(of[0].Chat(), chat.ID{}, each, now), reversed(of[each-keep:]))
			equal(f.T, "inbox", len(f.inbox(of[0].To, 0, 1<<20, each, now)), keep)
		}
	}
	_, err := f.Store.Sweep(f.ctx, 0, 0, before)
	must(f.T, err)
	check(0)
	f.reopen()
	check(before)
	f.sweep(before, 0, before)
	check(before)
	f.sweep(day0+each*dayMs, 0, day0+each*dayMs)
	equal(f.T, "chats", f.chats("alice", chat.ID{}, 99, 0), nil)
}
