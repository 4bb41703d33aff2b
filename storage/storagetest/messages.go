package storagetest

import (
	"bytes"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

func testMessage(f *fixture) {
	full := chat.Message{
		ID: idAt(day0, 1), From: "alice", To: "bob", Place: chat.NewPosition(3, 77), At: day0 + 5,
		Expires: day0 + dayMs, Suite: 9, Content: bytes.Repeat([]byte{0, 255, 'x'}, 30_000), Media: "https://media.example/1",
	}
	bare := chat.Message{ID: idAt(day0+1, 1), From: "bob", To: "alice", Place: 1, At: day0}
	f.apply(storage.Batch{Messages: []chat.Message{full, bare}})
	for _, want := range []chat.Message{full, bare} {
		got, found, err := f.Message(f.ctx, want.Chat(), want.ID, day0)
		must(f.T, err)
		equal(f.T, "found", found, true)
		equal(f.T, "content", string(got.Content), string(want.Content))
		got.Content, want.Content = nil, nil
		equal(f.T, "message", got, want)
	}
	f.notFound(full.Chat(), idAt(day0, 2), 0)
	f.notFound(chat.DirectChat("alice", "carol"), full.ID, 0)
}

func (f *fixture) notFound(c chat.ChatID, id chat.ID, now int64) {
	f.Helper()
	m, found, err := f.Message(f.ctx, c, id, now)
	must(f.T, err)
	if found {
		f.Fatalf("found %+v at %d", m, now)
	}
}

func testMessageExpiry(f *fixture) {
	m := text("alice", "bob", day0, 1)
	m.Expires = day0 + 1000
	f.send(m)
	for _, c := range []struct {
		now   int64
		found bool
	}{{0, true}, {day0 + 999, true}, {day0 + 1000, false}, {day0 + dayMs, false}} {
		got, found, err := f.Message(f.ctx, m.Chat(), m.ID, c.now)
		must(f.T, err)
		equal(f.T, "found", found, c.found)
		if found {
			equal(f.T, "message", got, m)
		}
	}
}

// Ids of one time are told apart by the node, and ordered by it.
func testMessageSameTime(f *fixture) {
	var sent []chat.Message
	for node := range byte(4) {
		m := text("alice", "bob", day0, chat.Position(node)+1)
		m.ID = idAt(day0, node*80)
		m.Content = []byte{node}
		sent = append(sent, m)
	}
	f.send(sent[2], sent[0], sent[3], sent[1])
	equal(f.T, "history", f.history(sent[0].Chat(), chat.ID{}, 9, 0), reversed(sent))
	equal(f.T, "history before", f.history(sent[0].Chat(), sent[2].ID, 9, 0), reversed(sent[:2]))
	equal(f.T, "a page that ends within a time", f.history(sent[0].Chat(), chat.ID{}, 1, 0), sent[3:])
	equal(f.T, "the page after it", f.history(sent[0].Chat(), sent[3].ID, 1, 0), sent[2:3])
	for _, m := range sent {
		got, _, err := f.Message(f.ctx, m.Chat(), m.ID, 0)
		must(f.T, err)
		equal(f.T, "message", got, m)
	}
}

// conversation stores n messages to and fro, oldest first in what it returns.
func (f *fixture) conversation(a, b chat.User, n int) []chat.Message {
	f.Helper()
	var ms []chat.Message
	for i := range n {
		m := text(a, b, day0+int64(i)*1000, chat.Position(i+1))
		if i%3 == 0 {
			m.From, m.To = b, a
		}
		ms = append(ms, m)
	}
	f.send(ms...)
	return ms
}

func testHistoryPages(f *fixture) {
	all := reversed(f.conversation("alice", "bob", 25))
	c := all[0].Chat()
	equal(f.T, "all", f.history(c, chat.ID{}, 1000, 0), all)
	equal(f.T, "first page", f.history(c, chat.ID{}, 10, 0), all[:10])
	equal(f.T, "second page", f.history(c, all[9].ID, 10, 0), all[10:20])
	equal(f.T, "last page", f.history(c, all[19].ID, 10, 0), all[20:])
	equal(f.T, "after the last", f.history(c, all[24].ID, 10, 0), nil)
	equal(f.T, "before an id that is not there", f.history(c, idAt(all[5].ID.UnixMilli()+1, 0), 2, 0), all[5:7])
	equal(f.T, "before the future", f.history(c, idAt(day0+dayMs, 0), 2, 0), all[:2])
	equal(f.T, "no limit at all", f.history(c, chat.ID{}, 0, 0), nil)
}

func testHistoryExpiry(f *fixture) {
	var all, stay []chat.Message
	for i := range 20 {
		m := text("alice", "bob", day0+int64(i), chat.Position(i+1))
		if i%2 == 0 {
			m.Expires = day0 + dayMs + int64(i)
		} else {
			stay = append(stay, m)
		}
		all = append(all, m)
	}
	f.send(all...)
	c := all[0].Chat()
	equal(f.T, "whatever its expiry", f.history(c, chat.ID{}, 99, 0), reversed(all))
	equal(f.T, "before any expired", f.history(c, chat.ID{}, 99, day0+dayMs-1), reversed(all))
	equal(f.T, "one expired", f.history(c, chat.ID{}, 99, day0+dayMs), reversed(all[1:]))
	equal(f.T, "all expired", f.history(c, chat.ID{}, 99, day0+2*dayMs), reversed(stay))
	equal(f.T, "a page is full without the expired", f.history(c, chat.ID{}, 4, day0+2*dayMs), reversed(stay)[:4])
}

func testHistoryChatsApart(f *fixture) {
	ab := f.conversation("alice", "bob", 3)
	ac := f.conversation("alice", "carol", 3)
	aa := text("alice", "alice", day0, 90)
	f.send(aa)
	equal(f.T, "with bob", f.history(chat.DirectChat("bob", "alice"), chat.ID{}, 9, 0), reversed(ab))
	equal(f.T, "with carol", f.history(chat.DirectChat("alice", "carol"), chat.ID{}, 9, 0), reversed(ac))
	equal(f.T, "with themself", f.history(aa.Chat(), chat.ID{}, 9, 0), []chat.Message{aa})
	equal(f.T, "with nobody", f.history(chat.DirectChat("bob", "carol"), chat.ID{}, 9, 0), nil)
}

func (f *fixture) chats(user chat.User, before chat.ID, limit int, now int64) []storage.ChatSummary {
	f.Helper()
	cs, err := f.Store.Chats(f.ctx, user, before, limit, now, nil)
	must(f.T, err)
	return cs
}

// testChats: the newest message decides, whoever sent it and whenever the chat
// began.
func testChats(f *fixture) {
	equal(f.T, "of nobody", f.chats("alice", chat.ID{}, 9, 0), nil)
	f.send(text("alice", "bob", day0, 1), text("carol", "alice", day0+1, 2), text("alice", "dave", day0+2, 3))
	last := text("bob", "alice", day0+3, 4)
	f.send(last)
	toSelf := text("alice", "alice", day0+1, 5)
	toSelf.ID = idAt(day0+1, 9)
	f.send(toSelf)
	want := []storage.ChatSummary{
		{Peer: "bob", Last: last},
		{Peer: "dave", Last: text("alice", "dave", day0+2, 3)},
		{Peer: "alice", Last: toSelf},
		{Peer: "carol", Last: text("carol", "alice", day0+1, 2)},
	}
	equal(f.T, "alice's", f.chats("alice", chat.ID{}, 9, 0), want)
	equal(f.T, "the first two", f.chats("alice", chat.ID{}, 2, 0), want[:2])
	equal(f.T, "none", f.chats("alice", chat.ID{}, 0, 0), nil)
	equal(f.T, "bob's", f.chats("bob", chat.ID{}, 9, 0), []storage.ChatSummary{{Peer: "alice", Last: last}})
}

// testChatsBefore: a page begins right after the last message of the one before
// it, whatever the messages' times.
func testChatsBefore(f *fixture) {
	f.send(text("alice", "bob", day0, 1), text("alice", "carol", day0+10, 1), text("alice", "dave", day0+20, 1))
	atOnce := text("erin", "alice", day0+10, 2)
	atOnce.ID = idAt(day0+10, 9)
	f.send(atOnce)
	all := f.chats("alice", chat.ID{}, 9, 0)
	var peers []chat.User
	for _, s := range all {
		peers = append(peers, s.Peer)
	}
	equal(f.T, "all", peers, []chat.User{"dave", "erin", "carol", "bob"})
	for limit := 1; limit <= 4; limit++ {
		var paged []storage.ChatSummary
		var before chat.ID
		for len(paged) < len(all) {
			page := f.chats("alice", before, limit, 0)
			equal(f.T, "chats on a page", len(page), min(limit, len(all)-len(paged)))
			paged = append(paged, page...)
			before = page[len(page)-1].Last.ID
		}
		equal(f.T, "all, by pages", paged, all)
		equal(f.T, "after the last page", f.chats("alice", before, limit, 0), nil)
	}
	equal(f.T, "before an id that is not there", f.chats("alice", idAt(day0+11, 0), 9, 0), all[1:])
}

// testChatsExpiry: an expired message is no chat's newest; a chat of nothing
// else is not shown, and still is a chat.
func testChatsExpiry(f *fixture) {
	old := text("alice", "bob", day0, 1)
	gone := text("bob", "alice", day0+5, 2)
	gone.Expires = day0 + 100
	only := text("alice", "carol", day0+9, 3)
	only.Expires = day0 + 100
	f.send(old, gone, only)
	before := []storage.ChatSummary{{Peer: "carol", Last: only}, {Peer: "bob", Last: gone}}
	after := []storage.ChatSummary{{Peer: "bob", Last: old}}
	equal(f.T, "before", f.chats("alice", chat.ID{}, 9, day0+99), before)
	equal(f.T, "after", f.chats("alice", chat.ID{}, 9, day0+100), after)
	f.sweep(day0+100, 0, 0)
	equal(f.T, "swept", f.chats("alice", chat.ID{}, 9, 0), after)
	f.hasChat("alice", "carol", true)
}

// testChatsOfKeyShares: a key share makes no chat, and is in one that there is.
func testChatsOfKeyShares(f *fixture) {
	share, m, later := text("alice", "bob", day0, 1), text("bob", "alice", day0+5, 2), text("alice", "bob", day0+9, 3)
	share.Suite, later.Suite = chat.SuiteKeyShare, chat.SuiteKeyShare
	f.send(share)
	f.hasChat("alice", "bob", false)
	equal(f.T, "of a share alone", f.chats("alice", chat.ID{}, 9, 0), nil)
	equal(f.T, "its history", f.history(m.Chat(), chat.ID{}, 9, 0), []chat.Message{share})
	f.send(m)
	equal(f.T, "of a message", f.chats("alice", chat.ID{}, 9, 0), []storage.ChatSummary{{Peer: "bob", Last: m}})
	f.hasChat("alice", "bob", true)
	f.send(later)
	equal(f.T, "a share after it", f.chats("bob", chat.ID{}, 9, 0), []storage.ChatSummary{{Peer: "alice", Last: later}})
}

func (f *fixture) hasChat(a, b chat.User, want bool) {
	f.Helper()
	for _, p := range [][2]chat.User{{a, b}, {b, a}} {
		got, err := f.HasChat(f.ctx, p[0], p[1])
		must(f.T, err)
		if got != want {
			f.Fatalf("HasChat(%s, %s) is %v", p[0], p[1], got)
		}
	}
}

func testHasChat(f *fixture) {
	f.hasChat("alice", "bob", false)
	f.send(text("alice", "bob", day0, 1))
	f.hasChat("alice", "bob", true)
	f.hasChat("alice", "alice", false)
	f.hasChat("alice", "carol", false)
	f.hasChat("bob", "carol", false)
	f.send(text("carol", "carol", day0, 1))
	f.hasChat("carol", "carol", true)
	f.reopen()
	f.hasChat("alice", "bob", true)
	f.send(text("alice", "bob", day0+1, 2))
	f.hasChat("alice", "bob", true)
}
