package server

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/admin"
	"github.com/rookery-chat/rookery/internal/auth"
	"github.com/rookery-chat/rookery/internal/proxyaddr"
	"github.com/rookery-chat/rookery/internal/web"
)

// bodyBytes is what a request to the API may have beside the largest content,
// which is base64 in it.
const bodyBytes = 16 << 10

// openWeb takes the web listener's address. It answers once there are sockets.
func (s *Server) openWeb() (err error) {
	c := &s.cfg.Web
	o := web.Options{
		Listen: c.Listen, Cert: c.Cert, Key: c.Key, URL: c.URL, Sockets: c.Sockets, Connections: c.Connections,
		HeaderTimeout: c.HeaderTimeout, Timeout: c.Timeout, Origins: s.cfg.Auth.Origins, Rate: s.cfg.Media.Rate, Bots: c.Bots,
		BodyBytes: 2*int64(s.cfg.Session.ContentBytes) + bodyBytes, Logger: s.logger,
		Verify: func(ctx context.Context, token string) (web.Identity, error) {
			id, err := s.verifier.Verify(token)
			if err == nil {
				err = s.gateway.Admit(ctx, id.User, id.Device, id.Issued)
			}
			return web.Identity{User: id.User, Device: id.Device, Expires: id.Expires}, err
		},
	}
	if s.dev != nil {
		o.Token = func(u chat.User, life time.Duration) (string, error) {
			return s.dev.Sign(auth.NewClaims(u.Tenant(), u.Name(), "", life))
		}
	}
	s.web, err = web.Listen(o)
	return err
}

func (s *Server) serveWeb() error {
	desk, blobs, err := s.openMedia()
	if err != nil {
		return err
	}
	s.admin.Register(admin.Web(&s.web.Stats))
	if desk != nil {
		s.run(func() { s.sweepMedia(s.life, desk) })
	}
	s.web.Open(web.Site{Sockets: s.engine.Addr(), Dial: s.dialSelf, Media: desk, Blobs: blobs})
	s.run(func() {
		if err := s.web.Serve(); err != nil {
			s.logger.Error("the web listener ended", "err", err)
		}
	})
	return nil
}

// WebAddr is where browsers and services connect, nil without a gateway.
func (s *Server) WebAddr() net.Addr {
	if s.web == nil {
		return nil
	}
	return s.web.Addr()
}

// dialSelf reaches the sockets as a client that no balancer is in front of;
// where this machine counts as one, it has to say whose the connection is.
func (s *Server) dialSelf(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil || s.cfg.ListenProxy != "proxy" {
		return conn, err
	}
	trusted, _ := proxyaddr.ParseTrusted(s.cfg.ListenTrusted) // the configuration was checked
	if own, ok := conn.LocalAddr().(*net.TCPAddr); ok && trusted.Contains(own.AddrPort().Addr().Unmap()) {
		_, err = fmt.Fprintf(conn, "PROXY TCP4 %s %s %d %d\r\n", own.IP, own.IP, own.Port, own.Port)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
