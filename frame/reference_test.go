package frame

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"unicode/utf8"
)

// reference reads frames one byte at a time, as simply as it can be written. It
// judges only when a frame's header or a byte of text is there.
type reference struct {
	l       Limits
	head    []byte
	size    uint64 // of the payload
	payload []byte // of the frame

	op        byte // of the message being joined, 0: none
	packed    bool
	message   []byte
	fragments int
	text      textState

	events []got
	code   uint16
	over   bool
	broken bool // the compressed data is
}

// textState is a place in a UTF-8 character: how many bytes are to come, and
// the range of the next (RFC 3629 section 4).
type textState struct {
	more   int
	lo, hi byte
}

func (s *textState) take(c byte) bool {
	if s.more > 0 {
		ok := c >= s.lo && c <= s.hi
		*s = textState{s.more - 1, 0x80, 0xbf}
		return ok
	}
	switch {
	case c < 0x80:
	case c >= 0xc2 && c <= 0xdf:
		*s = textState{1, 0x80, 0xbf}
	case c == 0xe0:
		*s = textState{2, 0xa0, 0xbf}
	case c == 0xed:
		*s = textState{2, 0x80, 0x9f}
	case c >= 0xe1 && c <= 0xef:
		*s = textState{2, 0x80, 0xbf}
	case c == 0xf0:
		*s = textState{3, 0x90, 0xbf}
	case c >= 0xf1 && c <= 0xf3:
		*s = textState{3, 0x80, 0xbf}
	case c == 0xf4:
		*s = textState{3, 0x80, 0x8f}
	default:
		return false
	}
	return true
}

func (r *reference) fail(code uint16) { r.code, r.over = code, true }

func (r *reference) read(in []byte) {
	for _, c := range in {
		if r.over {
			return
		}
		r.take(c)
	}
}

func (r *reference) take(c byte) {
	if r.head != nil && len(r.head) == r.headBytes() {
		r.takePayload(c)
		return
	}
	r.head = append(r.head, c)
	if code := r.judgeHead(); code != 0 {
		r.fail(code)
		return
	}
	if len(r.head) < r.headBytes() {
		return
	}
	if r.control() == 0 {
		if r.fragments++; r.opcode() != 0 {
			r.op, r.packed = r.opcode(), r.head[0]&0x40 != 0
		}
		if r.fragments > r.l.Fragments || r.size > uint64(r.l.MessageBytes) ||
			len(r.message)+int(r.size)+(r.fragments-1)*r.l.FragmentOverheadBytes > r.l.MessageBytes {
			r.fail(1009)
			return
		}
	}
	if r.size == 0 {
		r.endFrame()
	}
}

func (r *reference) opcode() byte  { return r.head[0] & 15 }
func (r *reference) control() byte { return r.head[0] & 8 }

func (r *reference) headBytes() int {
	n := 2
	if len(r.head) >= 2 {
		n += map[byte]int{126: 2, 127: 8}[r.head[1]&127]
		if !r.l.Client {
			n += 4
		}
	}
	return n
}

func (r *reference) judgeHead() uint16 {
	b0, fin := r.head[0], r.head[0]&0x80 != 0
	known := slices.Contains([]byte{0, 1, 2, 8, 9, 10}, r.opcode())
	zipOK := b0&0x40 == 0 || r.l.Deflate && (r.opcode() == 1 || r.opcode() == 2)
	inOrder := r.control() != 0 || (r.op != 0) == (r.opcode() == 0)
	if b0&0x30 != 0 || !known || !zipOK || !inOrder || r.control() != 0 && !fin {
		return 1002
	}
	if len(r.head) < 2 {
		return 0
	}
	n := r.head[1] & 127
	if (r.head[1] < 128) != r.l.Client || r.control() != 0 && n > 125 {
		return 1002
	}
	r.size = uint64(n)
	switch {
	case n == 126 && len(r.head) >= 4:
		if r.size = uint64(binary.BigEndian.Uint16(r.head[2:])); r.size < 126 {
			return 1002
		}
	case n == 127 && len(r.head) >= 10:
		if r.size = binary.BigEndian.Uint64(r.head[2:]); r.size > math.MaxInt64 || r.size < 65536 {
			return 1002
		}
	}
	return 0
}

