package shard

import (
	"context"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/internal/view"
	"github.com/rookery-chat/rookery/storage"
)

// come takes a receipt to a group: how far a member has come in its order. It is
// stored with a mark that covers what it causes, as cursors are.
func (w *worker) come(ctx context.Context, name, user chat.User, pos chat.Position) error {
	g, err := w.group(ctx, name, pos)
	if err != nil {
		return err
	}
	m := g.find(user)
	if m == nil || m.since == 0 {
		return nil
	}
	r := &w.rec
	read := min(r.ReadTo, pos) // nobody has come further than the group
	now := [2]chat.Position{max(min(r.Place, pos), read), read}
	for i := range now {
		if now[i] > m.come[i] {
			m.come[i], m.dirty = now[i], pos
			w.touch(g)
		}
	}
	return nil
}

// touch notes that the cycle has changed how far members of a group have come,
// or what they have sent, or who they are.
func (w *worker) touch(g *group) {
	g.at = max(g.at, w.rec.At)
	if !g.touched {
		g.touched = true
		w.touched = append(w.touched, g)
	}
}

// tellSenders makes rows and records of what members have come to in the cycle.
func (w *worker) tellSenders() {
	for i, g := range w.touched {
		g.tell(w)
		g.touched = false
		w.touched[i] = nil
	}
	w.touched = w.touched[:0]
	w.forgetGroups(keptMembers)
}

// tell derives a receipt for each member who has sent what all others have come
// to now. Receipts say how far that is, so that one stands for all others.
func (g *group) tell(w *worker) {
	low := g.lowest()
	for _, m := range g.members {
		if m.dirty > 0 {
			w.cur.members = append(w.cur.members, storage.GroupMark{
				Group: g.name, User: m.name, Delivered: m.come[asDelivered], Read: m.come[asRead], Sent: m.sent, Pos: m.dirty,
			})
			w.waiting++
			m.dirty, g.waits = 0, w.seq
		}
		if m.since == 0 || !m.news(&low) {
			continue
		}
		w.out.stage(m.partition, w.seq, &record.Record{
			Kind: record.Receipt, At: g.at, User: view.Bytes(m.name), Peer: view.Bytes(g.name),
			Place: m.told[asDelivered], ReadTo: m.told[asRead],
		})
	}
}

// news reports whether a member is to be told that others have come further.
func (m *member) news(low *[2]lowest) (news bool) {
	for i := range low {
		all := low[i].but(m)
		if m.untold[i] == 0 || all < m.untold[i] || all <= m.told[i] {
			continue
		}
		news, m.told[i] = true, all
		if m.untold[i] = all + 1; m.sent <= all {
			m.untold[i] = 0
		}
	}
	return news
}

// lowest is how far all members have come, and all but who has come least far.
type lowest struct {
	all, others chat.Position
	who         *member // one who has come to all; nil: there are no members
	two         bool    // there are others
}

// lowest looks at the members there are. Who joined later has come to where they
// did.
func (g *group) lowest() (low [2]lowest) {
	for _, m := range g.members {
		if m.since == 0 {
			continue
		}
		for i := range low {
			l, at := &low[i], max(m.come[i], m.since)
			switch {
			case l.who == nil:
				l.all, l.who = at, m
			case at < l.all:
				l.others, l.all, l.who, l.two = l.all, at, m, true
			case !l.two || at < l.others:
				l.others, l.two = at, true
			}
		}
	}
	return low
}

// but is how far all but one have come; 0 where there is nobody else.
func (l *lowest) but(m *member) chat.Position {
	switch {
	case l.who != m:
		return l.all
	case l.two:
		return l.others
	}
	return 0
}
