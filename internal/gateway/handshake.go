package gateway

import (
	"slices"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/internal/view"
	"github.com/rookery-chat/rookery/packet"
)

const (
	pathPrefix  = "/ws/"
	tokenPrefix = "rookery.token."
)

// handshake takes bytes until the upgrade request is whole, answers it, and
// returns what follows it.
func (g *Gateway) handshake(s *session, in []byte) (rest []byte) {
	in, ok := g.proxyHeader(s, s.gather(in))
	if !ok {
		return nil
	}
	n, out, hs, done, err := frame.Upgrade(in, frame.HandshakeLimits{}, func(r *frame.Request) frame.Decision {
		return g.decide(s, r)
	})
	if !done && err == nil {
		s.keep(in)
		return nil
	}
	p := s.conn.Pending()
	*p = append(*p, out...)
	if s.opening != nil {
		s.opening.in = nil
	}
	if err != nil {
		g.Stats.RefusedHandshake.Add(1)
		g.opt.Logger.Debug("handshake refused", "client", s.client(), "err", err)
		s.state = closing
		s.conn.Close()
		return nil
	}
	if hs.Deflate != (frame.DeflateParams{}) {
		s.extra().deflate = hs.Deflate
	}
	s.state = opened
	s.next = 1
	s.conn.SetDeadline(s.st().loop.NowMs() + g.opt.HelloTimeout.Milliseconds())
	return in[n:]
}

// decide says whether a request becomes a session.
func (g *Gateway) decide(s *session, r *frame.Request) frame.Decision {
	if d, ok := g.forwarded(s, r); !ok {
		return d
	}
	name, ok := strings.CutPrefix(r.Path, pathPrefix)
	if !ok || !chat.ValidUserName(view.Bytes(name)) {
		return frame.Decision{Status: 404, Reason: "not_found: connect to /ws/<user>"}
	}
	if g.draining.Load() {
		return frame.Decision{Status: 503, Reason: chat.CodeDraining.String(), RetryAfter: time.Second}
	}
	if r.Origin != "" && !slices.Contains(g.opt.Origins, "*") && !slices.Contains(g.opt.Origins, r.Origin) {
		return refuse(chat.CodeBadOrigin, "this origin is not in the allow-list")
	}
	if !slices.Contains(r.Protocols, packet.Subprotocol) {
		return frame.Decision{Status: 400, Reason: "bad_version: offer the subprotocol " + packet.Subprotocol}
	}
	token := tokenOf(r)
	if token == "" {
		return refuse(chat.CodeUnauthorized, "no token: send Authorization: Bearer, or the subprotocol "+tokenPrefix+"<jwt>")
	}
	id, err := g.opt.Verify(token)
	if err != nil {
		return refuse(chat.CodeOf(err), err.Error())
	}
	if id.User.Name() != name {
		return refuse(chat.CodeWrongUser, "the path names another user than the token")
	}
	s.named(id.User, id.Device)
	s.expire(id.Expires)
	s.issuedAt = uint32(issuedAt(id.Device, id.Issued))
	return frame.Decision{Status: 101, Protocol: packet.Subprotocol, Deflate: g.opt.Deflate}
}

func refuse(code chat.Code, text string) frame.Decision {
	d := frame.Decision{Status: 401, Reason: code.String() + ": " + strings.TrimPrefix(text, code.String()+": ")}
	switch code {
	case chat.CodeWrongUser, chat.CodeBadOrigin:
		d.Status = 403
	case chat.CodeInternal:
		d.Status = 500
	}
	return d
}

// tokenOf finds the token: in the Authorization header or, as browsers cannot
// set one, as a second subprotocol. Never in the query, which proxies log.
func tokenOf(r *frame.Request) string {
	if t, ok := strings.CutPrefix(r.Authorization, "Bearer "); ok {
		return t
	}
	for _, p := range r.Protocols {
		if t, ok := strings.CutPrefix(p, tokenPrefix); ok {
			return t
		}
	}
	return ""
}
