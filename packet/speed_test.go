package packet

import (
	"bytes"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/rookery-chat/rookery/chat"
)

// hot are typical packets of those that every message costs.
func hot() []codec {
	at := chat.Position(12_345_678)
	return []codec{
		&Send{N: 12_345, ID: testID, To: []byte("alice"), Suite: 1, Content: make([]byte, 100)},
		&Message{Pos: at, Gap: 1200, ID: testID, From: []byte("alice"), Late: 45, Suite: 1, Content: make([]byte, 100)},
		&Copy{Pos: at, Gap: 1200, ID: testID, To: []byte("alice"), Late: 45, Suite: 1, Place: at},
		&Receipt{Pos: at, Gap: 1200, Peer: []byte("alice"), Delivered: at, Read: at},
		&Accepted{N: 12_345, Count: 64, Pos: at}, &CaughtUp{at}, &Mark{at},
		&Read{Peer: []byte("alice"), Pos: at}, &Typing{Peer: []byte("alice"), On: true},
		&TypingFrom{Peer: []byte("alice"), On: true},
	}
}

// An accepted 100-byte message costs at most 40 bytes of packet around it, in
// each direction. A WebSocket header is 2 to 4 bytes more for a whole message
// of packets, and a client's mask 4.
func TestEnvelope(t *testing.T) {
	for _, x := range hot()[:2] {
		b := x.AppendTo(nil)
		if envelope := len(b) - 100; envelope > 40 {
			t.Errorf("a %s has an envelope of %d bytes", typeOf(x), envelope)
		} else {
			t.Logf("%s: %d bytes", typeOf(x), envelope)
		}
	}
}

func TestHotPacketsAllocateNothing(t *testing.T) {
	buf := make([]byte, 0, 4096)
	for _, x := range hot() {
		typ := typeOf(x)
		if n := testing.AllocsPerRun(100, func() { buf = x.AppendTo(buf[:0]) }); n != 0 {
			t.Errorf("%s: AppendTo allocates %v times", typ, n)
		}
		msg, y := x.AppendTo(nil), codecs[typ]()
		n := testing.AllocsPerRun(100, func() {
			p, _, err := Next(msg)
			if err != nil || y.Decode(p) != nil {
				t.Fatal("not decoded")
			}
		})
		if n != 0 {
			t.Errorf("%s: Next and Decode allocate %v times", typ, n)
		}
	}
}

// Slices of a decoded hot packet lie in the message and have no room to grow
// into what follows.
func TestHotPacketsAlias(t *testing.T) {
	msg := (&Send{N: 1, ID: testID, To: []byte("bob"), Content: []byte("hello"), TTL: 5}).AppendTo(nil)
	p, _, err := Next(msg)
	var s Send
	if err != nil || s.Decode(p) != nil {
		t.Fatal(err)
	}
	if i := bytes.Index(msg, []byte("hello")); &msg[i] != &s.Content[0] || cap(s.Content) != 5 || cap(s.To) != 3 {
		t.Error("content is a copy, or reaches beyond itself")
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, x := range hot() {
		b.Run(typeOf(x).String(), func(b *testing.B) {
			buf := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				buf = x.AppendTo(buf[:0])
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, x := range append(hot(), &Refused{N: 5, Code: 1, Retry: 100, Text: "full"}) {
		b.Run(typeOf(x).String(), func(b *testing.B) {
			msg, y := x.AppendTo(nil), codecs[typeOf(x)]()
			b.ReportAllocs()
			for b.Loop() {
				p, _, _ := Next(msg)
				_ = y.Decode(p)
			}
		})
	}
}

// BenchmarkReference decodes a Send by the library, to compare with.
func BenchmarkReference(b *testing.B) {
	msg := hot()[0].AppendTo(nil)
	var id, content []byte
	var to string
	var typ, n, suite uint64
	d := msgpack.NewDecoder(nil)
	b.ReportAllocs()
	for b.Loop() {
		d.Reset(bytes.NewReader(msg))
		_, _ = d.DecodeArrayLen()
		_ = d.DecodeMulti(&typ, &n, &id, &to, &suite, &content)
	}
}
