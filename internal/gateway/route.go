package gateway

import (
	"context"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/engine"
)

// Route is where sends go: an epoch of the log (law 16).
type Route struct {
	Log       Log
	Partition func(user []byte) int

	// Current reports whether no partition can have been sealed yet; nil is
	// always. What becomes durable later is not acknowledged before Settled says
	// that everything up to its position is applied, or is where it belongs in the
	// next epoch.
	Current func() bool
	Settled func(ctx context.Context, partition int, upTo chat.Position) error
}

// settleTimeout bounds how long Settled may take; then senders are told that the
// outcome is not known.
const settleTimeout = 10 * time.Second

// Follow makes every loop append to the next epoch from now on, each as soon as
// all that it has appended before is settled, so that order holds (law 8). Until
// then it refuses sends, as when the log is full.
func (g *Gateway) Follow(r *Route) {
	g.route.Store(r)
	for i := range g.loops {
		if l := g.loops[i].Load(); l != nil {
			l.Post(func(*engine.Loop) {}) // a turn
		}
	}
}

// moving reports whether the loop has to change to another route.
func (st *loopState) moving() bool { return st.route != st.g.route.Load() }

// move changes to the new route when nothing of the old one is under way.
func (st *loopState) move() {
	for _, b := range st.batches {
		if b != nil && b.count > 0 {
			return // the log was full: it is offered again
		}
	}
	if st.under > 0 {
		return
	}
	st.route, st.batches = st.g.route.Load(), nil
	st.loop.Each(func(c *engine.Conn) {
		if s := restingAt(c); s.work != nil && s.state >= catching && s.state < closing {
			st.g.logMark(s) // what came meanwhile
		}
	})
}

// settle asks, not on the loop, whether a durable batch is where it belongs, and
// acknowledges it then.
func (g *Gateway) settle(b *batch) {
	g.Stats.Settled.Add(1)
	g.settling.Go(func() {
		ctx, cancel := context.WithTimeout(g.life, settleTimeout)
		defer cancel()
		b.err = b.route.Settled(ctx, b.part, b.first+chat.Position(b.count-1))
		b.settled = true
		b.st.loop.Post(b.onLoop)
	})
}
