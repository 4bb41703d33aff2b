package delivery

import (
	"sync"

	"github.com/rookery-chat/rookery/chat"
)

// Hint is an entry or an outcome on its way to another process: the packet,
// encoded once with a position and gap of zero. Its bytes are lent.
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
	for i := range hints {
		h := &hints[i]
		if !d.spread(b, h.User, func(_ int, m *Mail) Item { return copyHint(m, h) }) {
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

func copyHint(m *Mail, h *Hint) Item {
	item := Item{Kind: h.Kind, Pos: h.Pos, Prev: h.Prev, Node: h.Node}
	m.buf, item.user = put(m.buf, h.User)
	m.buf, item.full = put(m.buf, h.Packet)
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
