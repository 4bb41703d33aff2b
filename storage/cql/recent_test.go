package cql

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/storage"
)

// TestMembersReadOnce: what members of a group read is asked for once; what has
// been swept meanwhile is hidden all the same.
func TestMembersReadOnce(t *testing.T) {
	o := fresh(t)
	o.SweepRefresh = time.Hour // which makes requests too
	s := open(t, o)
	group := chat.NewGroup("", idAt(day0, 9))
	m, late := text("alice", group, day0, 40), text("alice", group, day0+1000, 41)
	b := storage.Batch{Messages: []chat.Message{m, late}}
	const members = 20
	for n := range members {
		for i, m := range b.Messages {
			b.Inbox = append(b.Inbox, chat.Entry{Kind: chat.EntryMessage, User: chat.User(fmt.Sprint("u", n)), Pos: chat.Position(5 + i), Message: m})
		}
	}
	must(t, s.Apply(t.Context(), &b))
	read := func(want int) {
		t.Helper()
		for n := range members {
			page, _, err := s.Inbox(t.Context(), chat.User(fmt.Sprint("u", n)), 0, 9, 100, 0, nil)
			must(t, err)
			if len(page) != want || string(page[want-1].Message.Content) != string(late.Content) {
				t.Fatalf("the inbox of %d has %+v", n, page)
			}
		}
	}
	before := s.Stats().RequestsTotal
	read(2)
	if n := s.Stats().RequestsTotal - before; n != members+1 {
		t.Errorf("%d requests for %d inboxes with the same messages", n, members)
	}
	if got, found, err := s.Message(t.Context(), m.Chat(), m.ID, 0); err != nil || !found || got.Place != m.Place {
		t.Errorf("the message: %+v, %v, %v", got, found, err)
	}
	if _, err := s.Sweep(t.Context(), 0, 0, day0+500); err != nil {
		t.Fatal(err)
	}
	read(1)
	if _, found, err := s.Message(t.Context(), m.Chat(), m.ID, day0); err != nil || found {
		t.Errorf("what was swept is there: %v, %v", found, err)
	}
}

// TestRecentIsBounded crosses recentBytes and recentFor.
func TestRecentIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recent
		group := chat.NewGroup("", idAt(day0, 9))
		put := func(n int) chat.ID {
			m := text("alice", group, day0+int64(n), 1)
			m.Content = make([]byte, recentBytes/10-recentOverhead)
			r.put(m.Chat(), &m)
			return m.ID
		}
		known := func(id chat.ID) bool {
			_, ok := r.get(chat.GroupChat(group), id)
			return ok
		}
		for n := range 100 {
			id := put(n)
			if len(r.young) > 10 || len(r.old) > 10 || !known(id) {
				t.Fatalf("%d and %d are kept", len(r.young), len(r.old))
			}
		}
		last := put(100)
		time.Sleep(recentFor + 1)
		if !known(last) {
			t.Error("it is forgotten at once")
		}
		time.Sleep(recentFor + 1)
		if known(last) || len(r.old)+len(r.young) > 0 {
			t.Errorf("%d and %d are kept for ever", len(r.young), len(r.old))
		}
		brief, direct := text("alice", group, day0+200, 1), text("alice", "bob", day0+201, 1)
		brief.Expires = day0 + 5000
		for _, m := range []chat.Message{brief, direct} {
			if r.put(m.Chat(), &m); len(r.young) > 0 {
				t.Errorf("kept: %+v", m)
			}
		}
	})
}
