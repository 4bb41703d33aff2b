package shard

import (
	"context"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/knownbug"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/internal/view"
)

// fan is what a partition is told of whom a message is for.
type fan struct {
	partition int
	first     chat.User
	names     []byte // as a Fanout has them
}

// cycleEntries is how many entries a cycle has before it ends: a message to a
// group is one for each member.
const cycleEntries = 1 << 14

// fanOut derives the records of a message that the group has taken, one for each
// partition with members. Who is none any more by it is told too.
func (g *group) fanOut(w *worker, m *chat.Message, changed []*member) {
	fans := g.fan
	if fans == nil {
		g.fan = g.fans(nil)
		fans = g.fan
		if len(changed) > 0 {
			fans = g.fans(changed)
		}
	}
	for i := range fans {
		w.out.stage(fans[i].partition, w.seq, &record.Record{
			Kind: record.Fanout, At: m.At, User: view.Bytes(fans[i].first), Peer: view.Bytes(g.name),
			Place: m.Place, ID: m.ID, Content: fans[i].names,
		})
	}
}

// fans gathers the names of the members there are, and of others, by partition.
func (g *group) fans(others []*member) (fans []fan) {
	at := map[int]int{}
	add := func(m *member) {
		i, ok := at[m.partition]
		if !ok {
			i = len(fans)
			at[m.partition] = i
			fans = append(fans, fan{partition: m.partition, first: m.name})
		}
		fans[i].names = record.AppendName(fans[i].names, view.Bytes(m.name))
	}
	in := func(m *member) bool { return m.since > 0 || knownbug.On(knownbug.LeaversStay) }
	for _, m := range g.members {
		if in(m) {
			add(m)
		}
	}
	for _, m := range others {
		if !in(m) {
			add(m)
		}
	}
	return fans
}

// fannedOut links a message of a group into the chain of each member that the
// record names.
func (w *worker) fannedOut(ctx context.Context, raw []byte, pos chat.Position) error {
	r := &w.rec
	for rest := r.Content; len(rest) > 0; {
		name, more, err := record.NextName(rest)
		if err == nil && w.ring.Partition(name) != w.p {
			err = errMisrouted
		}
		if err != nil {
			w.deadLetter(pos, raw, err)
			return nil
		}
		rest = more
	}
	m, found, err := w.referred(ctx)
	if err != nil || w.cut {
		return err
	}
	w.noteTaken()
	w.counts.Fanouts++
	if !found {
		w.counts.Gone++
		return nil
	}
	w.fanned = w.ring.hash(r.Peer)
	w.arrivals.fan(w.fanned, m.To, pos, m.Place)
	for rest := r.Content; len(rest) > 0; {
		name, more, _ := record.NextName(rest)
		rest = more
		e := chat.Entry{Kind: chat.EntryMessage, User: view.String[chat.User](name), Pos: pos, Message: m}
		if e.User == m.From {
			e.Kind = chat.EntryCopy
		}
		w.link(w.ring.hash(name), e)
	}
	w.full = w.full || len(w.entries) >= cycleEntries
	return nil
}

// referred finds the message that the record refers to. After a power cut its
// partition may be behind this one: then the cycle ends, and the next one waits
// until it is not. What is not there then has expired.
func (w *worker) referred(ctx context.Context) (m chat.Message, found bool, err error) {
	r := &w.rec
	at := messageAt{chat.GroupChat(view.String[chat.User](r.Peer)), r.ID}
	if m = w.ahead.messages[at]; m.ID == r.ID && m.Place == r.Place {
		return m, true, nil
	}
	look := func() error {
		return w.try(ctx, "message of a group", func() (err error) {
			m, found, err = w.store.Message(ctx, at.chat, at.id, 0)
			found = found && m.Place == r.Place
			return err
		})
	}
	if err = look(); err != nil || found || w.carried { // all of the epoch before is stored
		return m, found, err
	}
	if w.built > 0 { // others may wait for what is built and not stored yet
		w.cut = true
		return m, false, nil
	}
	var applied chat.Position
	if err = w.try(ctx, "applied", func() (err error) {
		applied, err = w.store.Applied(ctx, w.ring.Partition(r.Peer))
		return err
	}); err != nil {
		return m, false, err
	}
	if applied < r.Place {
		if w.stalls++; w.stalls&(w.stalls-1) == 0 && w.stalls >= 1<<10 {
			w.logger.Warn("a message of a group is waited for", "group", string(r.Peer), "place", r.Place.String(), "applied", applied.String())
		}
		w.cut, w.stalled = true, true
		return m, false, nil
	}
	w.stalls = 0
	err = look()
	return m, found, err
}

// forwardFanout forwards what a group fanned out: the names may be of several
// partitions of the next epoch.
func (w *worker) forwardFanout(n *next, raw []byte, pos chat.Position) error {
	inner := w.rec
	byPartition := map[int][]byte{}
	var order []int
	for rest := inner.Content; len(rest) > 0; {
		name, more, err := record.NextName(rest)
		if err != nil {
			w.deadLetter(pos, raw, err)
			return nil
		}
		rest = more
		p := n.ring.Partition(name)
		if byPartition[p] == nil {
			order = append(order, p)
		}
		byPartition[p] = record.AppendName(byPartition[p], name)
	}
	for _, p := range order {
		inner.Content = byPartition[p]
		inner.User, _, _ = record.NextName(inner.Content)
		w.out.stage(w.ring.Partitions()+p, w.seq, &record.Record{
			Kind: record.Forward, At: inner.At, User: inner.User, Place: pos, Content: record.Append(nil, &inner),
		})
	}
	return nil
}
