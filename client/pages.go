package client

import (
	"errors"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

func (s *session) onHistoryPage(p packet.HistoryPage) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	page := &HistoryPage{Peer: chat.User(p.Peer), More: p.More, Delivered: p.Delivered, Read: p.Read}
	for _, row := range p.Rows {
		page.Messages = append(page.Messages, c.message(row, page.Peer))
	}
	if page.Next = p.Next; p.More && p.Next.Zero() && len(p.Rows) > 0 {
		page.Next = p.Rows[len(p.Rows)-1].ID
	}
	c.peer(page.Peer).advance(p.Delivered, p.Read)
	c.answer(p.Req, page)
	return nil
}

func (s *session) onChatsPage(p packet.ChatsPage) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	page := &ChatsPage{More: p.More}
	for _, row := range p.Chats {
		peer := chat.User(row.Peer)
		page.Chats = append(page.Chats, Chat{
			Peer: peer, Last: c.message(row.Last, peer), Delivered: row.Delivered, Read: row.Read, Mine: row.Mine,
		})
		c.peer(peer).advance(row.Delivered, row.Read)
	}
	c.answer(p.Req, page)
	return nil
}

// message makes a message of a row in the chat with peer.
func (c *Client) message(row packet.Row, peer chat.User) chat.Message {
	c.see(row.ID)
	m := chat.Message{
		ID: row.ID, From: chat.User(row.From), To: chat.User(c.o.User), Place: row.Place,
		At: row.ID.UnixMilli() + row.Late, Expires: row.Expires, Suite: row.Suite,
		Content: append([]byte{}, row.Content...), Media: row.Media,
	}
	if string(m.From) == c.o.User || peer.IsGroup() {
		m.To = peer
	}
	return m
}

func (s *session) onError(p packet.Error) error {
	e := chat.Errorf(p.Code, "%s", p.Text)
	e.RetryAfter = time.Duration(p.Retry) * time.Millisecond
	if !s.welcomed {
		s.said = e
		return nil
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	w, watched := s.watching[p.Req]
	delete(s.watching, p.Req)
	retry := p.Code.Action() == chat.ActionRetry
	switch {
	case s.c.answer(p.Req, error(e)):
	case p.Req == 0 && p.Code == chat.CodeExpired:
		poke(s.expiring) // the token's end comes near
	case watched && retry:
		s.unwatched[w.user] = struct{}{}
		s.calm(e.RetryAfter)
	case watched && p.Code == chat.CodeForbidden && w.news:
		s.unwatched[w.user] = struct{}{}
		s.c.wakeWriter()
	case p.Req == 0 && retry:
		// One of the read marks may be what the server was too busy for.
		for peer := range s.c.reads {
			s.unsent[peer] = struct{}{}
		}
		s.calm(e.RetryAfter)
	default:
		if watched && p.Code == chat.CodeForbidden {
			s.strangers[w.user] = struct{}{}
		}
		s.c.in.tell(Problem{Err: e})
	}
	return nil
}

// calm asks for read marks and watches again after a while. c.mu is held.
func (s *session) calm(after time.Duration) {
	s.calmUntil = time.Now().Add(max(after, s.c.o.BackoffMin))
	s.c.wakeWriter()
}

// retryMs returns the retry-after of an error in ms.
func retryMs(err error) uint64 {
	var e *chat.Error
	if !errors.As(err, &e) {
		return 0
	}
	return uint64(e.RetryAfter / time.Millisecond)
}
