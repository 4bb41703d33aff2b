package client

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/frame"
	"github.com/rookery-chat/rookery/packet"
)

// soonBytes bounds the packets that wait in Client.soon.
const soonBytes = 16 << 10

// unwatchUsers is how many users one packet unwatches.
const unwatchUsers = 64

// markEvery is the least time between two marks, unless a good part of the
// server's window is used up.
const markEvery = 50 * time.Millisecond

// write writes one frame.
func (s *session) write(op frame.Op, payload []byte) error {
	var key [4]byte
	n := rand.Uint32()
	for i := range key {
		key[i] = byte(n >> (8 * i))
	}
	s.conn.SetWriteDeadline(time.Now().Add(s.patience()))
	_, err := s.conn.Write(frame.AppendMasked(nil, op, payload, key))
	return err
}

// writeLoop writes what there is to write, joined, until the session ends.
func (s *session) writeLoop() {
	if err := s.writeAll(); err != nil {
		s.quit(err)
	}
}

func (s *session) writeAll() error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var payload []byte
	for {
		g := s.gather(payload[:0])
		payload = g.payload
		if g.pinged {
			if err := s.write(frame.OpPong, g.pong); err != nil {
				return err
			}
		}
		if len(payload) > 0 {
			if err := s.write(frame.OpBinary, payload); err != nil {
				return err
			}
			continue
		}
		if g.closing {
			s.closing.Store(true)
			s.conn.SetReadDeadline(time.Now().Add(closeWait))
			return s.write(frame.OpClose, []byte{frame.CloseNormal >> 8, frame.CloseNormal & 0xff})
		}
		timer.Reset(g.wait)
		select {
		case <-s.c.wake:
		case <-timer.C:
		case <-s.ctx.Done():
			return nil
		}
	}
}

// gathered is what is to be written now, and how long to wait for more.
type gathered struct {
	payload []byte // packets
	pong    []byte
	pinged  bool // pong is to be written
	closing bool // and then nothing more
	wait    time.Duration
}

// gather collects packets for one WebSocket message: what is small and quick
// first, then sends as the server's limits allow.
func (s *session) gather(dst []byte) gathered {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	g := gathered{pong: s.ping, pinged: s.pinged, closing: c.closing}
	s.ping, s.pinged = nil, false
	dst, g.wait = s.gatherPing(dst)
	for _, at := range []time.Time{s.calmUntil, s.markedAt.Add(markEvery)} {
		if wait := at.Sub(now); wait > 0 {
			g.wait = min(g.wait, wait)
		}
	}
	dst = append(dst, c.soon...)
	c.soon = c.soon[:0]
	dst = s.gatherMark(dst, now)
	dst = s.gatherRequests(dst)
	if now.After(s.calmUntil) {
		dst = s.gatherReads(dst)
		dst = s.gatherWatches(dst)
	}
	s.pace.bytes.take(len(dst), now)
	if !c.closing && !s.leaving {
		var wait time.Duration
		dst, wait = s.gatherSends(dst, now)
		g.wait = min(g.wait, wait)
	}
	g.payload = dst
	return g
}

// gatherPing asks for a sign of life when nothing was heard for a heartbeat, and
// returns when to look again.
func (s *session) gatherPing(dst []byte) ([]byte, time.Duration) {
	now := time.Since(s.began)
	last := max(time.Duration(s.heard.Load()), s.asked)
	if wait := last + s.heartbeat - now; wait > 0 {
		return dst, wait
	}
	s.asked = now
	p := packet.Ping{Data: uint64(now)}
	return p.AppendTo(dst), s.heartbeat
}

func (s *session) gatherMark(dst []byte, now time.Time) []byte {
	in := &s.c.in
	urgent := s.c.closing || s.window > 0 && s.links-s.markLinks >= s.window/4
	pos := min(in.kept, s.reach) // the server takes no mark above what it has sent
	if pos <= s.marked || in.sendOnly || !urgent && now.Sub(s.markedAt) < markEvery {
		return dst
	}
	s.marked, s.markedAt, s.markLinks = pos, now, s.links
	m := packet.Mark{Pos: s.marked}
	s.pace.packets.take(1, now)
	return m.AppendTo(dst)
}

func (s *session) gatherReads(dst []byte) []byte {
	for peer := range s.unsent {
		if s.c.reads[peer] > s.reach && !chat.User(peer).IsGroup() {
			continue // nor a read mark, but where a group has an order of its own
		}
		r := packet.Read{Peer: []byte(peer), Pos: s.c.reads[peer]}
		dst = r.AppendTo(dst)
		delete(s.unsent, peer)
		s.pace.packets.take(1, time.Now())
	}
	return dst
}