func (r *reference) takePayload(c byte) {
	if !r.l.Client {
		c ^= r.head[len(r.head)-4+len(r.payload)%4]
	}
	r.payload = append(r.payload, c)
	if r.control() == 0 && r.op == 1 && !r.packed && !r.text.take(c) {
		r.fail(1007)
		return
	}
	if uint64(len(r.payload)) == r.size {
		r.endFrame()
	}
}

func (r *reference) endFrame() {
	op, fin, payload := r.opcode(), r.head[0]&0x80 != 0, r.payload
	control := r.control() != 0
	r.head, r.payload = nil, nil
	if control {
		r.endControl(Op(op), payload)
		return
	}
	r.message = append(r.message, payload...)
	if !fin {
		return
	}
	var bad *Error
	if r.packed {
		if r.message, bad = stdInflate(r.message, r.l.MessageBytes); bad != nil {
			r.broken = bad == errDeflate
			r.fail(bad.Code)
			return
		}
	}
	if r.op == 1 && (r.text.more > 0 || !utf8.Valid(r.message)) {
		r.fail(1007)
		return
	}
	r.events = append(r.events, got{Op(r.op), string(r.message), 0})
	r.op, r.message, r.fragments, r.packed = 0, nil, 0, false
}

func (r *reference) endControl(op Op, payload []byte) {
	ev := got{Op: op, Payload: string(payload)}
	if op == OpClose {
		r.over = true
		ev.Code = CloseNoStatus
		if len(payload) == 1 {
			r.fail(1002)
			return
		}
		if len(payload) > 1 {
			ev.Code, ev.Payload = binary.BigEndian.Uint16(payload), string(payload[2:])
			registered := ev.Code >= 1000 && ev.Code <= 1014 && !slices.Contains([]uint16{1004, 1005, 1006}, ev.Code)
			if !registered && (ev.Code < 3000 || ev.Code > 4999) {
				r.fail(1002)
				return
			}
			if !utf8.ValidString(ev.Payload) {
				r.fail(1007)
				return
			}
		}
	}
	r.events = append(r.events, ev)
}

// FuzzFrames holds the Reader, fed in three parts, against the reference. flags
// choose the limits.
func FuzzFrames(f *testing.F) {
	for _, s := range append(goodStreams(), violations()...) {
		flags := byte(0)
		if s.limits.Deflate {
			flags |= 1
		}
		if s.limits.Client {
			flags |= 2
		}
		if in := bytes.Join(s.in, nil); len(in) < 1000 {
			f.Add(in, flags, uint(len(in)/3), uint(len(in)/2))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, flags byte, cut1, cut2 uint) {
		l := Limits{MessageBytes: 200, Fragments: 5, FragmentOverheadBytes: 10, Deflate: flags&1 != 0, Client: flags&2 != 0}
		if flags&4 != 0 {
			l.MessageBytes = 100_000
		}
		want := reference{l: l}
		want.read(in)

		a, b := int(cut1%uint(len(in)+1)), int(cut2%uint(len(in)+1))
		a, b = min(a, b), max(a, b)
		var r Reader
		events, bad := feed(t, &r, &l, in[:a], in[a:b], in[b:])
		code := uint16(0)
		if bad != nil {
			code = bad.Code
		}
		if want.broken && code == CloseTooBig {
			code = want.code // over its limit as well as broken
		}
		if !slices.Equal(events, want.events) || code != want.code {
			t.Fatalf("%x cut at %d and %d, %+v:\n got %v %d\nwant %v %d", in, a, b, l, events, code, want.events, want.code)
		}
		if r.Buffered() > 2*len(in)+1024 {
			t.Fatalf("%d bytes are held for %d", r.Buffered(), len(in))
		}
		r.Release()
	})
}
