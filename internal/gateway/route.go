package gateway

import (
	"context"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/internal/view"
)

// Route is where sends go: an epoch of the log (law 16).
type Route struct {
	Log       Log
	Partition func(user []byte) int

	// Current reports whether no partition can have been sealed yet; nil is
	// always. What becomes durable later is not acknowledged before Settled has
	// returned. It waits until it is known that the epoch has not ended, or else
	// until everything up to the position is applied, or is durable where it
	// belongs in the next epoch.
	Current func() bool
	Settled func(ctx context.Context, partition int, upTo chat.Position) (ended bool, err error)
}

// settleTimeout bounds how long it may take to settle a batch; then senders are
// told that the outcome is not known.
const settleTimeout = 10 * time.Second

const (
	placesTimeout = 3 * time.Second // how much of that for where its messages lie
	placesPoll    = 10 * time.Millisecond
)

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
		ended, err := b.route.Settled(ctx, b.part, b.first+chat.Position(b.count-1))
		if err == nil && ended {
			b.places, err = g.placesOf(ctx, b.buf)
		}
		b.err, b.settled = err, true
		b.st.loop.Post(b.onLoop)
	})
}

// placesOf returns where the messages among framed records lie, by record. What was
// behind the seal lies where the next epoch's owner has put it, which only the store
// knows: at its old place its sender would see ticks too early. It waits until all
// are stored, for a while: some are refused. The place of what is not is 0.
func (g *Gateway) placesOf(ctx context.Context, framed []byte) ([]chat.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, placesTimeout)
	defer cancel()
	messages, err := messagesOf(framed)
	if err != nil {
		return nil, err
	}
	places := make([]chat.Position, len(messages))
	look := time.NewTicker(placesPoll)
	defer look.Stop()
	for {
		missing := false
		for i := range messages {
			if m := &messages[i]; places[i] == 0 && !m.ID.Zero() {
				stored, found, err := g.store.Message(ctx, m.Chat(), m.ID, 0)
				if err != nil || !found {
					missing = true
					continue
				}
				places[i] = stored.Place
			}
		}
		if !missing {
			return places, nil
		}
		select {
		case <-ctx.Done():
			return places, nil
		case <-look.C:
		}
	}
}

// messagesOf returns the names of messages among framed records; the zero Message
// stands for another record.
func messagesOf(framed []byte) (messages []chat.Message, err error) {
	var r record.Record
	for len(framed) > 0 {
		var raw []byte
		if raw, framed, err = record.NextFramed(framed); err == nil {
			err = r.Decode(raw)
		}
		if err != nil {
			return nil, err
		}
		var m chat.Message
		if r.Kind == record.Message {
			m = chat.Message{ID: r.ID, From: view.String[chat.User](r.Peer), To: view.String[chat.User](r.User)}
		}
		messages = append(messages, m)
	}
	return messages, nil
}
