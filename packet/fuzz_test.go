package packet

import (
	"bytes"
	"math"
	"reflect"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/rookery-chat/rookery/chat"
)

// FuzzPackets takes any bytes for a message. Nothing panics or allocates beyond
// a multiple of the bytes; what Next takes, the library walks to the same end;
// what Decode takes or refuses, the reference takes as the same or refuses; and
// what was decoded comes back from its own encoding.
func FuzzPackets(f *testing.F) {
	for _, x := range samples() {
		if b := x.AppendTo(nil); len(b) < 400 {
			f.Add(b)
		}
	}
	f.Add([]byte{0x92, 0x20, 0x9f})
	f.Add(nested(MaxDepth + 1))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if n := allocated(func() { decodeAll(msg) }); n > 256<<10+2048*uint64(len(msg)) {
			t.Fatalf("%d bytes allocate %d", len(msg), n)
		}
		for len(msg) > 0 {
			p, rest, err := Next(msg)
			if err != nil {
				if chat.CodeOf(err) != chat.CodeBadPacket {
					t.Fatal(err)
				}
				return
			}
			one := msg[:len(msg)-len(rest)]
			r := bytes.NewReader(one)
			if err := msgpack.NewDecoder(r).Skip(); err != nil || r.Len() != 0 {
				t.Fatalf("the library leaves %d bytes of %x: %v", r.Len(), one, err)
			}
			if codecs[p.Type] != nil && agree(t, one) {
				again(t, p)
			}
			msg = rest
		}
	})
}

// again encodes what p holds and decodes it once more.
func again(t *testing.T, p Raw) {
	t.Helper()
	x, y := codecs[p.Type](), codecs[p.Type]()
	must(x.Decode(p))
	b := x.AppendTo(nil)
	p2, rest, err := Next(b)
	if err != nil || len(rest) != 0 {
		t.Fatalf("Next of our own %x: %v, %d bytes left", b, err, len(rest))
	}
	if err := y.Decode(p2); err != nil || !reflect.DeepEqual(wire(x), wire(y)) {
		t.Fatalf("%+v came back as %+v (%v)", x, y, err)
	}
	if typ, _ := genericPacket(b); typ != int64(p.Type) {
		t.Fatalf("the library reads type %v of %x", typ, b)
	}
}

// FuzzHot takes any values for the hot packets: the library decodes ours to the
// same, and we decode the library's, however wide it writes integers.
func FuzzHot(f *testing.F) {
	f.Add(uint64(1), uint64(1), testID[:], []byte("bob"), int64(3), uint8(1), []byte("hi"), uint32(0), []byte(nil), uint16(0))
	f.Add(uint64(math.MaxUint64), uint64(0), []byte{}, bytes.Repeat([]byte("n"), 300), int64(math.MinInt64), uint8(255), []byte(nil), uint32(math.MaxUint32), []byte("u"), uint16(16))
	f.Fuzz(func(t *testing.T, n, m uint64, id, name []byte, late int64, suite uint8, content []byte, ttl uint32, media []byte, pick uint16) {
		var mid chat.ID
		copy(mid[:], id)
		pos, at := chat.Position(n), chat.Position(m)
		name, media = bytes.ToValidUTF8(name, nil), bytes.ToValidUTF8(media, nil)
		all := []codec{
			&Send{n, mid, name, suite, content, uint8(m), ttl, media}, &Mark{pos}, &Read{name, pos},
			&Typing{name, ttl != 0}, &TypingFrom{name, ttl != 0}, &Accepted{n, m, at},
			&Message{pos, m, mid, name, late, suite, content, int64(m), media},
			&Copy{pos, m, mid, name, late, suite, content, at, int64(m), media},
			&Receipt{pos, m, name, at, pos}, &CaughtUp{pos},
		}
		x, width := all[int(pick)%len(all)], int(pick)/len(all)%5
		b, want := x.AppendTo(nil), wire(x)
		_, elements := genericPacket(b)
		if got, ok := conform(reflect.TypeOf(x).Elem(), elements); !ok || !reflect.DeepEqual(got, want) {
			t.Fatalf("the library reads\n%v\nof\n%v", got, want)
		}
		checkDecode(t, typeOf(x), b, want)
		checkDecode(t, typeOf(x), encodeReference(typeOf(x), want, width), want)
	})
}
