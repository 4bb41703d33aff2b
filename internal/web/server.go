// Package web is the listener that browsers and services face beside the
// sockets: the chat page, whose files are part of the binary. It is net/http
// with limits; nothing of it runs on an event loop.
package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/netutil"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/certs"
	"github.com/rookery-chat/rookery/internal/media"
)

// Limits that are not configurable.
const (
	maxHeaderBytes = 16 << 10
	idleTimeout    = time.Minute // of a connection between requests
)

// Options are a Server's settings.
type Options struct {
	Listen      string // host:port
	Cert, Key   string // files, PEM; without them it speaks HTTP in the clear
	URL         string // by which users reach it, "" is where it listens
	Sockets     string // ws:// or wss:// URL of the sockets, "" is SocketsPort of the same host
	Connections int    // open at once; more wait to be accepted

	HeaderTimeout time.Duration // for a request's headers
	Timeout       time.Duration // for a request's body, and again for the answer

	// Verify says whose a token is, and that its device was not revoked.
	Verify func(ctx context.Context, token string) (Identity, error)
	// Origins are those of other pages that may use the API and media; "*" is any.
	Origins []string
	Bots    int // sessions of the API, open at once
	Rate    int // requests about media a minute and user
	// BodyBytes bounds the body of a request to the API.
	BodyBytes int64

	// Token makes a token of the development key, nil where it is not taken.
	Token func(chat.User, time.Duration) (string, error)

	Logger *slog.Logger
}

// Identity is whose a token is.
type Identity struct {
	User    chat.User
	Device  chat.Device // "" when the token is not bound to one
	Expires time.Time
}

// caller is who sent a request, and the token that says so.
type caller struct {
	Identity
	token string
}

// Site is what starts after the address was taken.
type Site struct {
	Sockets net.Addr // where the sockets listen
	// Dial opens a connection to the sockets from this process, nil for a plain
	// one.
	Dial  func(ctx context.Context, network, address string) (net.Conn, error)
	Media *media.Desk  // nil where there is no media
	Blobs http.Handler // answers signed URLs below /media/, nil where a service of its own does
}

// Server is the web listener. After Open its methods may be called from any
// goroutine.
type Server struct {
	opt      Options
	http     *http.Server
	listener net.Listener
	base     *url.URL // of Options.URL, nil where it is empty
	loopback bool     // it listens where this machine alone can reach it
	port     string
	sockets  string // the sockets' port
	site     Site
	rates    *rates
	bots     *bots
	files    map[string]*file

	Stats Stats
}

// Listen returns a Server that listens, and answers once Serve runs.
func Listen(o Options) (*Server, error) {
	s := &Server{opt: o, rates: newRates(o.Rate)}
	var err error
	if o.URL != "" {
		if s.base, err = url.Parse(o.URL); err != nil {
			return nil, fmt.Errorf("web: %w", err)
		}
	}
	if s.files, err = loadPage(); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	addr := l.Addr().(*net.TCPAddr)
	s.loopback, s.port = addr.IP.IsLoopback(), fmt.Sprint(addr.Port)
	s.listener = netutil.LimitListener(l, o.Connections)
	if o.Cert != "" {
		source, err := certs.Open(certs.Files{Cert: o.Cert, Key: o.Key}, "", o.Logger)
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("web: %w", err)
		}
		s.listener = tls.NewListener(s.listener, source.Public("h2", "http/1.1"))
	}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: o.HeaderTimeout,
		ReadTimeout:       o.HeaderTimeout + o.Timeout,
		WriteTimeout:      o.HeaderTimeout + 2*o.Timeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         s.Stats.connection,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug), // whoever connects can fill it
	}
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// URL is by which users reach it, without a slash at its end.
func (s *Server) URL() string {
	if s.opt.URL != "" {
		return s.opt.URL
	}
	return s.scheme() + "://" + s.Addr().String()
}

// Open tells it what started after Listen; then Serve may run.
func (s *Server) Open(site Site) {
	s.site = site
	s.bots = newBots(s.opt.Bots, s.opt.Logger, site)
	s.http.RegisterOnShutdown(s.bots.drain)
	_, s.sockets, _ = net.SplitHostPort(site.Sockets.String())
}

// Serve answers until Stop; then it returns nil. It is called once.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("web: %w", err)
	}
	return nil
}

// Stop ends Serve when the requests under way are answered, or at once when
// ctx ends.
func (s *Server) Stop(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	if s.bots != nil { // it was opened
		s.bots.close(ctx)
	}
	s.listener.Close() // it may not have served
	return err
}

func (s *Server) scheme() string {
	if s.opt.Cert != "" {
		return "https"
	}
	return "http"
}

// Origins are those of the page itself, as browsers send them to the sockets.
func (s *Server) Origins() []string {
	var list []string
	if s.base != nil {
		list = append(list, s.base.Scheme+"://"+s.base.Host)
	}
	if !s.loopback {
		return list
	}
	for _, host := range loopbackHosts {
		list = append(list, s.scheme()+"://"+net.JoinHostPort(host, s.port))
	}
	return list
}
