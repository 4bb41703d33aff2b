package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

var testKey = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// raw makes a frame of any kind: b0 is its first byte; the length has its
// shortest form. A masked one has testKey.
func raw(b0 byte, payload []byte, masked bool) []byte {
	b := AppendHeader(nil, OpContinuation, false, len(payload))
	b[0] = b0
	if !masked {
		return append(b, payload...)
	}
	b[1] |= bitMasked
	b = append(b, testKey[:]...)
	for i, c := range payload {
		b = append(b, c^testKey[i%4])
	}
	return b
}

func client(b0 byte, payload string) []byte { return raw(b0, []byte(payload), true) }

func closing(code uint16, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, code)) + reason
}

// header64 is a masked binary frame's header with a 64-bit length.
func header64(n uint64) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{0x82, 0xff}, n), testKey[:]...)
}

func deflated(s string) string { return string(appendDeflated(nil, []byte(s), maxWindowBits)) }

// got is an Event with a payload of its own.
type got struct {
	Op      Op
	Payload string
	Code    uint16
}

// feed gives the chunks to r, each in a buffer of its own which is overwritten
// afterwards, as an engine's would be.
func feed(t testing.TB, r *Reader, l *Limits, chunks ...[]byte) (events []got, bad *Error) {
	t.Helper()
	for _, chunk := range chunks {
		in := bytes.Clone(chunk)
		for rest := in; ; {
			n, ev, ok, err := r.Next(rest, l)
			if err != nil && !errors.As(err, &bad) {
				t.Fatalf("the error %v is no *Error", err)
			}
			if n > len(rest) || !ok && n != len(rest) {
				t.Fatalf("took %d of %d bytes with ok %v", n, len(rest), ok)
			}
			rest = rest[n:]
			if !ok {
				break
			}
			events = append(events, got{ev.Op, string(ev.Payload), ev.Code})
		}
		for i := range in {
			in[i] = 0xdb
		}
	}
	return events, bad
}

// stream is a test case: what comes, and what it means.
type stream struct {
	name   string
	in     [][]byte
	limits Limits
	events []got
	code   uint16 // of the error, 0 for none
}

var zip = Limits{Deflate: true}

