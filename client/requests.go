package client

import (
	"context"
	"slices"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// Bounds of what this client keeps to say again in the next session.
const (
	maxReads    = 1024 // peers with a read mark; beyond, some are forgotten
	maxRequests = 1024 // History and Chats that wait at once
)

// HistoryPage is one page of a chat, newest first.
type HistoryPage struct {
	Peer      chat.User
	Messages  []chat.Message
	More      bool          // there are older ones
	Next      chat.ID       // where More begins: what to ask before
	Delivered chat.Position // how far Peer has come with what the user sent
	Read      chat.Position
}

// Chat is one chat of the user.
type Chat struct {
	Peer      chat.User
	Last      chat.Message
	Delivered chat.Position // how far Peer has come with what the user sent
	Read      chat.Position
	Mine      chat.Position // how far the user has read it
}

// ChatsPage is one page of the user's chats, newest first. For the next one ask
// before the last one's Last.ID.
type ChatsPage struct {
	Chats []Chat
	More  bool
}

// request is a question that waits for its answer; it is asked again in each
// session until it has one.
type request struct {
	append func(dst []byte, id uint64) []byte
	limit  string   // a key of the welcome's limits: a server without it does not serve this
	answer chan any // *HistoryPage, *ChatsPage, *GroupPage, done or error
	sent   bool
}

// MarkRead says that the user has been shown the chat with peer, a user or a
// group, up to a position: the Place of a Message. It goes out when there is a session, and
// again in each later one, for nothing says that it has arrived.
func (c *Client) MarkRead(peer string, position chat.Position) error {
	if _, err := chat.NewPeer("", peer); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if position <= c.reads[peer] {
		return c.end
	}
	c.reads[peer] = position
	for other := range c.reads {
		if len(c.reads) <= maxReads {
			break
		}
		if other != peer {
			delete(c.reads, other)
		}
	}
	if c.session != nil {
		c.session.unsent[peer] = struct{}{}
		c.wakeWriter()
	}
	return c.end
}

// Typing tells peer that the user types, or stopped. It may be lost.
func (c *Client) Typing(peer string, on bool) error {
	if _, err := chat.NewUser("", peer); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.say(&packet.Typing{Peer: []byte(peer), On: on})
	return c.end
}

// Watch asks for Presence events of users, now and on change, in this session
// and later ones. What the server refuses becomes a Problem. Presence is for
// those who have a chat: who has none yet is asked for again with the next
// message or receipt of theirs.
func (c *Client) Watch(users ...string) error {
	return c.watch(users, func(s *session) {
		for _, u := range users {
			c.watched[u] = struct{}{}
			if s != nil {
				s.unwatched[u] = struct{}{}
			}
		}
		c.wakeWriter()
	})
}

// Unwatch ends it.
func (c *Client) Unwatch(users ...string) error {
	return c.watch(users, func(s *session) {
		for _, u := range users {
			delete(c.watched, u)
		}
		for some := range slices.Chunk(users, unwatchUsers) {
			c.say(&packet.Unwatch{Users: some})
		}
	})
}

func (c *Client) watch(users []string, change func(*session)) error {
	for _, u := range users {
		if _, err := chat.NewUser("", u); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c.session)
	return c.end
}

// History returns up to limit messages with peer older than before, newest
// first; the zero ID is no bound. The server may return fewer, and says whether
// there are more.
func (c *Client) History(ctx context.Context, peer string, before chat.ID, limit int) (*HistoryPage, error) {
	answer, err := c.ask(ctx, "", func(dst []byte, id uint64) []byte {
		q := packet.History{Req: id, Peer: peer, Before: before, Limit: limit}
		return q.AppendTo(dst)
	})
	page, _ := answer.(*HistoryPage)
	return page, err
}

// Chats returns up to limit of the user's chats whose newest message is older
// than before, newest first; the zero ID is no bound.
func (c *Client) Chats(ctx context.Context, before chat.ID, limit int) (*ChatsPage, error) {
	answer, err := c.ask(ctx, "", func(dst []byte, id uint64) []byte {
		q := packet.Chats{Req: id, Before: before, Limit: limit}
		return q.AppendTo(dst)
	})
	page, _ := answer.(*ChatsPage)
	return page, err
}

// ask puts a question until it is answered; what asks for a retry is asked again.
func (c *Client) ask(ctx context.Context, limit string, encode func([]byte, uint64) []byte) (any, error) {
	for tries := 0; ; tries++ {
		answer, err := c.askOnce(ctx, limit, encode)
		if err == nil || chat.CodeOf(err).Action() != chat.ActionRetry || c.Err() != nil || ctx.Err() != nil {
			return answer, err
		}
		wait := refusalWait(retryMs(err), tries, c.o)
		select {
		case <-time.After(wait):
		case <-c.ended:
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (c *Client) askOnce(ctx context.Context, limit string, encode func([]byte, uint64) []byte) (any, error) {
	r := &request{append: encode, limit: limit, answer: make(chan any, 1)}
	c.mu.Lock()
	c.lastReq++
	id, end := c.lastReq, c.end
	switch {
	case end != nil:
	case len(c.requests) >= maxRequests:
		end = chat.Errorf(chat.CodeTooMany, "%d requests wait for an answer already", maxRequests)
	default:
		c.requests[id] = r
	}
	c.mu.Unlock()
	if end != nil {
		return nil, end
	}
	c.wakeWriter()
	defer func() {
		c.mu.Lock()
		delete(c.requests, id)
		c.mu.Unlock()
	}()
	select {
	case answer := <-r.answer:
		if err, ok := answer.(error); ok {
			return nil, err
		}
		return answer, nil
	case <-c.ended:
		return nil, c.endError()
	case <-ctx.Done():
		return nil, c.because(ctx, "no answer to a request")
	}
}

// answer hands an answer to who waits for it, and reports whether anybody does.
// c.mu is held.
func (c *Client) answer(id uint64, a any) bool {
	r, ok := c.requests[id]
	if ok {
		delete(c.requests, id)
		r.answer <- a
		c.wakeWriter() // another one may go
	}
	return ok
}
