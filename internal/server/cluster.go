package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/admin"
	"github.com/rookery-chat/rookery/internal/backend"
	"github.com/rookery-chat/rookery/internal/config"
	"github.com/rookery-chat/rookery/internal/delivery"
	"github.com/rookery-chat/rookery/internal/delivery/rpc"
	"github.com/rookery-chat/rookery/internal/gateway"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/presence/redis"
)

// cluster is how this process knows and reaches the others.
type cluster struct {
	id        string // of this process's gateway, "" without one
	directory *redis.Directory
	peers     *rpc.Peers
	server    *rpc.Server // nil without a gateway
	listener  net.Listener
	gateway   atomic.Pointer[gateway.Gateway] // once there is one
}

// joinCluster opens the directory and the links to the other processes.
func (s *Server) joinCluster() error {
	c := s.cfg
	source, err := backend.Certs(c, s.logger)
	if err != nil {
		return fmt.Errorf("rpc: %w", err)
	}
	cl := &cluster{}
	s.cluster = cl
	o, err := backend.Redis(c, s.logger)
	if err != nil {
		return err
	}
	if c.Gateway() {
		if cl.listener, err = net.Listen("tcp", c.RPC.Listen); err != nil {
			return fmt.Errorf("rpc: %w", err)
		}
		cl.id = backend.ID(c, cl.listener.Addr())
		o.Gateway, o.Address, o.Handler = cl.id, advertised(c, cl.listener), cl.handler()
		if cl.server, err = rpc.NewServer(rpc.ServerOptions{TLS: source, Plaintext: c.RPC.Plaintext, Logger: s.logger}, incoming{s, cl}); err != nil {
			return err
		}
	}
	if cl.directory, err = redis.Open(o); err != nil {
		return err
	}
	cl.peers, err = rpc.NewPeers(rpc.Options{
		TLS: source, Plaintext: c.RPC.Plaintext, Stale: cl.directory.Forget, Logger: s.logger,
	})
	if err != nil {
		return err
	}
	s.admin.Register(admin.Directory(&cl.directory.Stats), admin.Peers(&cl.peers.Stats))
	s.admin.Tell("presence", func(context.Context) error { return cl.directory.Health() })
	return nil
}

// advertised is where other processes reach this one.
func advertised(c *config.Config, l net.Listener) string {
	if c.RPC.Advertise != "" {
		return c.RPC.Advertise
	}
	return l.Addr().String()
}

// handler is what the directory asks and tells, of the gateway once it is there.
func (cl *cluster) handler() presence.Handler {
	return presence.Handler{
		Sessions: func(yield func(presence.Session) bool) {
			if g := cl.gateway.Load(); g != nil {
				g.Handler().Sessions(yield)
			}
		},
		Settled: func(s presence.Session, r presence.Registration, err error) {
			if g := cl.gateway.Load(); g != nil {
				g.Handler().Settled(s, r, err)
			}
		},
		Changed: func(user chat.User, online bool, seen int64) {
			if g := cl.gateway.Load(); g != nil {
				g.Handler().Changed(user, online, seen)
			}
		},
	}
}

// elsewhere is what the gateway knows of the others.
func (cl *cluster) elsewhere() *gateway.Elsewhere {
	return &gateway.Elsewhere{Directory: cl.directory, Links: links{cl.peers}}
}

// links are the peers as the gateway uses them.
type links struct{ peers *rpc.Peers }

func (l links) Replaced(to presence.Gateway, s presence.Session) {
	l.peers.Replaced(to, s.User, s.Node, s.Number)
}

func (l links) Typing(to presence.Gateway, from, user chat.User, on bool) {
	l.peers.Typing(to, from, user, on)
}

func (l links) Siblings(ctx context.Context, to presence.Gateway, user chat.User) error {
	return l.peers.Siblings(ctx, to, user)
}

func (l links) Revoked(ctx context.Context, to presence.Gateway, user chat.User, device chat.Device) error {
	return l.peers.Revoked(ctx, to, user, device)
}

// incoming does what other processes ask of this one's gateway.
type incoming struct {
	s  *Server
	cl *cluster
}

func (in incoming) Take(hints []delivery.Hint, absent [][]byte) [][]byte {
	return in.s.delivery.Take(hints, absent)
}

func (in incoming) Typing(from, to chat.User, on bool) {
	if g := in.cl.gateway.Load(); g != nil {
		g.Typing(from, to, on)
	}
}

func (in incoming) Replaced(user chat.User, node chat.Node, session uint64) {
	if g := in.cl.gateway.Load(); g != nil {
		g.Replace(presence.Session{User: user, Node: node, Number: session})
	}
}

func (in incoming) Siblings(user chat.User, done func()) {
	if g := in.cl.gateway.Load(); g != nil {
		g.Siblings(user, done)
		return
	}
	done()
}

func (in incoming) Revoked(user chat.User, device chat.Device, done func()) {
	if g := in.cl.gateway.Load(); g != nil {
		g.Revoked(user, device, done)
		return
	}
	done()
}

// serve takes links of other processes from now on.
func (cl *cluster) serve(s *Server) {
	if cl.server == nil {
		return
	}
	s.run(func() {
		if err := cl.server.Serve(cl.listener); err != nil && !errors.Is(err, net.ErrClosed) {
			s.logger.Error("no links of other processes are taken any more", "err", err)
		}
	})
}

// stopLinks takes nothing from other processes any more.
func (cl *cluster) stopLinks(ctx context.Context) {
	if cl.server != nil {
		cl.server.Stop(ctx)
	}
	if cl.listener != nil {
		cl.listener.Close()
	}
}

// stop ends the links to others, then the directory: they learn that this
// gateway has gone.
func (cl *cluster) stop() {
	if cl.peers != nil {
		cl.peers.Close()
	}
	if cl.directory != nil {
		cl.directory.Close()
	}
}
