package gateway

import (
	"net/netip"
	"slices"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/internal/proxyaddr"
)

// opening is what connections need until they are a session.
type opening struct {
	in     []byte     // bytes of an unfinished handshake
	proxy  bool       // a PROXY header is still to come
	header bool       // the request's X-Forwarded-For counts
	client netip.Addr // who it is counted for, or a balancer says it is; invalid: not known yet
}

func (s *session) opens() *opening {
	if s.opening == nil {
		s.opening = &opening{}
	}
	return s.opening
}

// gather returns what has come of the handshake.
func (s *session) gather(in []byte) []byte {
	if s.opening == nil || s.opening.in == nil {
		return in
	}
	s.opening.in = append(s.opening.in, in...)
	return s.opening.in
}

// keep keeps what the next bytes are to be read behind.
func (s *session) keep(in []byte) {
	o := s.opens()
	if o.in == nil {
		in = slices.Clone(in)
	}
	o.in = in
}

// client is the address that limits and logs go by.
func (s *session) client() netip.Addr {
	if s.opening != nil && s.opening.client.IsValid() {
		return s.opening.client
	}
	return s.conn.Remote().Addr()
}

// arrive counts a connection for its address, or for later, when it comes from
// a balancer that is yet to say whose it is. False: there are too many.
func (g *Gateway) arrive(s *session) bool {
	if g.opt.Proxy != proxyaddr.None && g.opt.Trusted.Contains(s.conn.Remote().Addr()) {
		o := s.opens()
		o.proxy, o.header = g.opt.Proxy == proxyaddr.Proxy, g.opt.Proxy == proxyaddr.Forwarded
		return true
	}
	return g.enterPending(s)
}

// proxyHeader takes the PROXY header off the bytes, where one has to come. It
// returns false when there is nothing to go on with: more is needed, or the
// connection is refused.
func (g *Gateway) proxyHeader(s *session, in []byte) (rest []byte, ok bool) {
	o := s.opening
	if o == nil || !o.proxy {
		return in, true
	}
	client, n, err := proxyaddr.ReadHeader(in)
	switch {
	case err != nil:
		g.noClient(s, err)
	case n == 0:
		s.keep(in)
		return nil, false
	default:
		o.proxy, o.client = false, client
		if g.enterPending(s) {
			return in[n:], true
		}
	}
	s.state = closing
	s.conn.Close()
	return nil, false
}

// forwarded finds the client in the request, where a balancer names it there.
// The decision is a refusal when ok is false.
func (g *Gateway) forwarded(s *session, r *frame.Request) (d frame.Decision, ok bool) {
	if s.opening == nil || !s.opening.header {
		return d, true
	}
	client, err := g.opt.Trusted.Client(r.Header("X-Forwarded-For"))
	if err != nil {
		g.noClient(s, err)
		return frame.Decision{Status: 400, Reason: "protocol: " + err.Error()}, false
	}
	s.opening.client = client
	if !g.enterPending(s) {
		return frame.Decision{Status: 429, Reason: chat.CodeBusy.String() + ": too many connections of this address without a session"}, false
	}
	return d, true
}

// noClient notes that a balancer did not say whose connection it is. That is a
// fault of the settings, here or there, and mostly concerns everybody: the log
// has it once.
func (g *Gateway) noClient(s *session, err error) {
	g.Stats.RefusedProxy.Add(1)
	g.untold.Do(func() {
		g.opt.Logger.Error("a trusted balancer does not say who its clients are, and they are refused: does it do what listen_proxy asks for?",
			"balancer", s.conn.Remote(), "err", err)
	})
}

// enterPending counts a connection among those of its address without a
// session. False: there are too many.
func (g *Gateway) enterPending(s *session) bool {
	a := s.client()
	s.opens().client = a // the socket is not asked again: one that was reset does not know its peer any more
	g.pendingMu.Lock()
	s.pending = g.pending[a] < g.opt.PendingPerAddress
	if s.pending {
		g.pending[a]++
	}
	g.pendingMu.Unlock()
	if !s.pending {
		g.Stats.RefusedAddress.Add(1)
		g.opt.Logger.Debug("too many connections of an address without a session", "client", a)
	}
	return s.pending
}

// leavePending counts it there no more.
func (g *Gateway) leavePending(s *session) {
	o := s.opening
	s.opening = nil
	if !s.pending {
		return
	}
	a := o.client
	s.pending = false
	g.pendingMu.Lock()
	defer g.pendingMu.Unlock()
	if g.pending[a]--; g.pending[a] <= 0 {
		delete(g.pending, a)
	}
}
