package client_test

import (
	"context"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/packet"
)

func came(from chat.User, place chat.Position) client.Message {
	return client.Message{Message: chat.Message{ID: chat.NewID(uint64(place), 1, chat.Node{9}), From: from, To: "alice", Place: place}}
}

func TestUnreadCounts(t *testing.T) {
	u := client.NewUnread("alice")
	for _, place := range []chat.Position{5, 3, 9, 5, 7} { // twice is once
		u.Put(came("bob", place))
	}
	u.Put(came("alice", 11))
	u.Put(client.Message{Message: chat.Message{From: "bob", To: chat.User(groupOf), Place: 4}})
	shares := came("bob", 20)
	shares.Suite = chat.SuiteKeyShare
	u.Put(shares)
	if u.Count("bob") != 4 || u.Count(chat.User(groupOf)) != 1 || u.Count("alice") != 0 || u.Count("carol") != 0 {
		t.Fatalf("counted %d, %d, %d", u.Count("bob"), u.Count(chat.User(groupOf)), u.Count("alice"))
	}
	u.Read("bob", 6)
	u.Read("bob", 2) // never back
	u.Put(came("bob", 4))
	if u.Count("bob") != 2 {
		t.Fatalf("%d above 6", u.Count("bob"))
	}
	if u.Read("bob", 9); u.Count("bob") != 0 || len(u.Chats()) != 1 {
		t.Fatalf("%d above 9, chats %v", u.Count("bob"), u.Chats())
	}
	for place := range chat.Position(2 * client.MaxUnread) {
		u.Put(came("bob", 5000-place))
	}
	if u.Count("bob") != client.MaxUnread+1 {
		t.Fatalf("%d are counted of many", u.Count("bob"))
	}
	if u.Read("bob", 4999); u.Count("bob") != 1 {
		t.Fatalf("%d are left: the newest are to be known", u.Count("bob"))
	}
}

// Load reads back to what was read, over pages, and no further.
func TestUnreadLoads(t *testing.T) {
	asked := 0
	row := func(with, from chat.User, last, mine chat.Position) client.Chat {
		return client.Chat{Peer: with, Mine: mine, Last: came(from, last).Message}
	}
	chats := func(context.Context, chat.ID, int) (*client.ChatsPage, error) {
		return &client.ChatsPage{Chats: []client.Chat{row("bob", "bob", 30, 10), row("carol", "carol", 8, 8), row("dave", "alice", 50, 3)}}, nil
	}
	history := func(_ context.Context, with string, before chat.ID, _ int) (*client.HistoryPage, error) {
		asked++
		at := chat.Position(31)
		if !before.Zero() {
			at = chat.Position(before.Ticks())
		}
		page := &client.HistoryPage{More: true}
		for range 8 {
			at--
			page.Messages = append(page.Messages, came(chat.User(with), at).Message)
		}
		page.Next = page.Messages[7].ID
		return page, nil
	}
	u := client.NewUnread("alice")
	must(t, u.Load(t.Context(), 10, chats, history))
	if u.Count("bob") != 20 || u.Count("carol") != 0 || u.Count("dave") != 27 || asked != 7 {
		t.Fatalf("counted %d, %d and %d, in %d pages", u.Count("bob"), u.Count("carol"), u.Count("dave"), asked)
	}
}

// A block is a message to oneself, and what comes of it an event.
func TestBlock(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{Resume: 10})
	_, err := f.c.Block(ctx(t), "bob", "carol")
	must(t, err)
	m := expect[packet.Send](t, conn, packet.TypeSend)
	change, err := chat.ParseChange(m.Content)
	if err != nil || string(m.To) != "alice" || m.Suite != chat.SuiteGroup || change.Verb != chat.GroupAdd || len(change.Users) != 2 {
		t.Fatalf("sent %+v, %v", m, err)
	}
	conn.Write(&packet.Message{Pos: 12, Gap: 2, ID: m.ID, From: []byte("alice"), Suite: chat.SuiteGroup, Content: m.Content})
	if e := receive[client.Blocks](t, f.c); !e.Blocked || e.At != 12 || len(e.Users) != 2 || e.Users[1] != "carol" {
		t.Errorf("told %+v", e)
	}
	_, err = f.c.Unblock(ctx(t), "bob")
	must(t, err)
	if m := expect[packet.Send](t, conn, packet.TypeSend); m.Content[1] != byte(chat.GroupRemove) {
		t.Errorf("sent %+v", m)
	}
	if _, err := f.c.Block(ctx(t), "no name"); chat.CodeOf(err) != chat.CodeBadName {
		t.Errorf("a name that is none: %v", err)
	}
	if _, err := f.c.Block(ctx(t)); chat.CodeOf(err) != chat.CodeBadChange {
		t.Errorf("nobody: %v", err)
	}
}
