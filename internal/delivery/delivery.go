// Package delivery takes stored entries from their owner to the sessions that
// are here: it asks presence where a user is, encodes each packet once, and
// posts one mail a loop. What it delivers is a hint; the inbox is the truth
// (laws 5 and 6), so a mail that finds nobody is nothing lost.
package delivery

import (
	"sync"
	"sync/atomic"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
	"github.com/rookery-chat/rookery/internal/view"
	"github.com/rookery-chat/rookery/packet"
)

// Stats counts what was delivered.
type Stats struct {
	Posted  atomic.Uint64 // packets given to sessions here
	Nowhere atomic.Uint64 // entries of users with no session here
	Absent  atomic.Uint64 // hints taken for users with no session here
}

// Delivery is safe for concurrent use: each partition's owner has a batch of
// its own.
type Delivery struct {
	Stats Stats

	// Nowhere is told of a message to a user with no session here, and whom the
	// chat is with that it is of, a user or a group; it does not block. Set before the first Deliver; nil is nobody.
	Nowhere func(user, with chat.User, pos chat.Position)

	presence *presence.Memory
	loopOf   func(presence.Ref) int
	post     func(loop int, m *Mail)
	batches  []batch

	takers sync.Pool // of *batch, for Take
	gate   gate      // bounds what Take has posted
}

// batch is one owner's work space.
type batch struct {
	refs   []presence.Ref
	mails  []*Mail // by loop
	shared shared
}

// shared is the newest message to a group, of which each member has an entry: it
// is encoded once for a mail.
type shared struct {
	group chat.User
	place chat.Position
	full  []span // by loop; none is empty
}

// of empties shared where an entry is of another message. It reports whether
// the entry is of a kind that shares.
func (sh *shared) of(e *chat.Entry, loops int) bool {
	if e.Kind != chat.EntryMessage || !e.Message.To.IsGroup() {
		return false
	}
	if sh.place != e.Message.Place || sh.group != e.Message.To {
		sh.group, sh.place = e.Message.To, e.Message.Place
		sh.full = append(sh.full[:0], make([]span, loops)...)
	}
	return true
}

// New returns a Delivery for a number of partitions and loops. post hands a
// mail to a loop and must not block; the loop frees it.
func New(partitions, loops int, p *presence.Memory, loopOf func(presence.Ref) int, post func(loop int, m *Mail)) *Delivery {
	d := &Delivery{presence: p, loopOf: loopOf, post: post, batches: make([]batch, partitions)}
	for i := range d.batches {
		d.batches[i].mails = make([]*Mail, loops)
	}
	d.takers.New = func() any { return &batch{mails: make([]*Mail, loops)} }
	d.gate.init(takenBytes)
	return d
}

// Deliver posts entries and outcomes of one partition. It does not block, and
// keeps nothing of its arguments. One goroutine a partition calls it.
func (d *Delivery) Deliver(partition int, entries []chat.Entry, outcomes []chat.Outcome) {
	b := &d.batches[partition]
	for i := range entries {
		d.entry(b, &entries[i])
	}
	b.shared = shared{full: b.shared.full[:0]}
	for i := range outcomes {
		d.outcome(b, &outcomes[i])
	}
	d.send(b)
}

// send posts the mails of a batch.
func (d *Delivery) send(b *batch) {
	for loop, m := range b.mails {
		if m != nil {
			b.mails[loop] = nil
			d.post(loop, m)
		}
	}
}

func (d *Delivery) entry(b *batch, e *chat.Entry) {
	shares := b.shared.of(e, len(b.mails))
	if !d.spread(b, view.Bytes(e.User), func(loop int, m *Mail) Item {
		if shares {
			return encodeShared(m, e, &b.shared.full[loop])
		}
		return encodeEntry(m, e)
	}) {
		d.Stats.Nowhere.Add(1)
		if d.Nowhere != nil && tells(e) {
			d.Nowhere(e.User, e.With(), e.Pos)
		}
	}
}

// tells reports whether who is not connected is to be told of an entry. A key
// share has nothing to show: the message that it is for follows.
func tells(e *chat.Entry) bool {
	return e.Kind == chat.EntryMessage && e.Message.Suite != chat.SuiteKeyShare
}

func (d *Delivery) outcome(b *batch, o *chat.Outcome) {
	d.spread(b, view.Bytes(o.User), func(_ int, m *Mail) Item { return encodeOutcome(m, o) })
}

