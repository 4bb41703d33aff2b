package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/view"
)

// Links reach the other gateways.
type Links interface {
	// Replaced tells a gateway that sessions of a device with a lower number were
	// taken over. It does not block, and may be lost: the client then has two
	// until one goes.
	Replaced(to presence.Gateway, s presence.Session)
	// Typing passes typing on. It does not block, and may be lost.
	Typing(to presence.Gateway, from, user chat.User, on bool)
	// Siblings makes the sessions of a user at a gateway send copies from now
	// on, and returns when all of them do.
	Siblings(ctx context.Context, to presence.Gateway, user chat.User) error
	// Revoked ends the sessions at a gateway of a device that was revoked, and
	// returns when all have been told.
	Revoked(ctx context.Context, to presence.Gateway, user chat.User, device chat.Device) error
}

// Elsewhere is what a gateway knows of the other ones.
type Elsewhere struct {
	Directory presence.Directory
	Links     Links
}

// siblingsTimeout is how long a hello, or who revokes a device, waits for the
// other gateways of its user. A gateway that is gone is so when its lease ends.
const siblingsTimeout = 3 * time.Second

// enter registers a session with the directory. Without the directory the
// session goes on, and looks into its inbox when it could be registered: until
// then no hint finds it (law 13).
func (g *Gateway) enter(ctx context.Context, s presence.Session) error {
	r, err := g.opt.Elsewhere.Directory.Register(ctx, s)
	if errors.Is(err, presence.ErrSuperseded) {
		return err // by a gateway whose clock is ahead: the client comes again, and is the newer one then
	}
	if err == nil {
		g.tookOver(s, r)
	}
	return nil
}

// tookOver tells the gateway of an older session of the device.
func (g *Gateway) tookOver(s presence.Session, r presence.Registration) {
	if self, _ := g.opt.Elsewhere.Directory.Self(); r.Replaced.Session != 0 && r.Replaced.Gateway.ID != self.ID {
		g.opt.Elsewhere.Links.Replaced(r.Replaced.Gateway, s)
	}
}

// siblingsElsewhere makes the user's sessions at other gateways send copies to
// a device that has never marked anything. Others had their welcome before, and
// with it the sessions learned of them: those do not wait.
func (g *Gateway) siblingsElsewhere(ctx context.Context, user chat.User) error {
	return g.tellElsewhere(ctx, user, func(ctx context.Context, to presence.Gateway) error {
		if err := g.opt.Elsewhere.Links.Siblings(ctx, to, user); err != nil {
			return fmt.Errorf("tell the user's sessions at gateway %s of the new device: %w", to.ID, err)
		}
		return nil
	})
}

