package frame

import (
	"sync"
	"unicode/utf8"
	"unsafe"

	"github.com/gobwas/ws"
)

// partial is what has come of a frame or of a fragmented message. It is pooled,
// and grows only by bytes that have come.
type partial struct {
	// The message.
	msg        *buffer // its payload up to here; nil is empty
	checked    int     // bytes of msg known to be UTF-8
	fragments  int     // frames begun
	op         Op
	compressed bool
	joining    bool // more frames follow

	// The frame.
	open    bool // its payload has not all come
	frame   header
	left    uint64 // bytes of its payload to come
	control [MaxControlBytes]byte
}

var partials = sync.Pool{New: func() any { return new(partial) }}

func newPartial() *partial { return partials.Get().(*partial) }

func (p *partial) release() {
	p.msg.free()
	*p = partial{}
	partials.Put(p)
}

// idle reports whether nothing more is to come: what it holds was lent.
func (p *partial) idle() bool { return !p.open && !p.joining }

func (p *partial) memory() int { return int(unsafe.Sizeof(*p)) + p.msg.cap() }

// begin opens a frame.
func (p *partial) begin(h *header) {
	p.open, p.frame, p.left = true, *h, h.bytes
	if h.op.control() {
		return
	}
	p.fragments++
	if h.op != OpContinuation {
		p.op, p.compressed = h.op, h.rsv1
	}
}

// take adds what has come of the open frame's payload.
func (p *partial) take(in []byte) (used int, bad *Error) {
	if uint64(len(in)) > p.left {
		in = in[:p.left]
	}
	at := int(p.frame.bytes - p.left)
	p.left -= uint64(len(in))
	if p.frame.op.control() {
		copy(p.control[at:], in)
		ws.Cipher(p.control[at:at+len(in)], p.frame.key, at)
		return len(in), nil
	}
	start := p.msg.len()
	p.msg = p.msg.append(in)
	ws.Cipher(p.msg.bytes[start:], p.frame.key, at)
	if p.op == OpText && !p.compressed {
		bad = p.checkText()
	}
	return len(in), bad
}

// checkText judges the text that has come since the last time. A character cut
// by the end stays for the next time, unless it is wrong already.
func (p *partial) checkText() *Error {
	fresh := p.msg.bytes[p.checked:]
	if p.left > 0 || !p.frame.fin {
		fresh = fresh[:len(fresh)-cutRune(fresh)]
	}
	if !utf8.Valid(fresh) {
		return errUTF8
	}
	p.checked += len(fresh)
	return nil
}

// cutRune returns how many bytes at the end of b are the beginning of a
// character, 0 when none is cut.
func cutRune(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// message makes the event of a message that has all come.
func (p *partial) message(l *Limits) (Event, *Error) {
	if p.compressed {
		return p.inflated(p.op, l)
	}
	return Event{Op: p.op, Payload: p.msg.all()}, nil
}

// inflated replaces the compressed message by what it means.
func (p *partial) inflated(op Op, l *Limits) (Event, *Error) {
	p.msg = p.msg.append(inflateTail)
	out, bad := inflate(p.msg.bytes, l.messageBytes())
	p.msg.free()
	p.msg = out
	if bad == nil && op == OpText && !utf8.Valid(out.all()) {
		bad = errUTF8
	}
	return Event{Op: op, Payload: out.all()}, bad
}
