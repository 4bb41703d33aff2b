package gateway

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/internal/delivery"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/view"
	"github.com/rookery-chat/rookery/packet"
)

// LoopOf returns the loop of a session.
func LoopOf(ref presence.Ref) int { return engine.ID(ref).Loop() }

// Post hands a mail to a loop. It does not block.
func (g *Gateway) Post(loop int, m *delivery.Mail) {
	l := g.loops[loop].Load()
	if l == nil || !l.Post(func(l *engine.Loop) { g.Take(g.state(l), m) }) {
		m.Free()
	}
}

// postAlways is post that calls f with nil when the session is gone, so that
// something can be counted on.
func (g *Gateway) postAlways(ref presence.Ref, f func(s *session)) bool {
	id := engine.ID(ref)
	l := g.loops[id.Loop()].Load()
	return l != nil && l.Post(func(l *engine.Loop) { f(sessionOf(l, id)) })
}

// arm sets the session's next deadline: heartbeat, idle, or the token's end.
func (s *session) arm() {
	o := &s.st().g.opt
	now := s.st().loop.NowMs()
	heard := now - s.silentMs(now)
	at := heard + o.Heartbeat.Milliseconds()
	if s.pinged {
		at = heard + o.Idle.Milliseconds()
	}
	end := s.expiresMs()
	if !s.warned {
		end -= o.ExpiryNotice.Milliseconds()
	}
	s.conn.SetDeadline(min(at, end))
}

// Deadline acts on the silence of a client and the age of its token.
func (g *Gateway) Deadline(c *engine.Conn) {
	s := sessionAt(c)
	now := s.st().loop.NowMs()
	switch {
	case s.state == closing:
		c.Close()
		return
	case s.state == handshaking:
		g.Stats.RefusedHandshake.Add(1)
		s.state = closing
		c.Close()
		return
	case s.state == joining: // the store is slow, not the client, whom another hello would cost the same again
		s.conn.SetDeadline(now + g.opt.HelloTimeout.Milliseconds())
		return
	case s.state < joining:
		s.bye(chat.CodeIdle, 0, "no hello in time")
		return
	case now >= s.expiresMs():
		s.bye(chat.CodeExpired, 0, "the token expired")
		return
	case s.silentMs(now) >= g.opt.Idle.Milliseconds():
		s.bye(chat.CodeIdle, 0, "nothing was heard")
		return
	}
	g.logMark(s)
	if g.opt.Elsewhere != nil {
		g.audit(s)
	}
	if !s.warned && now >= s.expiresMs()-g.opt.ExpiryNotice.Milliseconds() {
		s.warned = true
		s.fail(0, chat.CodeExpired, s.expiresMs()-now, "the token ends soon: refresh it")
	}
	s.pinged = s.silentMs(now) >= g.opt.Heartbeat.Milliseconds()
	if s.pinged && !c.Blocked() {
		s.control(frame.OpPing, nil)
	}
	s.arm()
}

// Drain tells every session to go, spread over the given time, and lets each
// close when its sends are acknowledged. New handshakes are refused from now on.
// When ctx ends, those that are left are told at once.
func (g *Gateway) Drain(ctx context.Context, over time.Duration) {
	g.draining.Store(true)
	const steps = 20
	for step := range steps {
		for i := range g.loops {
			if l := g.loops[i].Load(); l != nil {
				l.Post(func(l *engine.Loop) { g.drainPart(l, step, steps) })
			}
		}
		select {
		case <-ctx.Done(): // the remaining steps at once
		case <-time.After(over / steps):
		}
	}
}

// Revoke ends the sessions of a user whose tokens are taken back.
func (g *Gateway) Revoke(user chat.User) {
	for _, ref := range g.presence.Lookup(view.Bytes(user), nil) {
		g.post(ref, func(s *session) {
			if s.user() == user {
				s.bye(chat.CodeUnauthorized, 0, "the token was revoked")
			}
		})
	}
}

// drainPart says bye to a share of a loop's sessions; the last step to all.
func (g *Gateway) drainPart(l *engine.Loop, step, steps int) {
	share := (l.Conns() + steps - step - 1) / (steps - step)
	l.Each(func(c *engine.Conn) {
		if share <= 0 || restingAt(c).state == closing {
			return
		}
		share--
		sessionAt(c).drain()
	})
}

func (s *session) drain() {
	code := chat.CodeDraining
	if s.state == handshaking { // a frame would be no answer to half a request
		s.st().g.Stats.RefusedHandshake.Add(1)
		s.state = closing
		s.conn.Close()
		return
	}
	if s.state < catching || s.inflight == 0 {
		s.bye(code, jitterMs(s.st().g.opt.DrainJitter), "this server is going away")
		return
	}
	s.st().g.Stats.bye(code)
	s.write(&packet.Bye{Code: code, Retry: uint64(jitterMs(s.st().g.opt.DrainJitter)), URL: s.byeURL(code), Text: "this server is going away"})
	s.leaving = true
	s.state = closing
	s.st().g.leave(s)
}

func jitterMs(within time.Duration) int64 {
	return rand.Int64N(max(within.Milliseconds(), 1)) + 1
}
