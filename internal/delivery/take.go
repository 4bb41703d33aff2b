package delivery

import (
	"sync"

	"github.com/rookery-chat/rookery/chat"
)

// Hint is an entry or an outcome on its way to another process: the packet,
// encoded once with a position and gap of zero. Its bytes are lent; hints of one
// message to a group share their packet.
type Hint struct {
	User   []byte         // with the tenant
	Kind   chat.EntryKind // 0 is an outcome
	Pos    chat.Position
	Prev   chat.Position
	Node   chat.Node // of the message's id
	Packet []byte
	Bare   []byte // a copy's packet without content
}

// takenBytes bounds the mails of Take that loops have not worked off: over it
// calls wait, and each that comes passes it once.
const takenBytes = 8 << 20

// Take posts hints of other processes to the sessions here, and appends to
// absent the users that have none. It waits while the loops are behind with
// what was taken before: so a link's credit ends at the loops. It keeps
// nothing of the hints and may be called by several goroutines.
func (d *Delivery) Take(hints []Hint, absent [][]byte) [][]byte {
	b := d.takers.Get().(*batch)
	d.gate.wait()
	var before []byte
	for i := range hints {
		h := &hints[i]
		if !sameMemory(h.Packet, before) {
			before = h.Packet
			b.shared.full = append(b.shared.full[:0], make([]span, len(b.mails))...)
		}
		if !d.spread(b, h.User, func(loop int, m *Mail) Item { return copyHint(m, h, &b.shared.full[loop]) }) {
			d.Stats.Absent.Add(1)
			absent = append(absent, h.User)
		}
	}
	for _, m := range b.mails {
		if m != nil {
			m.gate, m.held = &d.gate, len(m.buf)
			d.gate.enter(m.held)
		}
	}
	d.send(b)
	d.takers.Put(b)
	return absent
}

// sameMemory reports whether two hints share their packet.
func sameMemory(a, b []byte) bool {
	return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0]
}

// copyHint copies a hint into a mail, and its packet where the mail has not got
// it from the hint before.
func copyHint(m *Mail, h *Hint, full *span) Item {
	item := Item{Kind: h.Kind, Pos: h.Pos, Prev: h.Prev, Node: h.Node}
	m.buf, item.user = put(m.buf, h.User)
	if *full == (span{}) {
		m.buf, *full = put(m.buf, h.Packet)
	}
	item.full = *full
	m.buf, item.bare = put(m.buf, h.Bare)
	return item
}

// gate counts bytes that are somewhere, and makes who brings more wait while
// they are too many.
type gate struct {
	mu    sync.Mutex
	open  sync.Cond
	bytes int
	limit int
}

func (g *gate) init(limit int) {
	g.limit = limit
	g.open.L = &g.mu
}

func (g *gate) wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.bytes >= g.limit {
		g.open.Wait()
	}
}

func (g *gate) enter(n int) {
	g.mu.Lock()
	g.bytes += n
	g.mu.Unlock()
}

func (g *gate) leave(n int) {
	g.mu.Lock()
	was := g.bytes >= g.limit
	g.bytes -= n
	if was && g.bytes < g.limit {
		g.open.Broadcast()
	}
	g.mu.Unlock()
}
