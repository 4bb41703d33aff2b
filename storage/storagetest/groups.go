package storagetest

import (
	"fmt"
	"slices"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

var testGroup = chat.NewGroup("", idAt(day0, 9))

func member(user chat.User, at chat.Position, spans ...storage.Span) storage.MemberAt {
	return storage.MemberAt{Group: testGroup, User: user, Spans: spans, Pos: at}
}

// groupEntry is a member's row of a message to a group.
func groupEntry(kind chat.EntryKind, user chat.User, pos chat.Position, m chat.Message) chat.Entry {
	return chat.Entry{Kind: kind, User: user, Pos: pos, Message: refOf(m)}
}

func (f *fixture) members(group, beyond chat.User, limit int) []storage.Member {
	f.Helper()
	ms, err := f.Store.Members(f.ctx, group, beyond, limit, nil)
	must(f.T, err)
	return ms
}

// testGroups holds that rows of a group are what was written last, in pages, and
// apart from those of others, also when a batch comes again.
func testGroups(f *fixture) {
	other := chat.NewGroup("acme", idAt(day0, 9))
	if info, at, err := f.GroupInfo(f.ctx, testGroup); err != nil || at != 0 || info != nil {
		f.Fatalf("a group before it is: %x at %d, %v", info, at, err)
	}
	equal(f.T, "members of none", f.members(testGroup, "", 10), nil)
	first := storage.Batch{
		Groups:  []storage.GroupAt{{Group: testGroup, Info: []byte{1, 2}, Pos: 10}},
		Members: []storage.MemberAt{member("bob", 10, storage.Span{From: 10}), member("alice", 10, storage.Span{From: 10, Admin: true}), member("bobby", 10, storage.Span{From: 10})},
	}
	f.apply(first)
	f.apply(storage.Batch{
		Groups:     []storage.GroupAt{{Group: other, Pos: 11}},
		Members:    []storage.MemberAt{{Group: other, User: "acme/zoe", Spans: []storage.Span{{From: 11, Admin: true}}, Pos: 11}},
		GroupMarks: []storage.GroupMark{{Group: other, User: "acme/zoe", Delivered: 11, Pos: 12}},
	})
	f.apply(storage.Batch{
		Members:    []storage.MemberAt{member("bob", 20, storage.Span{From: 10, To: 20}), member("carol", 20, storage.Span{From: 20})},
		GroupMarks: []storage.GroupMark{{Group: testGroup, User: "bobby", Delivered: 15, Read: 13, Sent: 14, Pos: 21}},
	})
	want := []storage.Member{
		{User: "alice", Spans: []storage.Span{{From: 10, Admin: true}}, Changed: 10},
		{User: "bob", Spans: []storage.Span{{From: 10, To: 20}}, Changed: 20},
		{User: "bobby", Spans: []storage.Span{{From: 10}}, Changed: 10, Delivered: 15, Read: 13, Sent: 14},
		{User: "carol", Spans: []storage.Span{{From: 20}}, Changed: 20},
	}
	check := func() {
		f.Helper()
		equal(f.T, "members", f.members(testGroup, "", 10), want)
		for limit := 1; limit < 5; limit++ {
			var pages []storage.Member
			for beyond := chat.User(""); ; beyond = pages[len(pages)-1].User {
				page := f.members(testGroup, beyond, limit)
				if pages = append(pages, page...); len(page) < limit {
					break
				}
			}
			equal(f.T, fmt.Sprintf("pages of %d", limit), pages, want)
		}
		one, err := f.Member(f.ctx, testGroup, "bobby")
		must(f.T, err)
		equal(f.T, "a member", one, want[2])
		none, err := f.Member(f.ctx, testGroup, "acme/zoe")
		must(f.T, err)
		equal(f.T, "no member", none, storage.Member{User: "acme/zoe"})
		info, at, err := f.GroupInfo(f.ctx, testGroup)
		must(f.T, err)
		equal(f.T, "info", info, []byte{1, 2})
		equal(f.T, "place of the info", at, 10)
		if info, at, err := f.GroupInfo(f.ctx, other); err != nil || at != 11 || len(info) > 0 {
			f.Fatalf("a group without info: %x at %d, %v", info, at, err)
		}
	}
	check()
	must(f.T, f.Sync(f.ctx))
	f.reopen()
	check()
	f.apply(storage.Batch{Groups: []storage.GroupAt{{Group: testGroup, Pos: 30}}})
	if info, at, err := f.GroupInfo(f.ctx, testGroup); err != nil || at != 30 || len(info) > 0 {
		f.Fatalf("info that was taken away: %x at %d, %v", info, at, err)
	}
}

// testGroupMessages holds that a message to a group is one row, which each
// member's inbox refers to, and that the group is among the members' chats.
func testGroupMessages(f *fixture) {
	m := text("alice", testGroup, day0, 12)
	f.apply(storage.Batch{Messages: []chat.Message{m}, Members: []storage.MemberAt{
		member("alice", 10, storage.Span{From: 10, Admin: true}), member("bob", 10, storage.Span{From: 10}), member("carol", 10, storage.Span{From: 10})}})
	f.apply(storage.Batch{Partition: 1, Inbox: []chat.Entry{
		groupEntry(chat.EntryCopy, "alice", 7, m), groupEntry(chat.EntryMessage, "bob", 7, m), groupEntry(chat.EntryMessage, "carol", 7, m)}})
	direct := text("alice", "bob", day0+1000, 8)
	f.send(direct)
	for user, kind := range map[chat.User]chat.EntryKind{"alice": chat.EntryCopy, "bob": chat.EntryMessage, "carol": chat.EntryMessage} {
		equal(f.T, "inbox of "+string(user), f.inbox(user, 0, 7, 10, day0), []chat.Entry{{Kind: kind, User: user, Pos: 7, Message: m}})
		got, err := f.Store.Chats(f.ctx, user, chat.ID{}, 10, day0, nil)
		must(f.T, err)
		at := slices.IndexFunc(got, func(c storage.ChatSummary) bool { return c.Peer == testGroup })
		if at < 0 {
			f.Fatalf("the group is not among the chats of %s: %+v", user, got)
		}
		equal(f.T, "newest of the group", got[at].Last, m)
		ok, err := f.HasChat(f.ctx, user, testGroup)
		must(f.T, err)
		equal(f.T, "has the group", ok, true)
	}
	equal(f.T, "history", f.history(chat.GroupChat(testGroup), chat.ID{}, 10, day0), []chat.Message{m})
	senders, last, err := f.Senders(f.ctx, "bob", 0, 9, 10, nil)
	must(f.T, err)
	equal(f.T, "senders", senders, []storage.Sender{{From: testGroup, Pos: 7, Place: 12}, {From: "alice", Pos: 8}})
	equal(f.T, "senders up to", last, 9)
	if ok, err := f.HasChat(f.ctx, "dave", testGroup); ok || err != nil {
		f.Fatalf("who is no member has the group: %v", err)
	}
}

// testSpans needs no store: what the spans of a member say.
func testSpans(f *fixture) {
	m := storage.Member{Spans: []storage.Span{{From: 10, To: 20}, {From: 20, To: 30, Admin: true}, {From: 40}}}
	for _, c := range []struct {
		place         chat.Position
		at, admin     bool
		reads         bool
		since         chat.Position
		adminFromHere bool
	}{
		{9, false, false, false, 0, false}, {10, false, false, true, 10, false}, {11, true, false, true, 10, false},
		{20, true, false, true, 10, true}, {21, true, true, true, 10, true}, {30, true, true, true, 0, false},
		{31, false, false, false, 0, false}, {40, false, false, true, 40, false}, {99, true, false, true, 40, false},
	} {
		s, ok := m.At(c.place)
		since, admin := m.Since(c.place)
		if ok != c.at || s.Admin != c.admin || m.MayRead(c.place) != c.reads || since != c.since || admin != c.adminFromHere {
			f.Errorf("at %d: %v %+v, reads %v, since %d, admin %v", c.place, ok, s, m.MayRead(c.place), since, admin)
		}
	}
	for place, want := range map[chat.Position][]storage.Span{
		10: {}, 11: {{From: 10}}, 20: {{From: 10}}, 21: {{From: 10, To: 20}, {From: 20, Admin: true}},
		40: {{From: 10, To: 20}, {From: 20, To: 30, Admin: true}}, 41: m.Spans,
	} {
		equal(f.T, fmt.Sprintf("spans as of %d", place), storage.AsOf(m.Spans, place), want)
	}
	equal(f.T, "spans afterwards", m.Spans[0].To, 20)
	back, err := storage.ParseSpans(storage.AppendSpans(nil, m.Spans))
	must(f.T, err)
	equal(f.T, "spans", back, m.Spans)
	for _, bad := range []string{"", "\x02", "\x01\x01", "\x01\x01\x02"} {
		if s, err := storage.ParseSpans([]byte(bad)); err == nil {
			f.Errorf("%q is %+v", bad, s)
		}
	}
}

// testBlocks: whom a user has blocked are rows like those of members, in order
// and in pages, and make no chat.
func testBlocks(f *fixture) {
	blocks := func(user, peer chat.User, at chat.Position, spans ...storage.Span) storage.MemberAt {
		return storage.MemberAt{Group: user, User: peer, Spans: spans, Pos: at}
	}
	f.apply(storage.Batch{Members: []storage.MemberAt{
		blocks("alice", "bob", 10, storage.Span{From: 10}), blocks("alice", "carol", 11, storage.Span{From: 11}), blocks("alice2", "bob", 12, storage.Span{From: 12}),
	}})
	f.apply(storage.Batch{Members: []storage.MemberAt{blocks("alice", "bob", 20, storage.Span{From: 10, To: 20})}})
	want := []storage.Member{
		{User: "bob", Spans: []storage.Span{{From: 10, To: 20}}, Changed: 20}, {User: "carol", Spans: []storage.Span{{From: 11}}, Changed: 11},
	}
	must(f.T, f.Sync(f.ctx))
	f.reopen()
	equal(f.T, "blocked", f.members("alice", "", 10), want)
	equal(f.T, "a page", f.members("alice", "bob", 10), want[1:])
	equal(f.T, "blocked by nobody", f.members("bob", "", 10), nil)
	one, err := f.Member(f.ctx, "alice", "carol")
	must(f.T, err)
	equal(f.T, "one", one, want[1])
	for _, p := range [][2]chat.User{{"alice", "bob"}, {"bob", "alice"}, {"carol", "alice"}} {
		if ok, err := f.HasChat(f.ctx, p[0], p[1]); ok || err != nil {
			f.Errorf("%v have a chat: %v", p, err)
		}
	}
	got, err := f.Store.Chats(f.ctx, "bob", chat.ID{}, 10, day0, nil)
	must(f.T, err)
	equal(f.T, "chats", len(got), 0)
}