func (s *session) gatherRequests(dst []byte) []byte {
	waiting := len(s.watching)
	for _, r := range s.c.requests {
		if r.sent {
			waiting++
		}
	}
	for id, r := range s.c.requests {
		if waiting >= s.requests {
			break
		}
		if r.limit != "" && s.limits[r.limit] == 0 {
			s.c.answer(id, error(chat.Errorf(chat.CodeUnknownType, "this server does not serve %s", r.limit)))
			continue
		}
		if !r.sent {
			r.sent = true
			waiting++
			dst = r.append(dst, id)
			s.pace.packets.take(1, time.Now())
		}
	}
	return dst
}

// gatherWatches asks for one user a packet, as one that is refused takes those
// after it along. A user's presence is the answer.
func (s *session) gatherWatches(dst []byte) []byte {
	for user := range s.unwatched {
		if len(s.watching) >= s.requests {
			break
		}
		delete(s.unwatched, user)
		if _, ok := s.c.watched[user]; !ok {
			continue // unwatched since
		}
		s.c.lastReq++
		s.watching[s.c.lastReq] = watching{user: user}
		w := packet.Watch{Req: s.c.lastReq, Users: []string{user}}
		dst = w.AppendTo(dst)
		s.pace.packets.take(1, time.Now())
	}
	return dst
}

// watching is a watch without an answer. With news of the user since it was
// written a refusal may be of before they had a chat.
type watching struct {
	user string
	news bool
}

// news asks for a user's presence again where there was no chat for it. c.mu is
// held.
func (s *session) news(user string) {
	for req, w := range s.watching {
		if w.user == user {
			s.watching[req] = watching{user, true}
		}
	}
	if _, ok := s.strangers[user]; ok {
		delete(s.strangers, user)
		s.unwatched[user] = struct{}{}
		s.c.wakeWriter()
	}
}

// gatherSends takes sends from the outbox, in order, and returns how long to
// wait before the next one may go.
func (s *session) gatherSends(dst []byte, now time.Time) ([]byte, time.Duration) {
	c := s.c
	synced := c.journal.synced.Load()
	for c.out.inflight() < s.inflight {
		if wait := s.pace.wait(now); wait > 0 {
			return dst, wait
		}
		room := math.MaxInt // one that is over the batch goes alone
		if len(dst) > 0 {
			room = s.batch - len(dst)
		}
		it := c.out.take(synced, now, room)
		if it == nil {
			break
		}
		before := len(dst)
		m := it.message
		m.N = it.n
		dst = m.AppendTo(dst)
		s.pace.take(len(dst)-before, now)
	}
	if now.Before(c.out.notBefore) {
		return dst, c.out.notBefore.Sub(now)
	}
	return dst, math.MaxInt64
}

// say puts a small packet into the next message. Without a session, or when too
// many wait, it is lost. c.mu is held.
func (c *Client) say(p interface{ AppendTo([]byte) []byte }) {
	if c.session != nil && len(c.soon) < soonBytes {
		c.soon = p.AppendTo(c.soon)
		c.session.pace.packets.take(1, time.Now())
		c.wakeWriter()
	}
}

// refreshLoop replaces the token in time before it expires, if Options.Token
// has a newer one.
func (s *session) refreshLoop() {
	for {
		s.c.mu.Lock()
		wait := refreshWait(time.Until(s.expires))
		s.c.mu.Unlock()
		t := time.NewTimer(wait)
		select {
		case <-t.C:
			s.refresh()
		case <-s.expiring:
			s.refresh()
		case <-s.refreshed:
			t.Stop()
		case <-s.ctx.Done():
			t.Stop()
			return
		}
	}
}

// refreshWait is how long to wait before asking for a new token, for a time that
// the one in use has left; past its end, the server's leeway.
func refreshWait(left time.Duration) time.Duration {
	if left <= 0 {
		return time.Second
	}
	return max(left/5*4, 20*time.Millisecond)
}

func (s *session) refresh() {
	token, err := s.c.o.Token(s.ctx)
	if err != nil {
		s.c.log.Warn("no new token", "error", err)
		return
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if token != s.token {
		s.token = token
		s.c.say(&packet.Refresh{Token: token})
	}
}

// refusalWait is how long to wait after the nth retryable refusal in a row, for
// which the server gave a time or did not.
func refusalWait(retryMs uint64, refusals int, o Options) time.Duration {
	if retryMs > 0 {
		return time.Duration(min(retryMs, math.MaxInt32)) * time.Millisecond
	}
	b := backoff{failures: refusals}
	return b.ceiling(o)/2 + rand.N(b.ceiling(o)/2+1)
}
