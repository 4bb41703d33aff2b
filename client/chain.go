package client

import (
	"bytes"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// link says what to do with a link of the chain at pos, whose gap is pos minus
// the position before it (law 6): take it, or pass over it as it is known
// already. The error is a gap: only a new session from mine on can mend it.
// c.mu is held.
func (s *session) link(pos chat.Position, gap uint64) (take bool, err error) {
	in := &s.c.in
	s.reaches(pos)
	before := pos - chat.Position(gap)
	switch {
	case in.behind, pos <= in.mine:
		return false, nil
	case gap > uint64(pos) || before > in.mine:
		return false, chat.Errorf(chat.CodeUnavailable, "the chain has a gap from %v to %v; it is asked for again", in.mine, before)
	}
	return true, nil
}

// took counts a message or copy. A client that takes no messages marks nothing,
// so that the server's window closes in the end: then it comes back with a new
// one.
func (s *session) took() error {
	s.links++
	if s.c.in.sendOnly && s.window > 0 && s.links >= s.window {
		return errBehind
	}
	return nil
}

func (s *session) onMessage(m packet.Message) error {
	return s.arrived(m.Pos, m.Gap, chat.Message{
		ID: m.ID, From: chat.User(m.From), To: chat.User(s.c.o.User), Place: m.Pos,
		At: m.ID.UnixMilli() + m.Late, Expires: m.Expires, Suite: m.Suite, Content: m.Content, Media: string(m.Media),
	})
}

func (s *session) onGroupMessage(m packet.GroupMessage) error {
	return s.arrived(m.Pos, m.Gap, chat.Message{
		ID: m.ID, From: chat.User(m.From), To: chat.User(m.Group), Place: m.Place,
		At: m.ID.UnixMilli() + m.Late, Expires: m.Expires, Suite: m.Suite, Content: m.Content, Media: string(m.Media),
	})
}

// arrived takes a message at a position of the chain. Its content is lent.
func (s *session) arrived(pos chat.Position, gap uint64, m chat.Message) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	take, err := s.link(pos, gap)
	if !take {
		return err
	}
	c.see(m.ID)
	m.Content = bytes.Clone(m.Content)
	c.in.take(waiting{pos: pos, durable: true, event: c.eventOf(m)})
	if !m.To.IsGroup() {
		s.news(string(m.From))
	}
	return s.took()
}

func (s *session) onCopy(m packet.Copy) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	take, err := s.link(m.Pos, m.Gap)
	if !take {
		return err
	}
	c.see(m.ID)
	w := waiting{pos: m.Pos, durable: true}
	ours := m.ID.Node() == c.node // what this device sent, the app knows
	if ours {
		c.outcome(m.ID, m.Place, nil)
	}
	if !ours || c.o.Own && chat.User(m.To).IsGroup() {
		w.event = c.copyOf(&m, ours)
	}
	c.in.take(w)
	s.news(string(m.To))
	return s.took()
}

func (c *Client) copyOf(m *packet.Copy, ours bool) Event {
	message := chat.Message{
		ID: m.ID, From: chat.User(c.o.User), To: chat.User(m.To), Place: m.Place,
		At: m.ID.UnixMilli() + m.Late, Expires: m.Expires, Suite: m.Suite,
		Content: bytes.Clone(m.Content), Media: string(m.Media),
	}
	if ours {
		return Own{message}
	}
	return Copy{message}
}

func (s *session) onReceipt(r packet.Receipt) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	e := Receipt{chat.Receipt{
		User: chat.User(c.o.User), Peer: chat.User(r.Peer), Delivered: r.Delivered, Read: r.Read,
	}}
	if r.Pos == 0 { // of catch-up: no link
		if c.peer(e.Peer).advance(r.Delivered, r.Read) {
			c.in.tell(e)
		}
		return nil
	}
	take, err := s.link(r.Pos, r.Gap)
	if err != nil {
		return err
	}
	c.peer(e.Peer).advance(r.Delivered, r.Read) // true wherever it stands
	if !take {
		return nil
	}
	c.in.take(waiting{pos: r.Pos, event: e})
	s.news(string(r.Peer))
	return nil
}

func (s *session) onCaughtUp(p packet.CaughtUp) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.jump(p.Pos, CaughtUp{p.Pos})
	return nil
}

func (s *session) onTruncated(p packet.Truncated) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.jump(p.Pos, Truncated{p.Pos})
	return nil
}

// jump moves the chain on to where the server says that nothing is before any
// more, which is not back.
func (s *session) jump(pos chat.Position, e Event) {
	in := &s.c.in
	if !in.behind && !in.sendOnly {
		in.take(waiting{pos: max(pos, in.mine), event: e})
	} else if in.sendOnly {
		in.mine = max(in.mine, pos)
	}
	s.reaches(pos)
}

// reaches takes in how far the server has sent the chain, and writes the marks
// that wait for that. c.mu is held.
func (s *session) reaches(pos chat.Position) {
	s.reach = max(s.reach, pos)
	if len(s.unsent) > 0 || s.c.in.kept > s.marked {
		s.c.wakeWriter()
	}
}

// forgets reports whether the server's end of the session was that it does not
// have our position, and makes this client go by the server's word from now on:
// the server lost data, or is another one. A position that Options.From gave is
// not forgotten but a fault. c.mu is not held.
func (s *session) forgets(code chat.Code) bool {
	in := &s.c.in
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if code != chat.CodeBadPosition || !in.known || s.welcomed {
		return false
	}
	s.c.log.Warn("the server does not have this device's position; history has what is missing", "position", in.mine)
	in.known, in.returned, in.shown = false, 0, 0
	for i := range in.queue {
		in.queue[i].pos = 0 // positions of a log that is gone
	}
	if in.given != nil {
		in.given.pos = 0
	}
	in.tell(Truncated{in.mine})
	return true
}
