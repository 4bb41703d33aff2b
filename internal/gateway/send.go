package gateway

import (
	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/record"
	"github.com/rookery-chat/rookery/internal/view"
	"github.com/rookery-chat/rookery/packet"
)

// retryFullMs is what a sender waits when the log or its own window is full.
const retryFullMs = 100

// rateRestMs is how long a sender over its rate rests beyond what it is over, so
// that what it then sends fits in more than one by one.
const rateRestMs = 100

// refusal is why a send is not taken; the zero value is that it is.
type refusal struct {
	code    chat.Code
	retryMs int64
	text    string
}

// onSend checks a send and appends it to the batch of the receiver's partition.
// After a refusal everything newer is dropped until that number comes again
// (law 8), so that order holds per sender and chat.
func (g *Gateway) onSend(s *session, p packet.Raw, size int) {
	m := &s.st().send
	if err := m.Decode(p); err != nil { // the numbering cannot go on
		s.bye(chat.CodeBadPacket, 0, err.Error())
		return
	}
	if s.refused && m.N > s.next && int(s.dropped) < g.opt.Inflight {
		s.dropped++ // it was on its way when the refusal was; not charged, or a retry would never fit
		return
	}
	over := s.tokens.spend(&g.opt, s.st().loop.NowMs(), size)
	if over > floodMs {
		s.bye(chat.CodeFlood, floodMs, "far over the rate")
		return
	}
	if m.N != s.next {
		if s.refused && m.N > s.next {
			return
		}
		s.bye(chat.CodeBadSequence, 0, "the send's number is not the next one")
		return
	}
	r := g.check(s, m)
	var b *batch
	if r.code == chat.CodeOK {
		if over > 0 {
			r = refusal{chat.CodeRateLimited, over + rateRestMs, "over the rate"}
		} else if b = s.st().batch(s.st().partition(s.st().qualify(s, m.To))); b == nil {
			r = refusal{chat.CodeOverloaded, retryFullMs, "the log takes no more now"}
		}
	}
	if r.code != chat.CodeOK {
		s.tokens.refund(size)
		s.refused, s.dropped = true, 0
		g.Stats.refuse(r.code)
		s.write(&packet.Refused{N: m.N, Code: r.code, Retry: uint64(r.retryMs), Text: r.text})
		return
	}
	g.take(s, b, m)
}

// take appends an accepted send.
func (g *Gateway) take(s *session, b *batch, m *packet.Send) {
	var flags uint8
	if m.Flags&packet.SendRetry != 0 {
		flags |= record.FlagRetry
	}
	if s.copies {
		flags |= record.FlagCopy
	}
	rec := record.Record{
		Kind: record.Message, Flags: flags, Suite: m.Suite, At: s.st().loop.NowMs(),
		User: s.st().qualify(s, m.To), Peer: view.Bytes(s.user()), Device: view.Bytes(s.device()),
		ID: m.ID, TTL: uint64(m.TTL) * 1000, Media: m.Media, Content: m.Content,
	}
	if m.Suite == chat.SuiteGroup { // judged by what is so now, whenever that is done
		if rec.Place = chat.Position(g.opt.GroupMembers); s.ownName(m.To) {
			rec.Place = chat.Position(g.opt.Blocks)
		}
	}
	b.buf = record.AppendFramed(b.buf, &rec)
	b.send(s, m.N)
	s.refused = false
	s.next++
	s.inflight++
	s.lastTicks = max(s.lastTicks, m.ID.Ticks())
	g.Stats.Sends.Add(1)
	s.st().flushOver(b)
}