func goodStreams() []stream {
	long := strings.Repeat("nest of rooks ", 5000)
	return []stream{
		{name: "nothing"},
		{name: "empty text", in: [][]byte{client(0x81, "")}, events: []got{{Op: OpText}}},
		{name: "text", in: [][]byte{client(0x81, "Hello")}, events: []got{{Op: OpText, Payload: "Hello"}}},
		{name: "binary", in: [][]byte{client(0x82, "\xff\x00")}, events: []got{{Op: OpBinary, Payload: "\xff\x00"}}},
		{name: "16-bit length", in: [][]byte{client(0x82, long[:300])}, events: []got{{Op: OpBinary, Payload: long[:300]}}},
		{name: "64-bit length", in: [][]byte{client(0x82, long)}, limits: Limits{MessageBytes: 1 << 20},
			events: []got{{Op: OpBinary, Payload: long}}},
		{name: "several", in: [][]byte{client(0x81, "a"), client(0x89, "p"), client(0x82, "b")},
			events: []got{{OpText, "a", 0}, {OpPing, "p", 0}, {OpBinary, "b", 0}}},
		{name: "fragments with a ping between", in: [][]byte{client(0x01, "Hel"), client(0x89, "ping"), client(0x00, ""), client(0x80, "lo")},
			events: []got{{OpPing, "ping", 0}, {OpText, "Hello", 0}}},
		{name: "a character over three fragments", in: [][]byte{client(0x01, "\xe2"), client(0x00, "\x82"), client(0x80, "\xac")},
			events: []got{{OpText, "€", 0}}},
		{name: "pong of 125", in: [][]byte{client(0x8a, long[:125])}, events: []got{{OpPong, long[:125], 0}}},
		{name: "close without a code", in: [][]byte{client(0x88, "")}, events: []got{{OpClose, "", CloseNoStatus}}},
		{name: "close, and what follows it", in: [][]byte{client(0x88, closing(4999, "tschüß")), client(0x81, "late"), {0xff}},
			events: []got{{OpClose, "tschüß", 4999}}},
		{name: "close inside a message", in: [][]byte{client(0x01, "Hel"), client(0x88, closing(1001, ""))},
			events: []got{{OpClose, "", 1001}}},
		{name: "compressed", in: [][]byte{client(0xc1, deflated("Hello"))}, limits: zip, events: []got{{OpText, "Hello", 0}}},
		{name: "compressed, RFC 7692 7.2.3.1", in: [][]byte{client(0xc1, "\xf2\x48\xcd\xc9\xc9\x07\x00")}, limits: zip,
			events: []got{{OpText, "Hello", 0}}},
		{name: "compressed and final, 7.2.3.4", in: [][]byte{client(0xc1, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00")}, limits: zip,
			events: []got{{OpText, "Hello", 0}}},
		{name: "two blocks, 7.2.3.5", in: [][]byte{client(0xc1, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")}, limits: zip,
			events: []got{{OpText, "Hello", 0}}},
		{name: "compressed and empty, 7.2.3.6", in: [][]byte{client(0xc1, "\x00")}, limits: zip, events: []got{{OpText, "", 0}}},
		{name: "compressed in fragments, a plain one, a ping", limits: Limits{Deflate: true, MessageBytes: 1 << 20},
			in:     [][]byte{client(0x42, deflated(long)[:9]), client(0x89, ""), client(0x80, deflated(long)[9:]), client(0x81, "plain")},
			events: []got{{OpPing, "", 0}, {OpBinary, long, 0}, {OpText, "plain", 0}}},
		{name: "a server's", in: [][]byte{raw(0x01, []byte("Hel"), false), raw(0x80, []byte("lo"), false), AppendMessage(nil, OpBinary, []byte{1})},
			limits: Limits{Client: true}, events: []got{{OpText, "Hello", 0}, {OpBinary, "\x01", 0}}},
		{name: "a server's, compressed", in: [][]byte{AppendDeflated(nil, OpText, []byte("Hello"), DeflateParams{15, 15})},
			limits: Limits{Client: true, Deflate: true}, events: []got{{OpText, "Hello", 0}}},
		{name: "a header that, cut after a byte, begins like a frame", in: [][]byte{{0x82, 0x82, 0x80, 1, 2, 3, 'h' ^ 0x80, 'i' ^ 1}, client(0x82, "next")},
			events: []got{{OpBinary, "hi", 0}, {OpBinary, "next", 0}}},
		{name: "at the limits", limits: Limits{MessageBytes: 8, Fragments: 3, FragmentOverheadBytes: 2},
			in:     [][]byte{client(0x82, "12345678"), client(0x02, "12"), client(0x00, ""), client(0x80, "34")},
			events: []got{{OpBinary, "12345678", 0}, {OpBinary, "1234", 0}}},
	}
}

// violations each end with an error; "ok" before them is still read.
func violations() []stream {
	small := Limits{MessageBytes: 8, Fragments: 3, FragmentOverheadBytes: 2, Deflate: true}
	bad := []stream{
		{name: "RSV1 without deflate", in: [][]byte{client(0xc1, "x")}, code: 1002},
		{name: "RSV2", in: [][]byte{client(0xa1, "x")}, limits: zip, code: 1002},
		{name: "RSV3", in: [][]byte{client(0x91, "x")}, limits: zip, code: 1002},
		{name: "RSV1 on a continuation", in: [][]byte{client(0x01, "x"), client(0xc0, "x")}, limits: zip, code: 1002},
		{name: "RSV1 on a ping", in: [][]byte{client(0xc9, "x")}, limits: zip, code: 1002},
		{name: "fragmented ping", in: [][]byte{client(0x09, "x")}, code: 1002},
		{name: "fragmented close", in: [][]byte{client(0x08, "")}, code: 1002},
		{name: "ping of 126", in: [][]byte{client(0x89, strings.Repeat("x", 126))}, code: 1002},
		{name: "pong with a 64-bit length", in: [][]byte{{0x8a, 0xff}}, code: 1002},
		{name: "continuation of nothing", in: [][]byte{client(0x80, "x")}, code: 1002},
		{name: "continuation after the end", in: [][]byte{client(0x01, "x"), client(0x80, "x"), client(0x00, "x")}, code: 1002, events: []got{{OpText, "xx", 0}}},
		{name: "message inside a message", in: [][]byte{client(0x01, "x"), client(0x82, "x")}, code: 1002},
		{name: "unmasked", in: [][]byte{raw(0x81, []byte("x"), false)}, code: 1002},
		{name: "unmasked, all of it there", in: [][]byte{raw(0x82, []byte("unmasked"), false)}, code: 1002},
		{name: "16 bits for 5, all of it there", in: [][]byte{append([]byte{0x82, 0xfe, 0, 5}, client(0x82, "short")[2:]...)}, code: 1002},
		{name: "a server's, masked", in: [][]byte{client(0x81, "x")}, limits: Limits{Client: true}, code: 1002},
		{name: "16 bits for 125", in: [][]byte{{0x82, 0xfe, 0, 125}}, code: 1002},
		{name: "64 bits for 65535", in: [][]byte{header64(math.MaxUint16)}, code: 1002},
		{name: "2^63", in: [][]byte{header64(1 << 63)}, code: 1002},
		{name: "the frame that kills servers", in: [][]byte{{0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x78}}, code: 1002},
		{name: "2^63-1", in: [][]byte{header64(math.MaxInt64)}, code: 1009},
		{name: "2^40", in: [][]byte{header64(1 << 40), {1}}, code: 1009},
		{name: "close of one byte", in: [][]byte{client(0x88, "\x03")}, code: 1002},
		{name: "close reason not UTF-8", in: [][]byte{client(0x88, closing(1000, "\xff"))}, code: 1007},
		{name: "text not UTF-8", in: [][]byte{client(0x81, "a\xffb")}, code: 1007},
		{name: "text ends inside a character", in: [][]byte{client(0x81, "\xe2\x82")}, code: 1007},
		{name: "fragments end inside a character", in: [][]byte{client(0x01, "a"), client(0x00, "\xe2\x82"), client(0x80, "")}, code: 1007},
		{name: "a surrogate begins", in: [][]byte{client(0x01, "\xed\xa0")}, code: 1007},
		{name: "above U+10FFFF, in fragments", in: [][]byte{client(0x01, "\xf4"), client(0x00, "\x90")}, code: 1007},
		{name: "compressed text not UTF-8", in: [][]byte{client(0xc1, deflated("\xff"))}, limits: zip, code: 1007},
		{name: "compressed garbage", in: [][]byte{client(0xc2, "\xff\xff\xff")}, limits: zip, code: 1007},
		{name: "compressed nothing", in: [][]byte{client(0xc2, "")}, limits: zip, code: 1007},
		{name: "compressed, cut", in: [][]byte{client(0xc2, deflated("Hello")[:4])}, limits: zip, code: 1007},
		{name: "compressed, more behind the final block", in: [][]byte{client(0xc2, "\xf3\x48\xcd\xc9\xc9\x07\x00\x01")}, limits: zip, code: 1007},
		{name: "compressed, final without what must follow", in: [][]byte{client(0xc2, "\xf3\x48\xcd\xc9\xc9\x07\x00")}, limits: zip, code: 1007},
		{name: "a byte over", in: [][]byte{client(0x82, "123456789")}, limits: small, code: 1009},
		{name: "a byte over, inflated", in: [][]byte{client(0xc2, deflated("aaaaaaaaa"))}, limits: small, code: 1009},
		{name: "a fragment over", in: [][]byte{client(0x02, ""), client(0x00, ""), client(0x00, ""), client(0x00, "")}, limits: small, code: 1009},
		{name: "fragments' overhead", in: [][]byte{client(0x02, "123"), client(0x00, "45"), client(0x80, "")}, limits: small, code: 1009},
	}
	for op := range byte(16) {
		if op > 2 && op < 8 || op > 10 {
			bad = append(bad, stream{name: fmt.Sprint("opcode ", op), in: [][]byte{{0x80 | op}}, code: 1002})
		}
	}
	for _, code := range []uint16{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		bad = append(bad, stream{name: fmt.Sprint("close code ", code), in: [][]byte{client(0x88, closing(code, ""))}, code: 1002})
	}
	for i := range bad {
		b := &bad[i]
		if !b.limits.Client {
			b.in = append([][]byte{client(0x81, "ok")}, b.in...)
			b.events = append([]got{{OpText, "ok", 0}}, b.events...)
		}
		b.in = append(b.in, client(0x81, "after"))
	}
	return bad
}

func (s *stream) verify(t *testing.T, chunks ...[]byte) {
	t.Helper()
	var r Reader
	events, bad := feed(t, &r, &s.limits, chunks...)
	code := uint16(0)
	if bad != nil {
		code = bad.Code
	}
	if !slices.Equal(events, s.events) || code != s.code {
		t.Fatalf("got %.300v and %v, want %.300v and code %d", events, bad, s.events, s.code)
	}
	if bad != nil && r.Buffered() != 0 {
		t.Errorf("%d bytes are held after an error", r.Buffered())
	}
}

func TestStreams(t *testing.T) {
	for _, s := range append(goodStreams(), violations()...) {
		t.Run(s.name, func(t *testing.T) { s.verify(t, bytes.Join(s.in, nil)) })
	}
}

// Any stream cut anywhere, or everywhere, means the same.
func TestSplitAtEveryByte(t *testing.T) {
	for _, s := range append(goodStreams(), violations()...) {
		t.Run(s.name, func(t *testing.T) {
			whole := bytes.Join(s.in, nil)
			step := max(1, len(whole)/500)
			for cut := 0; cut < len(whole); cut += step {
				s.verify(t, whole[:cut], whole[cut:])
				s.verify(t, whole[:cut/2], whole[cut/2:cut], nil, whole[cut:])
			}
			s.verify(t, slices.Collect(slices.Chunk(whole, 1))...)
			s.verify(t, slices.Collect(slices.Chunk(whole, 7))...)
		})
	}
}

// What is wrong is said when the byte that shows it has come, not at the end of
// the frame or message.
func TestFailsFast(t *testing.T) {
	text := client(0x81, "κόσμε\xf4\x90\x80\x80edited")
	for name, in := range map[string][]byte{
		"reserved opcode":         {0x83},
		"unmasked":                {0x81, 0x01},
		"long ping":               {0x89, 0xfe},
		"too big":                 header64(1 << 30),
		"text in an open frame":   text[:6+len("κόσμε\xf4\x90")],
		"text in an open message": client(0x01, "κόσμε\xed\xa0"),
	} {
		var r Reader
		if _, bad := feed(t, &r, &Limits{}, in[:len(in)-1]); bad != nil {
			t.Errorf("%s: %v before the last byte", name, bad)
		}
		if _, bad := feed(t, &r, &Limits{}, in[len(in)-1:]); bad == nil {
			t.Errorf("%s: no error with the last byte", name)
		}
	}
}

func TestPayloadIsLentInPlace(t *testing.T) {
	var r Reader
	in := append(client(0x89, "ping"), client(0x82, "binary")...)
	n, ev, _, _ := r.Next(in, &Limits{})
	if &ev.Payload[0] != &in[6] {
		t.Error("the ping was copied")
	}
	_, ev, _, _ = r.Next(in[n:], &Limits{})
	if &ev.Payload[0] != &in[n+6] || r.part != nil {
		t.Error("the message was copied")
	}
	feed(t, &r, &Limits{}, client(0x01, "begun"))
	if _, ev, _, _ = r.Next(in, &Limits{}); &ev.Payload[0] != &in[6] {
		t.Error("the ping inside a message was copied")
	}
}

// Memory follows what has come, not what was announced.
func TestMemoryGrowsAsBytesCome(t *testing.T) {
	huge := Limits{MessageBytes: math.MaxInt64}
	var r Reader
	if feed(t, &r, &huge, header64(1<<40)); r.Buffered() > 1024 {
		t.Errorf("%d bytes are held for a header", r.Buffered())
	}
	sent := 0
	for range 40 {
		chunk := make([]byte, 1000)
		feed(t, &r, &huge, chunk)
		if sent += len(chunk); r.Buffered() > 2*sent+1024 {
			t.Fatalf("%d bytes are held for %d", r.Buffered(), sent)
		}
	}
	if r.Release(); r.Buffered() != 0 {
		t.Errorf("%d bytes are held after Release", r.Buffered())
	}
}

func TestIdleReaderHoldsNothing(t *testing.T) {
	if size := unsafe.Sizeof(Reader{}); size > 64 {
		t.Errorf("a Reader has %d bytes", size)
	}
	for _, s := range goodStreams() {
		if s.name == "close inside a message" {
			continue
		}
		var r Reader
		feed(t, &r, &s.limits, slices.Collect(slices.Chunk(bytes.Join(s.in, nil), 3))...)
		if r.Buffered() != 0 {
			t.Errorf("%s: %d bytes are held", s.name, r.Buffered())
		}
	}
}

func TestReadsWithoutAllocating(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool allocates under the race detector")
	}
	text := strings.Repeat("nest of rooks ", 300)
	plain, packed := client(0x81, text), client(0xc1, deflated(text))
	for name, chunks := range map[string][][]byte{
		"whole":      {append(client(0x89, "ping"), plain...)},
		"cut":        {plain[:5], plain[5:900], plain[900:]},
		"compressed": {packed},
		"both":       {packed[:20], packed[20:]},
		"fragments":  {client(0x02, "first"), client(0x80, "last")},
		"violation":  {client(0x83, "")},
	} {
		var r Reader
		in := make([]byte, 0, 8192)
		events := 0
		once := func() {
			for _, chunk := range chunks {
				rest := append(in[:0], chunk...)
				for ok := true; ok; {
					var n int
					n, _, ok, _ = r.Next(rest, &zip)
					rest = rest[n:]
					if ok {
						events++
					}
				}
			}
			r.over = false
		}
		if n := testing.AllocsPerRun(200, once); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
		if events == 0 && name != "violation" {
			t.Errorf("%s: no events", name)
		}
	}
}

// Four words are what the compiler keeps in registers.
func TestEventIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Event{}); n > 4*unsafe.Sizeof(uintptr(0)) {
		t.Errorf("an event takes %d bytes", n)
	}
}