// spread gives an item to each session that the user has here, and reports
// whether there is one. encode writes the packet into a loop's mail, once for
// all sessions of the loop.
func (d *Delivery) spread(b *batch, user []byte, encode func(loop int, m *Mail) Item) bool {
	b.refs = d.presence.Lookup(user, b.refs[:0])
	d.Stats.Posted.Add(uint64(len(b.refs)))
	done := -1 // the loop whose mail holds the newest encoding
	var item Item
	for _, ref := range b.refs {
		m, loop := d.mail(b, ref)
		if loop != done {
			item, done = encode(loop, m), loop
		}
		item.Ref = ref
		m.Items = append(m.Items, item)
	}
	return len(b.refs) > 0
}

func (d *Delivery) mail(b *batch, ref presence.Ref) (*Mail, int) {
	loop := d.loopOf(ref)
	if b.mails[loop] == nil {
		b.mails[loop] = newMail()
	}
	return b.mails[loop], loop
}

func encodeOutcome(m *Mail, o *chat.Outcome) Item {
	item := Item{Node: o.ID.Node()}
	m.buf, item.user = put(m.buf, view.Bytes(o.User))
	from := uint32(len(m.buf))
	m.buf = AppendOutcome(m.buf, o)
	item.full = span{from, uint32(len(m.buf))}
	return item
}

// encodeShared is encodeEntry of a message that the mail may have for another
// member of the group.
func encodeShared(m *Mail, e *chat.Entry, full *span) Item {
	if *full == (span{}) {
		item := encodeEntry(m, e)
		*full = item.full
		return item
	}
	item := Item{Kind: e.Kind, Pos: e.Pos, Prev: e.Prev, Node: e.Message.ID.Node(), full: *full}
	m.buf, item.user = put(m.buf, view.Bytes(e.User))
	return item
}

func encodeEntry(m *Mail, e *chat.Entry) Item {
	item := Item{Kind: e.Kind, Pos: e.Pos, Prev: e.Prev, Node: e.Message.ID.Node()}
	m.buf, item.user = put(m.buf, view.Bytes(e.User))
	from := uint32(len(m.buf))
	m.buf = AppendEntry(m.buf, e, false)
	item.full = span{from, uint32(len(m.buf))}
	if e.Kind == chat.EntryCopy {
		m.buf = AppendEntry(m.buf, e, true)
		item.bare = span{item.full.to, uint32(len(m.buf))}
	}
	return item
}

// AppendOutcome appends the packet of an outcome.
func AppendOutcome(dst []byte, o *chat.Outcome) []byte {
	p := packet.Outcome{ID: o.ID, To: o.To.Name(), Code: o.Code, Place: o.Place}
	return p.AppendTo(dst)
}

// AppendEntry appends the packet of an entry with position and gap zero. bare
// leaves a copy's content out.
func AppendEntry(dst []byte, e *chat.Entry, bare bool) []byte {
	m := &e.Message
	switch e.Kind {
	case chat.EntryMessage:
		if m.To.IsGroup() {
			p := packet.GroupMessage{
				ID: m.ID, From: view.Bytes(m.From.Name()), Group: view.Bytes(m.To.Name()), Place: m.Place, Late: m.At - m.ID.UnixMilli(),
				Suite: m.Suite, Content: m.Content, Expires: m.Expires, Media: view.Bytes(m.Media),
			}
			return p.AppendTo(dst)
		}
		p := packet.Message{
			ID: m.ID, From: view.Bytes(m.From.Name()), Late: m.At - m.ID.UnixMilli(), Suite: m.Suite,
			Content: m.Content, Expires: m.Expires, Media: view.Bytes(m.Media),
		}
		return p.AppendTo(dst)
	case chat.EntryCopy:
		p := packet.Copy{
			ID: m.ID, To: view.Bytes(m.To.Name()), Late: m.At - m.ID.UnixMilli(), Suite: m.Suite,
			Content: m.Content, Place: m.Place, Expires: m.Expires, Media: view.Bytes(m.Media),
		}
		if bare {
			p.Content, p.Media = nil, nil
		}
		return p.AppendTo(dst)
	}
	p := packet.Receipt{Peer: view.Bytes(e.Receipt.Peer.Name()), Delivered: e.Receipt.Delivered, Read: e.Receipt.Read}
	return p.AppendTo(dst)
}
