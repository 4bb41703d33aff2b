package delivery

import (
	"sync"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/presence"
)

// Mail is what one owner's batch has for the sessions of one loop. The packets
// lie in one buffer, encoded once with a position and gap of zero; the session
// writes its own in their place.
type Mail struct {
	Items []Item
	buf   []byte
	gate  *gate // which it left bytes at, or nil
	held  int
}

// Item is one packet for one session. Its byte ranges lie in the mail.
type Item struct {
	Ref  presence.Ref
	Kind chat.EntryKind // 0 is an outcome, which is no link of the chain
	Pos  chat.Position
	Prev chat.Position
	Node chat.Node // of the message's id: whose device sent it

	user, full, bare span
}

type span struct{ from, to uint32 }

// User is whose packet it is; the session compares it with its own.
func (m *Mail) User(i *Item) []byte { return m.buf[i.user.from:i.user.to] }

// Packet is the packet with its content.
func (m *Mail) Packet(i *Item) []byte { return m.buf[i.full.from:i.full.to] }

// Bare is a copy's packet without content, for the device that sent it.
func (m *Mail) Bare(i *Item) []byte { return m.buf[i.bare.from:i.bare.to] }

// mailBytesKept bounds the buffers that wait in the pool.
const mailBytesKept = 1 << 20

var mails = sync.Pool{New: func() any { return new(Mail) }}

func newMail() *Mail { return mails.Get().(*Mail) }

// Free gives the mail back. Nothing of it may be used afterwards.
func (m *Mail) Free() {
	if m.gate != nil {
		m.gate.leave(m.held)
		m.gate = nil
	}
	if cap(m.buf) > mailBytesKept {
		return
	}
	m.Items, m.buf = m.Items[:0], m.buf[:0]
	mails.Put(m)
}

// put appends bytes and returns where they lie.
func put(buf, b []byte) ([]byte, span) {
	from := uint32(len(buf))
	buf = append(buf, b...)
	return buf, span{from, uint32(len(buf))}
}

// of returns the bytes of a span.
func (s span) of(buf []byte) []byte { return buf[s.from:s.to] }
