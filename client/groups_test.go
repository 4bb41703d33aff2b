package client_test

import (
	"bytes"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/packet"
)

var groupOf = string(chat.NewGroup("", chat.NewID(7, 1, chat.Node{9})))

// A message to a group is a link of the chain; its place is in the group's order,
// and so is the mark of who has read it, which waits for nothing.
func TestMessageOfAGroup(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{Resume: 10})
	id := chat.NewID(chat.Ticks(f.c.Now()), 1, chat.Node{9, 9})
	conn.Write(&packet.GroupMessage{Pos: 12, Gap: 2, ID: id, From: []byte("bob"), Group: []byte(groupOf), Place: 5000, Content: []byte("hi")})
	m := receive[client.Message](t, f.c)
	if m.From != "bob" || string(m.To) != groupOf || m.Place != 5000 || string(m.Content) != "hi" {
		t.Fatalf("got %+v", m)
	}
	must(t, f.c.MarkRead(groupOf, m.Place))
	if r := expect[packet.Read](t, conn, packet.TypeRead); string(r.Peer) != groupOf || r.Pos != 5000 {
		t.Fatalf("read %+v", r)
	}
	conn.Write(message(13, 12, "next"))
	receive[client.Message](t, f.c)
	if m := expect[packet.Mark](t, conn, packet.TypeMark); m.Pos < 12 {
		t.Fatalf("marked %v", m.Pos)
	}
}

// A change of a group is a send to it; a new group has the name of its id.
func TestChangesOfAGroup(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{Limits: map[string]uint64{packet.LimitGroupMembers: 8}})
	group, _, err := f.c.CreateGroup(ctx(t), []byte{1}, "bob", "carol")
	must(t, err)
	m := expect[packet.Send](t, conn, packet.TypeSend)
	id, ok := chat.User(group).GroupID()
	change := chat.Change{Verb: chat.GroupCreate, Users: []chat.User{"bob", "carol"}, Info: []byte{1}}
	if !ok || id != m.ID || string(m.To) != group || m.Suite != chat.SuiteGroup || !bytes.Equal(m.Content, change.AppendTo(nil)) {
		t.Fatalf("%s is made by %+v", group, m)
	}
	if _, err = f.c.ChangeGroup(ctx(t), group, chat.GroupLeave, "bob"); chat.CodeOf(err) != chat.CodeBadChange {
		t.Errorf("a leave with users: %v", err)
	}
	if _, err = f.c.ChangeGroup(ctx(t), "bob", chat.GroupLeave); chat.CodeOf(err) != chat.CodeBadName {
		t.Errorf("leaving a user: %v", err)
	}
	_, err = f.c.SetGroupInfo(ctx(t), group, []byte{2})
	must(t, err)
	if m := expect[packet.Send](t, conn, packet.TypeSend); m.Content[1] != byte(chat.GroupInfo) {
		t.Errorf("info is sent as %+v", m)
	}
	done := make(chan *client.GroupPage, 1)
	go func() {
		page, err := f.c.Group(ctx(t), group, "bob", 5)
		if err != nil {
			t.Error(err)
		}
		done <- page
	}()
	q := expect[packet.GroupGet](t, conn, packet.TypeGroupGet)
	if q.Group != group || q.Beyond != "bob" || q.Limit != 5 {
		t.Errorf("asked %+v", q)
	}
	conn.Write(&packet.GroupPage{Req: q.Req, Group: group, Info: []byte{2}, More: true, Members: []packet.MemberRow{{User: "carol", Admin: true, Since: 1, Delivered: 3, Read: 2}}})
	page := <-done
	if page == nil || len(page.Members) != 1 || page.Members[0] != (client.Member{User: "carol", Admin: true, Since: 1, Delivered: 3, Read: 2}) || !page.More || string(page.Group) != group {
		t.Errorf("page %+v", page)
	}
}

// A server without groups is not asked.
func TestNoGroupsThere(t *testing.T) {
	f := newFixture(t, nil)
	f.welcome(packet.Welcome{})
	if _, err := f.c.Group(ctx(t), groupOf, "", 0); chat.CodeOf(err) != chat.CodeUnknownType {
		t.Errorf("asking: %v", err)
	}
}
