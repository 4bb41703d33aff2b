package gateway

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/packet"
	"github.com/rookery-chat/rookery/storage"
)

// put sends packets in one message.
func (s *resumed) put(packets ...encoder) {
	s.t.Helper()
	var b []byte
	for _, p := range packets {
		b = p.AppendTo(b)
	}
	if _, err := s.net.Write(frame.AppendMasked(nil, frame.OpBinary, b, [4]byte{1, 2, 3, 4})); err != nil {
		s.t.Fatal(err)
	}
}

// until returns how many packets of each type come up to one of the type last.
func (s *resumed) until(last packet.Type) map[packet.Type]int {
	s.t.Helper()
	got := map[packet.Type]int{}
	for got[last] == 0 {
		got[s.next().Type]++
	}
	return got
}

// friendStore has a chat with everybody but strangers, once it is open.
type friendStore struct {
	emptyStore
	open      chan struct{}
	strangers atomic.Bool
}

func (s *friendStore) HasChat(context.Context, chat.User, chat.User) (bool, error) {
	<-s.open
	return !s.strangers.Load(), nil
}

func (s *friendStore) LastSeen(context.Context, chat.User) (int64, error) { return 5, nil }

func (chatStore) Member(context.Context, chat.User, chat.User) (m storage.Member, err error) {
	return m, nil
}

func (chatStore) Members(_ context.Context, _, _ chat.User, _ int, dst []storage.Member) ([]storage.Member, error) {
	return dst, nil
}

func (s *friendStore) Member(context.Context, chat.User, chat.User) (m storage.Member, err error) {
	return m, nil
}

func (s *friendStore) Members(_ context.Context, _, _ chat.User, _ int, dst []storage.Member) ([]storage.Member, error) {
	return dst, nil
}

func names(from, to int) (list []string) {
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprint("user", i))
	}
	return list
}

// A session watches as many users as it may, however many of its requests are
// at work, and each counts once.
func TestWatchesAreBounded(t *testing.T) {
	store := &friendStore{open: make(chan struct{})}
	s := resumeAt(t, store, oneOwner{}, 0)
	most := DefaultOptions().Watches
	s.put(&packet.Watch{Req: 1, Users: names(0, most-1)}, &packet.Watch{Req: 2, Users: names(most, most+2)}, &packet.Ping{})
	if got := s.until(packet.TypePong); got[packet.TypeError] != 1 {
		t.Errorf("over the bound, with requests at work: %v", got)
	}
	close(store.open)
	for range most - 1 {
		s.until(packet.TypePresence)
	}
	s.put(&packet.Watch{Req: 3, Users: names(0, most-1)}, &packet.Watch{Req: 4, Users: names(most, most+1)})
	for range most {
		if got := s.until(packet.TypePresence); got[packet.TypeError] != 0 {
			t.Fatal("those that are watched count twice")
		}
	}
	s.put(&packet.Unwatch{Users: names(0, 2)})
	store.strangers.Store(true)
	s.put(&packet.Watch{Req: 5, Users: names(most, most+2)}) // one known, one not
	s.until(packet.TypeError)
	store.strangers.Store(false)
	s.put(&packet.Watch{Req: 6, Users: names(0, 2)})
	for range 2 {
		if got := s.until(packet.TypePresence); got[packet.TypeError] != 0 {
			t.Fatal("those that could not be watched count")
		}
	}
}

// chatStore has two chats, with the newest message of one not applied yet.
type chatStore struct{ emptyStore }

func (chatStore) Chats(context.Context, chat.User, chat.ID, int, int64, []storage.ChatSummary) ([]storage.ChatSummary, error) {
	return []storage.ChatSummary{
		{Peer: "bob", Last: chat.Message{From: "bob", To: "alice", Place: 11}},
		{Peer: "carol", Last: chat.Message{From: "carol", To: "alice", Place: 10}},
	}, nil
}
func (chatStore) ReadReceipts(context.Context, []storage.ReceiptAt) error             { return nil }
func (chatStore) ReadTo(context.Context, chat.User, chat.User) (chat.Position, error) { return 0, nil }

// Nothing above what is applied is shown (law 5).
func TestChatsShowNothingAboveApplied(t *testing.T) {
	s := resumeAt(t, chatStore{}, storedUpTo{applied: 10}, 0)
	s.put(&packet.Chats{Req: 1})
	for {
		p := s.next()
		if p.Type != packet.TypeChatsPage {
			continue
		}
		var page packet.ChatsPage
		if err := page.Decode(p); err != nil || len(page.Chats) != 1 || page.Chats[0].Peer != "carol" {
			t.Errorf("%+v, %v", page, err)
		}
		return
	}
}

// linkStore has a chat of messages that are nothing but long links.
type linkStore struct{ chatStore }

func (linkStore) History(_ context.Context, _ chat.ChatID, _ chat.ID, limit int, _ int64, dst []chat.Message) ([]chat.Message, error) {
	for range limit {
		dst = append(dst, chat.Message{From: "bob", To: "alice", Place: 1, Media: strings.Repeat("x", 2000)})
	}
	return dst, nil
}

func TestPagesAreBoundedWithTheirLinks(t *testing.T) {
	s := resumeAt(t, linkStore{}, storedUpTo{applied: 10}, 0)
	s.put(&packet.History{Req: 1, Peer: "bob"})
	for {
		p := s.next()
		if p.Type != packet.TypeHistoryPage {
			continue
		}
		var page packet.HistoryPage
		if err := page.Decode(p); err != nil || !page.More || len(page.Rows) == 0 || len(page.Rows)*2000 > pageBytes+2000 {
			t.Errorf("%d rows, more: %v, %v", len(page.Rows), page.More, err)
		}
		return
	}
}