// check judges a send by what the session knows.
func (g *Gateway) check(s *session, m *packet.Send) refusal {
	retry := m.Flags&packet.SendRetry != 0
	switch age := s.st().loop.NowMs() - m.ID.UnixMilli(); {
	case len(m.Content) > g.opt.ContentBytes:
		return refusal{chat.CodeTooLarge, 0, "the content is over the limit"}
	case len(m.Media) > g.opt.MediaBytes:
		return refusal{chat.CodeTooLarge, 0, "the media URL is over the limit"}
	case !g.validPeer(m.To):
		return refusal{chat.CodeBadName, 0, "the receiver's name is malformed"}
	case !m.ID.Valid():
		return refusal{chat.CodeBadID, 0, "not a TIMEUUID with the multicast bit set"}
	case m.ID.Node() != s.node:
		return refusal{chat.CodeIDNode, 0, "the id's node is not this device's"}
	case age < -g.opt.FutureLimit.Milliseconds():
		return refusal{chat.CodeIDFuture, 0, "the id's time is ahead of the server's"}
	case age > g.opt.RetryAge.Milliseconds():
		return refusal{chat.CodeIDExpired, 0, "the id is older than a retry is accepted for"}
	case int64(m.TTL)*1000 > g.opt.MaxTTL.Milliseconds():
		return refusal{chat.CodeBadTTL, 0, "the time to live is over the limit"}
	case !retry && m.ID.Ticks() <= s.lastTicks:
		return refusal{chat.CodeBadID, 0, "the id is not above the last one"}
	case int(s.inflight) >= g.opt.Inflight:
		return refusal{chat.CodeOverloaded, retryFullMs, "too many sends in flight"}
	case m.Suite == chat.SuiteGroup:
		return g.checkChange(s, m)
	}
	return refusal{}
}

// qualify puts the session's tenant before a name. The result is valid until
// the next call.
func (st *loopState) qualify(s *session, name []byte) []byte {
	tenant := s.user().Tenant()
	if tenant == "" {
		return name
	}
	st.scratch = append(append(append(st.scratch[:0], tenant...), '/'), name...)
	return st.scratch
}

// onMark takes the client's word that it has persisted its chain up to pos.
func (g *Gateway) onMark(s *session, p packet.Raw) error {
	var m packet.Mark
	if err := m.Decode(p); err != nil {
		return err
	}
	if m.Pos > s.cur {
		return chat.Errorf(chat.CodeBadPosition, "nothing has been sent up to %v", m.Pos)
	}
	s.marked = max(s.marked, m.Pos)
	s.window.mark(m.Pos)
	g.logMark(s)
	if s.state == catching {
		g.readOn(s)
	}
	return nil
}

// logMark appends the session's newest mark, one at a time: marks that come
// while one is on its way into the log are coalesced.
func (g *Gateway) logMark(s *session) {
	if s.marking || s.marked <= s.markSent || s.gone || s.skipped {
		return
	}
	b := s.st().softBatch(s.st().partition(view.Bytes(s.user())))
	if b == nil {
		return // the next mark, or the heartbeat, tries again
	}
	rec := record.Record{Kind: record.Mark, At: s.st().loop.NowMs(), User: view.Bytes(s.user()), Device: view.Bytes(s.device()), Place: s.marked}
	b.buf = record.AppendFramed(b.buf, &rec)
	b.mark(s)
	s.marking = true
	s.markSent = s.marked
	s.st().flushOver(b)
}

// onRead takes the client's word that the user has been shown a chat.
func (g *Gateway) onRead(s *session, p packet.Raw) error {
	var m packet.Read
	if err := m.Decode(p); err != nil {
		return err
	}
	if !g.validPeer(m.Peer) {
		return chat.Errorf(chat.CodeBadName, "the peer's name is malformed")
	}
	if m.Pos > s.cur && !chat.ValidGroupName(m.Peer) { // a group has an order of its own
		return chat.Errorf(chat.CodeBadPosition, "nothing has been sent up to %v", m.Pos)
	}
	b := s.st().softBatch(s.st().partition(view.Bytes(s.user())))
	if b == nil {
		e := chat.Errorf(chat.CodeOverloaded, "the log takes no more now")
		e.RetryAfter = unavailableRetry
		return e
	}
	rec := record.Record{
		Kind: record.Read, At: s.st().loop.NowMs(), User: view.Bytes(s.user()),
		Peer: s.st().qualify(s, m.Peer), Device: view.Bytes(s.device()), Place: m.Pos,
	}
	b.buf = record.AppendFramed(b.buf, &rec)
	b.count++
	s.st().flushOver(b)
	return nil
}
