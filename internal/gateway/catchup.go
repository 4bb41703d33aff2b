package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/engine"
	"github.com/rookery-chat/rookery/internal/delivery"
	"github.com/rookery-chat/rookery/internal/knownbug"
	"github.com/rookery-chat/rookery/packet"
)

const (
	jobTimeout   = 10 * time.Second // for a job's reads of the store
	pageEntries  = 256              // entries a catch-up job reads
	pageBytes    = 64 << 10         // bytes of packets after which a page ends
	pageReceipts = 256              // receipts it reads
	slowBytes    = 64 << 10         // unsent bytes over which live entries wait
)

// page is what one catch-up job is to read, and what it read, encoded for its
// session.
type page struct {
	user         chat.User
	node         chat.Node
	after        chat.Position // where the session stands
	receiptsFrom chat.Position
	beyond       chat.User // receipts are left of peers beyond this one; "": none
	limit        int

	entries   []chat.Entry
	buf       []byte
	count     int
	truncated chat.Position // the inbox was swept up to here since the session began; 0: it was not
	last      chat.Position // the session has everything up to here afterwards
	applied   chat.Position // read before the inbox was
	sent      chat.Position // of the last entry
	done      bool          // last reaches applied
	err       error
}

var pages = sync.Pool{New: func() any { return new(page) }}

func (p *page) free() {
	clear(p.entries)
	if cap(p.buf) <= 4*pageBytes {
		*p = page{entries: p.entries[:0], buf: p.buf[:0]}
		pages.Put(p)
	}
}

// readOn queues the next page of a session's catch-up, unless one is at work,
// the client has to mark first, or its socket is full.
func (g *Gateway) readOn(s *session) {
	if s.reading || s.queued || s.window.full(&g.opt) || s.conn.Blocked() {
		return
	}
	p := pages.Get().(*page)
	p.user, p.node = s.user(), s.node
	p.after, p.receiptsFrom, p.limit = s.cur, s.receiptsFrom, min(pageEntries, s.window.room(&g.opt))
	if s.rare != nil {
		p.beyond = s.rare.receiptsBeyond
	}
	ref, lease := s.ref(), s.lease()
	ok := g.jobs.try(func() {
		if lease.ended() {
			p.free()
			return
		}
		g.readPage(p)
		if !g.post(ref, func(s *session) { g.deliverPage(s, p) }) {
			p.free()
		}
	})
	if ok {
		s.reading = true
		return
	}
	p.free()
	s.queued = true
	s.st().retry = append(s.st().retry, s)
}

// readPage runs on a worker.
func (g *Gateway) readPage(p *page) {
	ctx, cancel := context.WithTimeout(context.Background(), jobTimeout)
	defer cancel()
	if p.beyond != "" { // all but the receipts is sent
		p.last, p.sent, p.applied, p.done = p.after, p.after, p.after, true
		p.err = g.readReceipts(ctx, p)
		return
	}
	applied, err := g.owners.Applied(ctx, p.user)
	if p.err = err; err == nil {
		g.readUpTo(ctx, p, applied)
	}
}

// readUpTo reads a page of what is after p.after, up to what was applied when the
// session had registered, or later.
func (g *Gateway) readUpTo(ctx context.Context, p *page, applied chat.Position) {
	p.applied = applied
	if p.err = g.readInbox(ctx, p); p.err == nil && p.done {
		p.err = g.readReceipts(ctx, p)
	}
}

// readInbox reads the entries after p.after, which it moves on to where a sweep
// has passed it: looked at after the inbox, so that no sweep goes unseen (law 15).
func (g *Gateway) readInbox(ctx context.Context, p *page) error {
	for {
		var err error
		p.applied = max(p.applied, p.after)
		p.entries, p.last, err = g.store.Inbox(ctx, p.user, p.after, p.applied, p.limit, chat.MillisNow(), p.entries[:0])
		if err != nil {
			return err
		}
		truncated, err := g.store.Truncated(ctx, p.user, p.after)
		if err != nil {
			return err
		}
		if truncated <= p.after {
			break
		}
		p.after, p.truncated = truncated, truncated
	}
	if knownbug.On(knownbug.ResumeOffByOne) && len(p.entries) > 0 {
		p.entries = p.entries[1:]
	}
	p.done = p.last >= p.applied
	prev := p.after
	for i := range p.entries {
		e := &p.entries[i]
		if len(p.buf) > pageBytes {
			p.last, p.done = prev, false
			break
		}
		p.buf = packet.AppendLink(p.buf, delivery.AppendEntry(nil, e, e.Message.ID.Node() == p.node), e.Pos, prev)
		prev = e.Pos
		p.count++
	}
	p.sent = prev
	return nil
}

