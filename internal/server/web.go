package server

import (
	"net"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/admin"
	"github.com/rookery-chat/rookery/internal/auth"
	"github.com/rookery-chat/rookery/internal/web"
)

// openWeb takes the web listener's address. It answers once there are sockets.
func (s *Server) openWeb() (err error) {
	c := &s.cfg.Web
	o := web.Options{
		Listen: c.Listen, Cert: c.Cert, Key: c.Key, URL: c.URL, Sockets: c.Sockets, Connections: c.Connections,
		HeaderTimeout: c.HeaderTimeout, Timeout: c.Timeout, Logger: s.logger,
	}
	if s.dev != nil {
		o.Token = func(u chat.User, life time.Duration) (string, error) {
			return s.dev.Sign(auth.NewClaims(u.Tenant(), u.Name(), "", life))
		}
	}
	s.web, err = web.Listen(o)
	return err
}

func (s *Server) serveWeb() {
	s.admin.Register(admin.Web(&s.web.Stats))
	s.run(func() {
		if err := s.web.Serve(s.engine.Addr()); err != nil {
			s.logger.Error("the web listener ended", "err", err)
		}
	})
}

// WebAddr is where browsers and services connect, nil without a gateway.
func (s *Server) WebAddr() net.Addr {
	if s.web == nil {
		return nil
	}
	return s.web.Addr()
}
