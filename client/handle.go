package client

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/packet"
)

// feed takes in bytes of the server.
func (s *session) feed(in []byte) error {
	for {
		n, ev, ok, err := s.reader.Next(in, &serverLimits)
		if err != nil {
			return broken(err.Error())
		}
		if !ok {
			return nil
		}
		in = in[n:]
		if err := s.event(ev); err != nil {
			return err
		}
	}
}

func broken(what string) *chat.Error {
	return chat.Errorf(chat.CodeProtocol, "the server broke the protocol: %s; the connection is made again", what)
}

func (s *session) event(ev frame.Event) error {
	switch ev.Op {
	case frame.OpBinary:
		return s.packets(ev.Payload)
	case frame.OpPing:
		s.c.mu.Lock()
		s.ping, s.pinged = bytes.Clone(ev.Payload), true
		s.c.mu.Unlock()
		s.c.wakeWriter()
		return nil
	case frame.OpPong:
		return nil
	case frame.OpClose:
		return s.onClose(ev)
	}
	return broken("a text message")
}

// onClose takes in a close frame, whose code says what a bye would have said.
func (s *session) onClose(ev frame.Event) error {
	e := chat.Errorf(chat.CodeUnavailable, "the server closed the connection with code %d %q; it is made again", ev.Code, ev.Payload)
	switch {
	case ev.Code >= closeOfCode && ev.Code < 5000:
		e = chat.Errorf(chat.Code(ev.Code-closeOfCode), "the server closed the connection: %s", ev.Payload)
	case slices.Contains(closeFaults, ev.Code):
		e = chat.Errorf(chat.CodeProtocol, "the server closed the connection with code %d %q: a fault of this program", ev.Code, ev.Payload)
	}
	if s.bye == nil && !s.closing.Load() {
		s.said = e
	}
	return e
}

// closeOfCode plus a code is the code of a close.
const closeOfCode = 4000

// closeFaults are the codes of closes that coming back does not mend: RFC 6455
// broken, a text message, bad UTF-8, a message too big.
var closeFaults = []uint16{1002, 1003, 1007, 1009}

func (s *session) packets(message []byte) error {
	for len(message) > 0 {
		p, rest, err := packet.Next(message)
		if err != nil {
			return broken(err.Error())
		}
		if err := s.packet(p); err != nil {
			return err
		}
		message = rest
	}
	return nil
}

// packet switches. Types that are not known here are passed over: the protocol
// grows by them.
func (s *session) packet(p packet.Raw) error {
	if !s.welcomed && p.Type != packet.TypeWelcome && p.Type != packet.TypeBye && p.Type != packet.TypeError {
		return broken("something came before the welcome")
	}
	switch p.Type {
	case packet.TypeWelcome:
		return decoded(p, s.onWelcome)
	case packet.TypeAccepted:
		return decoded(p, s.onAccepted)
	case packet.TypeRefused:
		return decoded(p, s.onRefused)
	case packet.TypeOutcome:
		return decoded(p, s.onOutcome)
	case packet.TypeMessage:
		return decoded(p, s.onMessage)
	case packet.TypeGroupMessage:
		return decoded(p, s.onGroupMessage)
	case packet.TypeCopy:
		return decoded(p, s.onCopy)
	case packet.TypeReceipt:
		return decoded(p, s.onReceipt)
	case packet.TypeCaughtUp:
		return decoded(p, s.onCaughtUp)
	case packet.TypeTruncated:
		return decoded(p, s.onTruncated)
	case packet.TypeTypingFrom:
		return decoded(p, s.onTyping)
	case packet.TypePresence:
		return decoded(p, s.onPresence)
	case packet.TypeHistoryPage:
		return decoded(p, s.onHistoryPage)
	case packet.TypeGroupPage:
		return decoded(p, s.onGroupPage)
	case packet.TypeChatsPage:
		return decoded(p, s.onChatsPage)
	case packet.TypeDone:
		return decoded(p, s.onDone)
	case packet.TypeKeysStored:
		return decoded(p, s.onKeysStored)
	case packet.TypeKeys:
		return decoded(p, s.onKeys)
	case packet.TypeKeysClaimed:
		return decoded(p, s.onKeysClaimed)
	case packet.TypeKeysLow:
		return decoded(p, s.onKeysLow)
	case packet.TypeDevices:
		return decoded(p, s.onDevices)
	case packet.TypeRefreshed:
		return decoded(p, s.onRefreshed)
	case packet.TypePong:
		return decoded(p, s.onPong)
	case packet.TypeError:
		return decoded(p, s.onError)
	case packet.TypeBye:
		return decoded(p, s.onBye)
	}
	return nil
}