// readReceipts reads a page of those that changed up to p.applied, which stays
// the same for all of these pages, and sets p.beyond when it is not the last.
func (g *Gateway) readReceipts(ctx context.Context, p *page) error {
	receipts, err := g.store.Receipts(ctx, p.user, p.receiptsFrom, p.applied, p.beyond, pageReceipts, nil)
	for i := range receipts {
		p.buf = delivery.AppendEntry(p.buf, &chat.Entry{Kind: chat.EntryReceipt, Receipt: receipts[i]}, false)
	}
	p.beyond = ""
	if len(receipts) == pageReceipts {
		p.beyond = receipts[pageReceipts-1].Peer
	}
	return err
}

// deliverPage writes a page on the session's loop.
func (g *Gateway) deliverPage(s *session, p *page) {
	defer p.free()
	s.reading = false
	if s.state != catching {
		return
	}
	if p.err != nil {
		g.opt.Logger.Error("inbox not read", "err", p.err)
		s.bye(chat.CodeUnavailable, unavailableRetry.Milliseconds(), "the store does not answer")
		return
	}
	if p.truncated > s.cur {
		s.write(&packet.Truncated{Pos: p.truncated})
		s.cur = p.truncated
	}
	if len(p.buf) > 0 {
		out := s.out()
		*out = append(*out, p.buf...)
		g.Stats.CaughtUpEntries.Add(uint64(p.count))
	}
	if p.count > 0 {
		s.window.add(&g.opt, p.last, p.count, len(p.buf))
	}
	s.cur = max(s.cur, p.last)
	if p.beyond != "" {
		s.extra().receiptsBeyond = p.beyond
		g.readOn(s)
		return
	}
	if s.rare != nil {
		s.rare.receiptsBeyond = ""
	}
	if p.done || p.last > p.sent {
		// Rows were passed over: the client has to know how far, or it would
		// take the next entry for one behind a gap.
		m := packet.CaughtUp{Pos: s.cur}
		out := s.out()
		*out = m.AppendTo(*out)
	}
	if p.done {
		s.receiptsFrom = s.cur
	}
	if !p.done || s.missed > s.cur {
		g.readOn(s)
		return
	}
	s.missed = 0
	s.state = live
	if s.unsure {
		s.unsure = false
		g.audit(s)
	}
}

// Take gives a mail to the sessions of a loop. It runs on the loop.
func (g *Gateway) Take(st *loopState, m *delivery.Mail) {
	for i := range m.Items {
		item := &m.Items[i]
		if s := sessionOf(st.loop, engine.ID(item.Ref)); s != nil && string(s.user()) == string(m.User(item)) {
			g.entry(s, m, item)
		}
	}
	m.Free()
}

// entry gives a session a link of its chain: it is written if the session
// stands right before it, ignored if it is behind, and otherwise the session
// falls into catch-up, as does one whose client or socket is slow (laws 6, 7).
func (g *Gateway) entry(s *session, m *delivery.Mail, item *delivery.Item) {
	if item.Kind == 0 {
		if item.Node == s.node && s.state >= catching && s.state < closing {
			out := s.out()
			*out = append(*out, m.Packet(item)...)
		}
		return
	}
	switch {
	case s.state < live:
		s.missed = max(s.missed, item.Pos)
		return
	case s.state == closing || item.Pos <= s.cur:
		return
	case item.Prev > s.cur, s.window.full(&g.opt), s.conn.Blocked() && s.conn.OutBytes() > slowBytes:
		g.fallBehind(s, item.Pos)
		return
	}
	encoded := m.Packet(item)
	if item.Kind == chat.EntryCopy && item.Node == s.node {
		encoded = m.Bare(item)
	}
	out := s.out()
	*out = packet.AppendLink(*out, encoded, item.Pos, s.cur)
	s.cur = item.Pos
	if item.Kind != chat.EntryReceipt {
		s.window.add(&g.opt, item.Pos, 1, len(encoded))
	}
	g.Stats.Delivered.Add(1)
}

// fallBehind puts a live session into catch-up: there is something up to a
// position that it does not have.
func (g *Gateway) fallBehind(s *session, missed chat.Position) {
	s.missed, s.receiptsFrom = missed, s.cur
	s.state = catching
	g.Stats.FellBehind.Add(1)
	g.readOn(s)
}
