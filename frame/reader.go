package frame

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// Reader reads the frames of one connection. Its zero value is ready. It is
// small: what is partial is in pooled memory, and only while it is partial. It
// is not safe for concurrent use.
type Reader struct {
	part        *partial // a frame or message that has not all come, or was last lent
	head        [maxHeaderBytes]byte
	headerBytes uint8 // of head: a header that has not all come
	over        bool  // an error or a close was reported
}

// Next takes bytes from in and says what they were; n of them were consumed.
// With ok there is an event. Without ok and without an error more is needed,
// and all of in was taken. An error is an *Error and the last word: whatever
// follows it, or follows a close event, is taken and ignored.
//
// A payload is unmasked in place, so in is written to. Call Next until ok is
// false, even when in is used up: that gives back what the last event lent.
func (r *Reader) Next(in []byte, l *Limits) (n int, ev Event, ok bool, err error) {
	if r.part != nil && r.part.idle() {
		r.drop()
	}
	if r.over {
		return len(in), Event{}, false, nil
	}
	if r.part == nil && r.headerBytes == 0 && !l.Client {
		if n, payload := common(in, l); n > 0 {
			return n, Event{Op: OpBinary, Payload: payload}, true, nil
		}
	}
	n, ev, ok, bad := r.next(in, l)
	if bad != nil {
		r.drop()
		r.over = true
		return len(in), Event{}, false, bad
	}
	r.over = ok && ev.Op == OpClose
	return n, ev, ok, nil
}

// common takes the frame that nearly all are: a client's whole, uncompressed
// binary message below 64 KiB, all of which has come. Any other, and any fault,
// is left to next: n is 0.
func common(in []byte, l *Limits) (n int, payload []byte) {
	if len(in) < 6 || in[0] != bitFin|byte(OpBinary) || in[1] < bitMasked {
		return 0, nil
	}
	size, bytes := 6, int(in[1]&^bitMasked)
	if bytes >= len16 {
		if bytes == len64 || len(in) < 8 {
			return 0, nil
		}
		if size, bytes = 8, int(binary.BigEndian.Uint16(in[2:])); bytes < len16 {
			return 0, nil
		}
	}
	if n = size + bytes; n > len(in) || bytes > l.messageBytes() {
		return 0, nil
	}
	payload = in[size:n]
	unmask(payload, binary.LittleEndian.Uint32(in[size-4:]))
	return n, payload
}

func (r *Reader) next(in []byte, l *Limits) (n int, ev Event, ok bool, bad *Error) {
	for {
		if r.part == nil || !r.part.open {
			var h header
			size, bad := r.header(&h, in[n:], l)
			if bad != nil || size == 0 {
				return len(in), Event{}, false, bad
			}
			n += size
			if bad = r.admit(&h, l); bad != nil {
				return n, Event{}, false, bad
			}
			if h.bytes <= uint64(len(in)-n) && (h.op.control() || h.fin && !r.joining()) {
				payload := in[n : n+int(h.bytes)]
				ev, bad = r.whole(&h, payload, l)
				return n + len(payload), ev, bad == nil, bad
			}
			r.open(&h)
		}
		used, bad := r.part.take(in[n:])
		n += used
		if bad != nil || r.part.left > 0 {
			return n, Event{}, false, bad
		}
		if ev, ok, bad = r.finish(l); ok || bad != nil {
			return n, ev, ok, bad
		}
	}
}

// Idle reports whether the Reader is as good as a new one.
func (r *Reader) Idle() bool { return r.part == nil && r.headerBytes == 0 && !r.over }

// Buffered returns the bytes of memory held for partial data.
func (r *Reader) Buffered() int {
	if r.part == nil {
		return 0
	}
	return r.part.memory()
}

// Release gives back all that is held. The Reader is as new.
func (r *Reader) Release() {
	r.drop()
	*r = Reader{}
}

func (r *Reader) drop() {
	if r.part != nil {
		r.part.release()
		r.part = nil
	}
}

func (r *Reader) joining() bool { return r.part != nil && r.part.joining }

// header reads a frame's header from in, joined to what came of it before. It
// returns how many bytes of in it took, 0 when there are too few: then they
// are kept.
func (r *Reader) header(h *header, in []byte, l *Limits) (used int, bad *Error) {
	if r.headerBytes == 0 {
		size, bad := h.parse(in, l, r.joining())
		if size == 0 && bad == nil {
			r.headerBytes = uint8(copy(r.head[:], in))
		}
		return size, bad
	}
	had := int(r.headerBytes)
	have := had + copy(r.head[had:], in)
	size, bad := h.parse(r.head[:have], l, r.joining())
	if size == 0 {
		r.headerBytes = uint8(have)
		return 0, bad
	}
	r.headerBytes = 0
	return size - had, bad
}

// admit judges a data frame's size by its declared length, before anything is
// kept of it.
func (r *Reader) admit(h *header, l *Limits) *Error {
	if h.op.control() {
		return nil
	}
	room := l.messageBytes()
	if r.joining() {
		fragments := r.part.fragments + 1
		if fragments > l.fragments() {
			return errFragments
		}
		room -= r.part.msg.len() + (fragments-1)*l.overheadBytes()
	}
	if room < 0 || h.bytes > uint64(room) {
		return errTooBig
	}
	return nil
}

// whole makes the event of a frame whose payload is all there and which is no
// fragment. Unless compressed, the payload is lent as it lies.
func (r *Reader) whole(h *header, payload []byte, l *Limits) (Event, *Error) {
	if !l.Client {
		ws.Cipher(payload, h.key, 0)
	}
	switch {
	case h.op.control():
		return control(h.op, payload)
	case h.rsv1:
		r.part = newPartial()
		r.part.msg = r.part.msg.append(payload)
		return r.part.inflated(h.op, l)
	case h.op == OpText && !utf8.Valid(payload):
		return Event{}, errUTF8
	}
	return Event{Op: h.op, Payload: payload}, nil
}

// open prepares to take a frame's payload in parts.
func (r *Reader) open(h *header) {
	if r.part == nil {
		r.part = newPartial()
	}
	r.part.begin(h)
}

// finish ends the open frame, all of which has come. ok: that made an event.
func (r *Reader) finish(l *Limits) (ev Event, ok bool, bad *Error) {
	p := r.part
	p.open = false
	switch {
	case p.frame.op.control():
		ev, bad = control(p.frame.op, p.control[:p.frame.bytes])
	case !p.frame.fin:
		p.joining = true
		return Event{}, false, nil
	default:
		p.joining = false
		ev, bad = p.message(l)
	}
	return ev, bad == nil, bad
}

// control makes the event of a control frame.
func control(op Op, payload []byte) (Event, *Error) {
	ev := Event{Op: op, Payload: payload}
	if op != OpClose {
		return ev, nil
	}
	switch len(payload) {
	case 0:
		ev.Code = CloseNoStatus
		return ev, nil
	case 1:
		return Event{}, errCloseShort
	}
	ev.Code, ev.Payload = binary.BigEndian.Uint16(payload), payload[2:]
	if !ValidCloseCode(ev.Code) {
		return Event{}, errCloseCode
	}
	if !utf8.Valid(ev.Payload) {
		return Event{}, errCloseUTF8
	}
	return ev, nil
}

// ValidCloseCode reports whether a code may stand in a close frame: those of
// RFC 6455 section 7.4.1 and of its registry, and 3000 to 4999.
func ValidCloseCode(code uint16) bool {
	switch {
	case code >= 1000 && code <= 1014:
		return code != 1004 && code != 1005 && code != 1006
	}
	return code >= 3000 && code <= 4999
}
