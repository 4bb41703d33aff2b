package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/packet"
)

func row(from, content string, place chat.Position) packet.Row {
	id := chat.NewID(chat.Ticks(time.Now())+uint64(place), 1, chat.Node{1})
	return packet.Row{ID: id, From: from, Place: place, Late: 3, Content: []byte(content)}
}

func TestHistory(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	before := chat.NewID(5, 6, chat.Node{1})
	type result struct {
		page *client.HistoryPage
		err  error
	}
	got := make(chan result, 1)
	go func() {
		page, err := f.c.History(context.Background(), "bob", before, 20)
		got <- result{page, err}
	}()
	q := expect[packet.History](t, conn, packet.TypeHistory)
	if q.Peer != "bob" || q.Before != before || q.Limit != 20 {
		t.Fatalf("asked %+v", q)
	}
	// Without an answer it is asked again in the next session, and again when
	// the server is too busy.
	conn.Drop()
	conn, _ = f.welcome(packet.Welcome{})
	q = expect[packet.History](t, conn, packet.TypeHistory)
	conn.Write(&packet.Error{Code: chat.CodeUnavailable, Retry: 1, Req: q.Req})
	q = expect[packet.History](t, conn, packet.TypeHistory)
	conn.Write(&packet.HistoryPage{Req: q.Req, Peer: "bob", Delivered: 7, Read: 3, More: true,
		Rows: []packet.Row{row("alice", "b", 8), row("bob", "a", 4)}})
	r := <-got
	must(t, r.err)
	p := r.page
	if len(p.Messages) != 2 || !p.More || p.Delivered != 7 || p.Read != 3 || p.Peer != "bob" {
		t.Fatalf("page %+v", p)
	}
	if m := p.Messages[0]; m.From != "alice" || m.To != "bob" || string(m.Content) != "b" || m.At != m.ID.UnixMilli()+3 {
		t.Fatalf("message %+v", m)
	}
	if m := p.Messages[1]; m.From != "bob" || m.To != "alice" {
		t.Fatalf("message %+v", m)
	}
}

func TestChats(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	before := chat.ID{1, 2, 3}
	go func() {
		q := packet.Chats{}
		if conn.Expect(packet.TypeChats, &q) == nil && q.Before == before && q.Limit == 5 {
			conn.Write(&packet.ChatsPage{Req: q.Req, Chats: []packet.ChatRow{{Peer: "bob", Delivered: 2, Read: 1, Mine: 9, Last: row("alice", "x", 3)}}})
		}
	}()
	page, err := f.c.Chats(ctx(t), before, 5)
	must(t, err)
	if len(page.Chats) != 1 || page.More {
		t.Fatalf("page %+v", page)
	}
	if c := page.Chats[0]; c.Peer != "bob" || c.Delivered != 2 || c.Read != 1 || c.Mine != 9 || c.Last.To != "bob" {
		t.Fatalf("chat %+v", c)
	}
}

func TestRequestsFail(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	if _, err := f.c.History(canceled(), "bob", chat.ID{}, 1); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	go func() {
		for {
			p, err := conn.Read()
			if err != nil {
				return
			}
			var q packet.History
			if p.Type == packet.TypeHistory && q.Decode(p) == nil && q.Limit == 2 {
				conn.Write(&packet.Error{Code: chat.CodeForbidden, Text: "no", Req: q.Req})
			}
		}
	}()
	_, err := f.c.History(ctx(t), "bob", chat.ID{}, 2)
	wantCode(t, err, chat.CodeForbidden)
	must(t, f.c.Close(ctx(t)))
	if _, err := f.c.Chats(ctx(t), chat.ID{}, 1); !errors.Is(err, client.ErrClosed) {
		t.Fatalf("after Close: %v", err)
	}
}

func TestRequestsInFlightAreLimited(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{Limits: map[string]uint64{packet.LimitRequests: 2}})
	done := make(chan error, 5)
	for range 5 {
		go func() {
			_, err := f.c.Chats(context.Background(), chat.ID{}, 1)
			done <- err
		}()
	}
	a := expect[packet.Chats](t, conn, packet.TypeChats)
	b := expect[packet.Chats](t, conn, packet.TypeChats)
	must(t, f.c.Typing("bob", true))
	expect[packet.Typing](t, conn, packet.TypeTyping) // and no third question before it
	for _, q := range []packet.Chats{a, b} {
		conn.Write(&packet.ChatsPage{Req: q.Req})
	}
	for range 3 {
		q := expect[packet.Chats](t, conn, packet.TypeChats)
		conn.Write(&packet.ChatsPage{Req: q.Req})
	}
	for range 5 {
		must(t, <-done)
	}
}