// tellElsewhere calls f with each other gateway that has sessions of a user.
func (g *Gateway) tellElsewhere(ctx context.Context, user chat.User, f func(ctx context.Context, to presence.Gateway) error) error {
	d := g.opt.Elsewhere.Directory
	self, _ := d.Self()
	at, err := d.Where(ctx, []chat.User{user})
	if err != nil {
		return fmt.Errorf("where the user's other sessions are is not known: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, siblingsTimeout)
	defer cancel()
	for _, to := range at[0] {
		if to.ID == self.ID {
			continue
		}
		if err := f(ctx, to); err != nil {
			return err
		}
	}
	return nil
}

// Handler is what the directory asks and tells this gateway.
func (g *Gateway) Handler() presence.Handler {
	return presence.Handler{Sessions: g.sessions, Settled: g.settled, Changed: g.announce}
}

// sessions yields every session that has joined or is about to, loop by loop.
func (g *Gateway) sessions(yield func(presence.Session) bool) {
	for i := range g.loops {
		l := g.loops[i].Load()
		if l == nil {
			continue
		}
		found := make(chan []presence.Session, 1)
		if !l.Post(func(l *engine.Loop) { found <- g.joinedOf(l) }) {
			continue
		}
		for _, s := range <-found {
			if !yield(s) {
				return
			}
		}
	}
}

func (g *Gateway) joinedOf(l *engine.Loop) (all []presence.Session) {
	l.Each(func(c *engine.Conn) {
		if s := restingAt(c); s.state >= joining && s.state < closing {
			all = append(all, s.known())
		}
	})
	return all
}

// known is the session as the directory knows it.
func (s *session) known() presence.Session {
	return presence.Session{User: s.user(), Node: s.node, Number: s.number}
}

// settled takes the word that a session is registered, later than it asked or
// once more: what came meanwhile found nobody.
func (g *Gateway) settled(s presence.Session, r presence.Registration, err error) {
	if err != nil { // a newer one is elsewhere
		s.Number++
		g.Replace(s)
		return
	}
	g.tookOver(s, r)
	refs := g.presence.Lookup(view.Bytes(s.User), nil)
	var left, found atomic.Int32
	left.Store(int32(len(refs)) + 1)
	looked := func() {
		if left.Add(-1) == 0 && found.Load() == 0 { // it ended meanwhile
			g.opt.Elsewhere.Directory.UnregisterLater(s, 0)
		}
	}
	defer looked()
	for _, ref := range refs {
		ok := g.postAlways(ref, func(x *session) {
			if x != nil && x.known() == s {
				found.Add(1)
				g.audit(x)
				g.lookRevoked(x)
			}
			looked()
		})
		if !ok {
			looked()
		}
	}
}

// unregisterSoon takes a session out of the directory.
func (g *Gateway) unregisterSoon(s presence.Session, seen int64) {
	if !g.jobs.try(func() { g.unregister(s, seen) }) {
		g.opt.Elsewhere.Directory.UnregisterLater(s, seen)
	}
}

// unregister takes a session out of the directory, and notes when its user was
// last seen if that was the last one. It runs on a worker.
func (g *Gateway) unregister(s presence.Session, seen int64) {
	ctx, cancel := context.WithTimeout(context.Background(), jobTimeout)
	defer cancel()
	last, err := g.opt.Elsewhere.Directory.Unregister(ctx, s, seen)
	if err == nil && last && seen > 0 {
		g.putLastSeen(ctx, s.User, seen)
	}
}

// Replace ends the sessions of a device that have a lower number: the session
// named, at another gateway, took over.
func (g *Gateway) Replace(s presence.Session) {
	for _, ref := range g.presence.Lookup(view.Bytes(s.User), nil) {
		g.post(ref, func(x *session) {
			if x.user() == s.User && x.node == s.Node && x.joined && x.number < s.Number {
				g.Stats.Replaced.Add(1)
				x.bye(chat.CodeReplaced, 0, "a newer session of this device took over")
			}
		})
	}
}

// Siblings makes the sessions of a user here send copies from now on, and calls
// then when all have been told.
func (g *Gateway) Siblings(user chat.User, then func()) { g.tellSiblings(0, user, then) }

// Typing tells the sessions of a user here that somebody is typing.
func (g *Gateway) Typing(from, user chat.User, on bool) {
	for _, ref := range g.presence.Lookup(view.Bytes(user), nil) {
		g.post(ref, func(s *session) {
			if s.user() == user && s.state == live && !s.conn.Blocked() {
				p := typingFrom(from, on)
				s.write(&p)
			}
		})
	}
}

// typingElsewhere passes typing on to the other gateways of a user.
func (g *Gateway) typingElsewhere(ctx context.Context, from, user chat.User, on bool) {
	d := g.opt.Elsewhere.Directory
	self, _ := d.Self()
	at, err := d.Where(ctx, []chat.User{user})
	if err != nil {
		return // it may be lost
	}
	for _, to := range at[0] {
		if to.ID != self.ID {
			g.opt.Elsewhere.Links.Typing(to, from, user, on)
		}
	}
}
