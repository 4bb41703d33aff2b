package storagetest

import (
	"fmt"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// testSweepExpired: what has expired is gone whatever now a reader gives, and
// the rest is as it was.
func testSweepExpired(f *fixture) {
	var stay []chat.Message
	for i := range 10 {
		m := text("alice", "bob", day0+int64(i), chat.Position(i+1))
		switch {
		case i < 4:
			m.Expires = day0 + 1000 + int64(i)
		case i < 7:
			m.Expires = day0 + 9000
			fallthrough
		default:
			stay = append(stay, m)
		}
		f.send(m)
	}
	f.sweep(day0+1003, 0, 0)
	f.sweep(day0+1003, 0, 0)
	c := stay[0].Chat()
	equal(f.T, "history", f.history(c, chat.ID{}, 99, 0), reversed(stay))
	equal(f.T, "inbox", len(f.inbox("bob", 0, 10, 99, 0)), len(stay))
	equal(f.T, "chats", f.chats("bob", chat.ID{}, 9, 0), []storage.ChatSummary{{Peer: "alice", Last: stay[5]}})
	f.hasChat("alice", "bob", true)
	t, err := f.Truncated(f.ctx, "bob", 0)
	must(f.T, err)
	equal(f.T, "expiry truncates nothing", t, 0)
}

// testSweepStubs: a swept message's id stays known, without content, until a
// send of it would be refused for its age.
func testSweepStubs(f *fixture) {
	young, old := text("alice", "bob", day0, 1), text("alice", "bob", day0-20*dayMs, 2)
	for _, m := range []*chat.Message{&young, &old} {
		m.Expires, m.Media, m.Suite = day0+dayMs, "https://media.example/1", 2
	}
	f.send(young, old)
	f.sweep(day0+2*dayMs, 0, 0)
	for _, m := range []chat.Message{young, old} {
		got, found, err := f.Message(f.ctx, m.Chat(), m.ID, 0)
		must(f.T, err)
		equal(f.T, "found", found, true)
		equal(f.T, "content", len(got.Content)+len(got.Media), 0)
		got.Content = nil
		m.Content, m.Media = nil, ""
		equal(f.T, "stub", got, m)
		f.notFound(m.Chat(), m.ID, day0)
		equal(f.T, "history", f.history(m.Chat(), chat.ID{}, 9, 0), nil)
	}
	f.reopen()
	f.sweep(day0+12*dayMs, 0, 0)
	f.notFound(old.Chat(), old.ID, 0)
	_, found, err := f.Message(f.ctx, young.Chat(), young.ID, 0)
	must(f.T, err)
	equal(f.T, "the young one's stub", found, true)
	f.sweep(day0+32*dayMs, 0, 0)
	f.notFound(young.Chat(), young.ID, 0)

	long := text("alice", "bob", day0, 3) // outlives the need for a stub
	long.Expires = day0 + 40*dayMs
	f.send(long)
	f.sweep(day0+40*dayMs, 0, 0)
	f.notFound(long.Chat(), long.ID, 0)
}

// testSweepMany: a sweep that takes several calls ends, and takes all.
func testSweepMany(f *fixture) {
	const n = 3000
	var b storage.Batch
	for i := range n {
		m := text("alice", "bob", day0+int64(i), chat.Position(i+1))
		m.Expires = day0 + int64(i%7)*1000
		if i%10 == 9 {
			m.Expires = 0
		}
		b.Messages = append(b.Messages, m)
		b.Inbox = append(b.Inbox, inboxEntry(m))
	}
	f.apply(b)
	f.sweep(day0+dayMs, day0+n/2, 0)
	equal(f.T, "messages left", len(f.history(b.Messages[0].Chat(), chat.ID{}, n, 0)), n/10)
	first := b.Messages[n/2].Place
	left, err := f.Waiting(f.ctx, "bob", 0, n, n)
	must(f.T, err)
	if left > n/2+3 { // At is 3 ms after the id's time
		f.Fatalf("%d inbox rows are left", left)
	}
	t, err := f.Truncated(f.ctx, "bob", 0)
	must(f.T, err)
	if t < first-4 || t >= first {
		f.Fatalf("truncated up to %d, rows from %d on stay", t, first)
	}
}

// testSweepInboxes: each inbox is swept up to its first entry that stays, and
// says so; messages and the other rows stay.
func testSweepInboxes(f *fixture) {
	at := func(to chat.User, pos chat.Position, at int64) chat.Message {
		m := text("alice", to, at, pos)
		m.At = at
		return m
	}
	f.send(at("bob", 3, day0), at("bob", 5, day0+1), at("bob", 9, day0+2),
		at("bobby", 4, day0), at("carol", 2, day0+2), at("zoe", 8, day0+1))
	for range 2 {
		f.sweep(day0, day0+2, 0)
		for user, want := range map[chat.User]struct {
			truncated chat.Position
			left      int
		}{"bob": {5, 1}, "bobby": {4, 0}, "carol": {0, 1}, "zoe": {8, 0}, "alice": {0, 0}} {
			got, err := f.Truncated(f.ctx, user, 0)
			must(f.T, err)
			equal(f.T, "truncated of "+string(user), got, want.truncated)
			equal(f.T, "left of "+string(user), len(f.inbox(user, 0, 99, 9, 0)), want.left)
		}
	}
	equal(f.T, "history", len(f.history(chat.DirectChat("alice", "bob"), chat.ID{}, 9, 0)), 3)
	for after, want := range map[chat.Position]chat.Position{2: 5, 4: 5, 5: 0, 8: 0, 9: 0, 99: 0} {
		got, err := f.Truncated(f.ctx, "bob", after)
		must(f.T, err)
		equal(f.T, fmt.Sprintf("truncated of bob after %d", after), got, want)
	}

	// Replayed after a crash, rows come back below what is truncated: sweeping
	// them again does not turn it back.
	f.send(at("bob", 3, day0))
	f.sweep(day0, day0+1, 0)
	got, err := f.Truncated(f.ctx, "bob", 0)
	must(f.T, err)
	equal(f.T, "truncated", got, 5)
}

func testSweepNothing(f *fixture) {
	m := text("alice", "bob", day0, 1)
	m.Expires = day0 + 10
	f.send(m)
	for _, c := range [][3]int64{{0, 0, 0}, {day0 + 9, day0, day0}, {0, day0 + 3, day0}, {day0 + 9, 0, 1}} {
		more, err := f.Sweep(f.ctx, c[0], c[1], c[2])
		must(f.T, err)
		equal(f.T, "more", more, false)
		equal(f.T, "inbox", len(f.inbox("bob", 0, 9, 9, 0)), 1)
	}
}
