package gateway

import (
	"errors"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/packet"
)

// floodMs is how many milliseconds of its rate a session may be over before it
// is closed; sends over the rate are refused long before.
const floodMs = 10_000

const (
	closeNormal      = 1000
	closeUnsupported = 1003
)

// packetSend is the decode target of sends.
type packetSend = packet.Send

// frames takes whole messages and control frames off the bytes.
func (g *Gateway) frames(s *session, in []byte) {
	// Until the reader has nothing, even when in is used up: that is how it
	// takes back what it lent.
	for {
		n, ev, ok, err := s.reader.Next(in, &g.limits)
		in = in[n:]
		if err != nil {
			g.broken(s, err)
			return
		}
		if !ok || s.state == closing {
			return
		}
		g.event(s, ev)
	}
}

// broken ends a connection that broke RFC 6455.
func (g *Gateway) broken(s *session, err error) {
	g.Stats.bye(chat.CodeProtocol)
	var e *frame.Error
	if !errors.As(err, &e) {
		e = &frame.Error{Code: 1002, Reason: "protocol error"}
	}
	s.closeFrame(e.Code, e.Reason)
}

func (g *Gateway) event(s *session, ev frame.Event) {
	switch ev.Op {
	case frame.OpBinary:
		g.Stats.MessagesIn.Add(1)
		g.packets(s, ev.Payload)
	case frame.OpPing:
		if g.spend(s, len(ev.Payload)) && !s.conn.Blocked() {
			s.control(frame.OpPong, ev.Payload)
		}
	case frame.OpPong:
		g.spend(s, len(ev.Payload))
	case frame.OpClose:
		code := ev.Code
		if code == 0 || code == 1005 {
			code = closeNormal
		}
		s.closeFrame(code, "")
	case frame.OpText:
		s.closeFrame(closeUnsupported, "binary messages only")
	}
}

// spend charges a packet that is not a send. Far over the rate the session ends.
func (g *Gateway) spend(s *session, n int) bool {
	if s.tokens.spend(&g.opt, s.st().loop.NowMs(), n) > floodMs {
		s.bye(chat.CodeFlood, floodMs, "far over the rate")
		return false
	}
	return true
}

// packets takes the packets of one message in order.
func (g *Gateway) packets(s *session, msg []byte) {
	for len(msg) > 0 && s.state != closing {
		p, rest, err := packet.Next(msg)
		if err != nil {
			s.bye(chat.CodeBadPacket, 0, err.Error())
			return
		}
		size := len(msg) - len(rest)
		msg = rest
		if p.Type == packet.TypeSend && s.state >= catching {
			g.onSend(s, p, size)
		} else if g.spend(s, size) {
			g.packet(s, p)
		}
	}
}

// packet gives one packet to its handler.
func (g *Gateway) packet(s *session, p packet.Raw) {
	if s.state < catching && p.Type != packet.TypePing {
		g.beforeWelcome(s, p)
		return
	}
	var err error
	switch p.Type {
	case packet.TypeMark:
		err = g.onMark(s, p)
	case packet.TypeRead:
		err = g.onRead(s, p)
	case packet.TypeTyping:
		err = g.onTyping(s, p)
	case packet.TypeWatch:
		err = g.onWatch(s, p)
	case packet.TypeUnwatch:
		err = g.onUnwatch(s, p)
	case packet.TypeHistory:
		err = g.onHistory(s, p)
	case packet.TypeChats:
		err = g.onChats(s, p)
	case packet.TypeGroupGet:
		err = g.onGroupGet(s, p)
	case packet.TypePush:
		err = g.onPush(s, p)
	case packet.TypeKeysPut:
		err = g.onKeysPut(s, p)
	case packet.TypeKeysGet:
		err = g.onKeysGet(s, p)
	case packet.TypeKeysClaim:
		err = g.onKeysClaim(s, p)
	case packet.TypeKeysDrop:
		err = g.onKeysDrop(s, p)
	case packet.TypeDevicesGet:
		err = g.onDevicesGet(s, p)
	case packet.TypeDeviceLabel:
		err = g.onDeviceLabel(s, p)
	case packet.TypeDeviceRevoke:
		err = g.onDeviceRevoke(s, p)
	case packet.TypeRefresh:
		err = g.onRefresh(s, p)
	case packet.TypePing:
		err = g.onPing(s, p)
	case packet.TypeHello:
		err = chat.Errorf(chat.CodeAlreadyHello, "hello comes once")
	default:
		err = chat.Errorf(chat.CodeUnknownType, "packet type %d is not known here", p.Type)
	}
	if err != nil {
		s.failWith(0, err)
	}
}

// failWith answers with an error's own code and retry-after.
func (s *session) failWith(req uint64, err error) {
	var e *chat.Error
	if !errors.As(err, &e) {
		s.st().g.opt.Logger.Error("request failed", "err", err)
		e = chat.Errorf(chat.CodeUnavailable, "the server could not serve this now")
		e.RetryAfter = unavailableRetry
	}
	s.fail(req, e.Code, e.RetryAfter.Milliseconds(), e.Text)
}

func (g *Gateway) beforeWelcome(s *session, p packet.Raw) {
	switch {
	case s.state == joining:
		s.bye(chat.CodeNotHello, 0, "wait for welcome before anything else")
	case p.Type != packet.TypeHello:
		s.bye(chat.CodeNotHello, 0, "the first packet is hello")
	default:
		g.onHello(s, p)
	}
}

func (g *Gateway) onPing(s *session, p packet.Raw) error {
	var m packet.Ping
	if err := m.Decode(p); err != nil {
		return err
	}
	if !s.conn.Blocked() {
		s.write(&packet.Pong{Data: m.Data, Now: s.st().loop.NowMs()})
	}
	return nil
}