func TestPresenceIsWatchedInEachSession(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	must(t, f.c.Connected(ctx(t)))
	must(t, f.c.Watch("bob"))
	if w := expect[packet.Watch](t, conn, packet.TypeWatch); fmt.Sprint(w.Users) != "[bob]" {
		t.Fatalf("watch %+v", w)
	}
	conn.Write(&packet.Presence{Peer: "bob", Online: false, Seen: 5000}, &packet.TypingFrom{Peer: []byte("bob"), On: true})
	if p := receive[client.Presence](t, f.c); p.Peer != "bob" || p.Online || p.Seen.UnixMilli() != 5000 {
		t.Fatalf("presence %+v", p)
	}
	if e := receive[client.Typing](t, f.c); e.Peer != "bob" || !e.On {
		t.Fatalf("typing %+v", e)
	}
	conn.Drop()
	conn, _ = f.welcome(packet.Welcome{})
	w := expect[packet.Watch](t, conn, packet.TypeWatch)
	conn.Write(&packet.Error{Code: chat.CodeForbidden, Text: "no chat", Req: w.Req})
	wantCode(t, receive[client.Problem](t, f.c).Err, chat.CodeForbidden)
	must(t, f.c.Unwatch("bob"))
	expect[packet.Unwatch](t, conn, packet.TypeUnwatch)
	conn.Drop()
	conn, _ = f.welcome(packet.Welcome{})
	must(t, f.c.Typing("bob", false))
	must(t, f.c.Connected(ctx(t)))
	must(t, f.c.Typing("bob", true))
	expect[packet.Typing](t, conn, packet.TypeTyping) // and no watch before it
}

func TestWatchBeforeTheFirstMessage(t *testing.T) {
	f := newFixture(t, func(o *client.Options) { o.Manual = true }) // no marks between
	conn, _ := f.welcome(packet.Welcome{})
	must(t, f.c.Watch("bob"))
	watched := func() *packet.Error {
		t.Helper()
		w := expect[packet.Watch](t, conn, packet.TypeWatch)
		return &packet.Error{Code: chat.CodeForbidden, Text: "no chat", Req: w.Req}
	}
	pos := chat.Position(0)
	stored := func(to string) *packet.Copy {
		pos++
		return &packet.Copy{Pos: pos, Gap: 1, ID: chat.NewID(uint64(pos), 1, chat.Node{1}), To: []byte(to), Place: pos}
	}
	conn.Write(watched())
	wantCode(t, receive[client.Problem](t, f.c).Err, chat.CodeForbidden)
	conn.Write(stored("carol"), stored("bob"))
	receive[client.Copy](t, f.c)
	receive[client.Copy](t, f.c)
	refused := watched()
	conn.Write(stored("bob"), refused) // they have a chat since it was asked
	conn.Write(&packet.Presence{Peer: "bob", Online: true})
	_ = watched()
	receive[client.Copy](t, f.c)
	receive[client.Presence](t, f.c) // and no problem before it
	must(t, f.c.Unwatch("bob"))
	expect[packet.Unwatch](t, conn, packet.TypeUnwatch)
	must(t, f.c.Watch("carol"))
	refused = watched()
	must(t, f.c.Unwatch("carol"))
	expect[packet.Unwatch](t, conn, packet.TypeUnwatch)
	conn.Write(refused, stored("carol"))
	receive[client.Problem](t, f.c)
	receive[client.Copy](t, f.c)
	for range 2 {
		must(t, f.c.Typing("carol", true))
		expect[packet.Typing](t, conn, packet.TypeTyping) // and no watch before or behind the first
	}
}

func TestReadMarks(t *testing.T) {
	f := newFixture(t, nil)
	conn, _ := f.welcome(packet.Welcome{})
	must(t, f.c.MarkRead("bob", 5))
	must(t, f.c.Connected(ctx(t)))
	must(t, f.c.Typing("bob", true))
	expect[packet.Typing](t, conn, packet.TypeTyping) // 5 is not reached yet
	conn.Write(&packet.CaughtUp{Pos: 5})
	must(t, f.c.MarkRead("bob", 4)) // never back
	if r := expect[packet.Read](t, conn, packet.TypeRead); string(r.Peer) != "bob" || r.Pos != 5 {
		t.Fatalf("read %+v", r)
	}
	conn.Drop()
	conn, _ = f.welcome(packet.Welcome{Resume: 5})
	expect[packet.Read](t, conn, packet.TypeRead) // nothing said that it had arrived
	conn.Write(&packet.Error{Code: chat.CodeOverloaded, Retry: 1})
	expect[packet.Read](t, conn, packet.TypeRead)
	wantCode(t, f.c.MarkRead("a b", 1), chat.CodeBadName)
}
