package gateway

import (
	"slices"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/packet"
)

// batch is what one loop has gathered for one partition. It belongs to the loop
// while it gathers, to the log from TryAppend to complete, then to the loop
// again, which acknowledges and reuses it.
type batch struct {
	st    *loopState
	route *Route
	part  int
	buf   []byte // framed records
	count int
	acks  []ack
	stuck bool // the log was full when it was offered

	first   chat.Position // set by complete
	err     error
	settled bool            // and by settle
	places  []chat.Position // of messages, by record; nil: they lie where they were appended

	// Made once, so that handing over allocates nothing.
	onDone func(first chat.Position, err error)
	onLoop func(*engine.Loop)
}

// ack is what to do when a batch is durable: acknowledge sends n-count+1 … n,
// the last of which is record at of the batch; or, with count 0, the session's
// mark is in the log.
type ack struct {
	ref   engine.ID
	n     uint64
	count uint32
	at    uint32
}

const (
	batchesKept    = 64      // free batches a loop keeps
	batchBytesKept = 4 << 20 // a buffer over this is not kept
)

// batch returns the open batch of a partition, or nil while the log is full.
func (st *loopState) batch(part int) *batch {
	if b := st.softBatch(part); b != nil && !b.stuck {
		return b
	}
	return nil
}

// softBatch is batch for marks and reads, which are small and cumulative: they
// may still join a batch that waits for the log, up to twice its bound.
func (st *loopState) softBatch(part int) *batch {
	if st.moving() {
		return nil
	}
	for len(st.batches) <= part {
		st.batches = append(st.batches, nil)
	}
	b := st.batches[part]
	if b == nil {
		b = st.newBatch()
		b.part, b.route = part, st.route
		st.batches[part] = b
	}
	if len(b.buf) > 2*st.g.opt.BatchBytes || b.count >= st.g.maxRecords {
		return nil
	}
	return b
}

// partition is where a user's records go.
func (st *loopState) partition(user []byte) int { return st.route.Partition(user) }

func (st *loopState) newBatch() *batch {
	if n := len(st.free); n > 0 {
		b := st.free[n-1]
		st.free = st.free[:n-1]
		return b
	}
	b := &batch{st: st}
	b.onLoop = func(*engine.Loop) { b.acknowledge() }
	b.onDone = b.complete
	return b
}

// send notes a send that was just appended, joining it to the one before.
func (b *batch) send(s *session, n uint64) {
	at := uint32(b.count)
	b.count++
	if last := len(b.acks) - 1; last >= 0 {
		if a := &b.acks[last]; a.count > 0 && a.ref == s.conn.ID() && a.n+1 == n && a.at+1 == at {
			a.n, a.count, a.at = n, a.count+1, at
			return
		}
	}
	b.acks = append(b.acks, ack{ref: s.conn.ID(), n: n, count: 1, at: at})
}

// mark notes a session's mark that was just appended.
func (b *batch) mark(s *session) {
	b.count++
	b.acks = append(b.acks, ack{ref: s.conn.ID()})
}

// flushOver hands a batch over before the turn's end when it is large.
func (st *loopState) flushOver(b *batch) {
	if len(b.buf) >= st.g.opt.BatchBytes || b.count >= st.g.maxRecords {
		st.flush(b)
	}
}

// flush offers a batch to the log. When the log is full it stays and is offered
// again at every turn; sends to the partition are refused meanwhile.
func (st *loopState) flush(b *batch) {
	if b.count == 0 {
		return
	}
	if err := b.route.Log.TryAppend(b.part, b.buf, b.count, b.onDone); err != nil {
		if !b.stuck {
			b.stuck = true
			st.g.Stats.LogFull.Add(1)
		}
		return
	}
	b.stuck = false
	st.under++
	st.batches[b.part] = nil
}

// complete is called by the log.
func (b *batch) complete(first chat.Position, err error) {
	b.first, b.err = first, err
	b.st.loop.Post(b.onLoop)
}

// acknowledge runs on the loop when the batch is durable, or its outcome is not
// known.
func (b *batch) acknowledge() {
	if r := b.route; b.err == nil && !b.settled && r.Current != nil && !r.Current() {
		b.st.g.settle(b)
		return
	}
	b.st.under--
	for i := range b.acks {
		if s := sessionOf(b.st.loop, b.acks[i].ref); s != nil {
			b.ack(s, &b.acks[i])
		}
	}
	st := b.st
	if len(st.free) < batchesKept && cap(b.buf) <= batchBytesKept {
		b.buf, b.acks, b.count, b.stuck, b.settled, b.places = b.buf[:0], b.acks[:0], 0, false, false, nil
		st.free = append(st.free, b)
	}
}

func (b *batch) ack(s *session, a *ack) {
	g := b.st.g
	if a.count == 0 {
		s.marking = false
		if b.err != nil {
			s.markSent = 0
		}
		g.logMark(s)
		return
	}
	s.inflight -= int32(a.count)
	gone := s.state == closing && !s.leaving
	if b.err != nil || !gone && !b.accept(s, a) {
		s.bye(chat.CodeUnknown, 0, "the log did not say whether it holds the last sends: reconnect and retry them")
		return
	}
	if !gone {
		g.Stats.Accepted.Add(uint64(a.count))
	}
	if s.leaving && s.inflight == 0 {
		s.closeFrame(closeBase+uint16(chat.CodeDraining), chat.CodeDraining.String())
	}
}

// accept tells where sends lie, if that is known: in one packet, as they lie behind
// each other where they were appended.
func (b *batch) accept(s *session, a *ack) bool {
	if b.places == nil {
		p := s.out()
		m := packet.Accepted{N: a.n, Count: uint64(a.count), Pos: b.first + chat.Position(a.at)}
		*p = m.AppendTo(*p)
		return true
	}
	places := b.places[a.at+1-a.count : a.at+1]
	if slices.Contains(places, 0) {
		return false
	}
	p := s.out()
	for i, place := range places {
		m := packet.Accepted{N: a.n + 1 - uint64(len(places)-i), Count: 1, Pos: place}
		*p = m.AppendTo(*p)
	}
	return true
}