// decoded decodes a packet and hands it on, with the client locked.
func decoded[T any, P interface {
	*T
	Decode(packet.Raw) error
}](p packet.Raw, then func(T) error) error {
	var x T
	if err := P(&x).Decode(p); err != nil {
		return broken(err.Error())
	}
	return then(x)
}

func (s *session) onWelcome(w packet.Welcome) error {
	if s.welcomed || w.Version != packet.Version {
		return broken("an unexpected welcome")
	}
	if w.Resume < s.resumed {
		s.said = chat.Errorf(chat.CodeBadPosition, "the server resumes at %v, this device has kept %v: it is another server, or one "+
			"that lost its data; move the state file away to start anew", w.Resume, s.resumed)
		return s.said
	}
	s.begin(w)
	return nil
}

func (s *session) onAccepted(a packet.Accepted) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.out.accepted(a, c.durable) {
		return broken("it accepted sends that were not made")
	}
	c.changed.fire()
	c.wakeWriter()
	if s.leaving && c.out.inflight() == 0 {
		return endOfSession
	}
	return nil
}

func (s *session) onRefused(r packet.Refused) error {
	e := chat.Errorf(r.Code, "%s", r.Text)
	e.RetryAfter = time.Duration(r.Retry) * time.Millisecond
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.Code.Action() {
	case chat.ActionReconnect, chat.ActionLogin:
		return e
	case chat.ActionStop:
		if it := c.out.refused(r.N, true); it != nil {
			c.reject(it, e)
			c.changed.fire()
		}
	default:
		if it := c.out.refused(r.N, false); it != nil {
			c.out.notBefore = time.Now().Add(refusalWait(r.Retry, c.out.refusals, c.o))
			c.out.refusals++
		}
	}
	c.wakeWriter()
	return nil
}

func (s *session) onOutcome(o packet.Outcome) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.Code == chat.CodeOK {
		c.outcome(o.ID, o.Place, nil)
		return nil
	}
	e := chat.Errorf(o.Code, "the server had taken message %s, and could not store it", o.ID)
	c.outcome(o.ID, 0, e)
	c.in.tell(Problem{ID: o.ID, Err: e})
	return nil
}

func (s *session) onTyping(t packet.TypingFrom) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.in.tell(Typing{Peer: chat.User(t.Peer), On: t.On})
	return nil
}

func (s *session) onPresence(p packet.Presence) error {
	e := Presence{Peer: chat.User(p.Peer), Online: p.Online}
	if p.Seen > 0 {
		e.Seen = time.UnixMilli(p.Seen)
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	maps.DeleteFunc(s.watching, func(_ uint64, w watching) bool { return w.user == p.Peer })
	s.c.in.tell(e)
	s.c.wakeWriter() // another watch may go
	return nil
}

func (s *session) onRefreshed(r packet.Refreshed) error {
	s.c.mu.Lock()
	s.expires = s.c.ourTime(r.Expires)
	s.c.mu.Unlock()
	poke(s.refreshed)
	return nil
}

func (s *session) onPong(p packet.Pong) error {
	s.c.mu.Lock()
	s.c.correct(p.Now)
	s.c.mu.Unlock()
	return nil
}

// onBye ends the session, once what is on its way has been answered or the
// server closes: a server that drains still acknowledges.
func (s *session) onBye(b packet.Bye) error {
	s.bye = &b
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.leaving = true
	if s.c.out.inflight() == 0 {
		return endOfSession
	}
	return s.conn.SetReadDeadline(s.deadline())
}

// endOfSession ends the reader after a bye, which says the rest.
var endOfSession = chat.Errorf(chat.CodeUnavailable, "the server said bye")
