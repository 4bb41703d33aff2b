package packet

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/rookery-chat/rookery/chat"
)

func TestNextSplitsAMessage(t *testing.T) {
	var msg []byte
	all := samples()
	for _, x := range all {
		msg = x.AppendTo(msg)
	}
	for i, x := range all {
		p, rest, err := Next(msg)
		if err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
		if one := x.AppendTo(nil); p.Type != typeOf(x) || cap(p.Body) != len(p.Body) || !bytes.Equal(msg[:len(msg)-len(rest)], one) {
			t.Fatalf("packet %d is cut at %d of %d bytes", i, len(msg)-len(rest), len(one))
		}
		msg = rest
	}
	if len(msg) != 0 {
		t.Errorf("%d bytes are left", len(msg))
	}
}

// Cut anywhere, a packet is refused; nothing but its whole bytes is one.
func TestNextCutAnywhere(t *testing.T) {
	for _, x := range samples() {
		b := x.AppendTo(nil)
		for n := 0; n < min(len(b), 200); n++ {
			if _, _, err := Next(b[:n:n]); chat.CodeOf(err) != chat.CodeBadPacket {
				t.Fatalf("%x, cut to %d bytes: %v", b, n, err)
			}
		}
	}
}

func TestNextTakesEveryArrayHeader(t *testing.T) {
	for _, b := range [][]byte{
		{0x92, 0x03, 0x05}, {0xdc, 0, 2, 0x03, 0x05}, {0xdd, 0, 0, 0, 2, 0x03, 0x05},
		{0x92, uint8c, 3, 0x05}, {0x92, int64c, 0, 0, 0, 0, 0, 0, 0, 3, int8c, 5},
	} {
		p, rest, err := Next(b)
		var m Mark
		if err != nil || len(rest) != 0 || p.Count != 1 || m.Decode(p) != nil || m.Pos != 5 {
			t.Errorf("%x: %v, %+v, %+v", b, err, p, m)
		}
	}
}

func TestNextRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":           {},
		"no array":          {0x05},
		"map":               {0x81, 0x03, 0x05},
		"nil":               {0xc0},
		"no type":           {0x90},
		"type is a string":  {0x91, 0xa1, 'a'},
		"type is negative":  {0x91, 0xff},
		"type is nil":       {0x91, 0xc0},
		"type is 256":       {0x91, uint16c, 1, 0},
		"never-used code":   {0x92, 0x03, 0xc1},
		"too many elements": append([]byte{array32, 0, 1, 0, 1, 0x03}, make([]byte, MaxElements+1)...),
	} {
		if _, _, err := Next(b); chat.CodeOf(err) != chat.CodeBadPacket {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// nested returns a packet of unknown type with arrays inside one another, depth
// of them with the packet itself, and a number in the innermost.
func nested(depth int) []byte {
	b := append([]byte{0x92, 0x7f}, bytes.Repeat([]byte{0x91}, depth-1)...)
	return append(b, 1)
}

func TestMaxDepth(t *testing.T) {
	if _, rest, err := Next(nested(MaxDepth)); err != nil || len(rest) != 0 {
		t.Errorf("%d deep: %v", MaxDepth, err)
	}
	if _, _, err := Next(nested(MaxDepth + 1)); chat.CodeOf(err) != chat.CodeBadPacket {
		t.Errorf("%d deep: %v", MaxDepth+1, err)
	}
	if _, _, err := Next(append([]byte{0x92, 0x7f}, bytes.Repeat([]byte{0x91}, 1<<20)...)); chat.CodeOf(err) != chat.CodeBadPacket {
		t.Errorf("a million deep: %v", err)
	}
}

func TestMaxElements(t *testing.T) {
	packetOf := func(inner int) []byte {
		b := binary.BigEndian.AppendUint32([]byte{0x92, 0x7f, array32}, uint32(inner))
		return append(b, make([]byte, inner)...)
	}
	if _, rest, err := Next(packetOf(MaxElements - 2)); err != nil || len(rest) != 0 {
		t.Errorf("at the limit: %v", err)
	}
	half := packetOf(MaxElements / 2)
	half[0] = 0x93
	if _, _, err := Next(append(half, half[2:]...)); chat.CodeOf(err) != chat.CodeBadPacket {
		t.Errorf("two arrays over the limit together: %v", err)
	}
	if _, _, err := Next(packetOf(MaxElements - 1)); chat.CodeOf(err) != chat.CodeBadPacket {
		t.Errorf("over the limit: %v", err)
	}
}

// A declared length costs nothing until its bytes are there.
func TestDeclaredLengthsAllocateNothing(t *testing.T) {
	heads := map[string][]byte{
		"array32": {array32, 0xff, 0xff, 0xff, 0xff}, "map32": {0xdf, 0xff, 0xff, 0xff, 0xff},
		"str32": {str8 + 2, 0xff, 0xff, 0xff, 0xff}, "bin32": {bin8 + 2, 0xff, 0xff, 0xff, 0xff},
		"ext32": {0xc9, 0xff, 0xff, 0xff, 0xff, 1}, "array32, 2^31": {array32, 0x80, 0, 0, 0}, "map16": {0xde, 0xff, 0xff},
	}
	for name, head := range heads {
		for typ := range codecs {
			b := append([]byte{0x92, byte(typ)}, head...)
			if n := allocated(func() { decodeAll(b) }); n > 16<<10 {
				t.Errorf("%s in a %s allocates %d bytes", name, typ, n)
			}
		}
		if n := allocated(func() { decodeAll(head) }); n > 16<<10 {
			t.Errorf("%s as a message allocates %d bytes", name, n)
		}
	}
}

// decodeAll decodes what it can of a message.
func decodeAll(msg []byte) {
	for len(msg) > 0 {
		p, rest, err := Next(msg)
		if err != nil {
			return
		}
		msg = rest
		if empty, ok := codecs[p.Type]; ok {
			_ = empty().Decode(p)
		}
	}
}

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Every form of the specification is skipped, whatever it means.
func TestNextSkipsEveryForm(t *testing.T) {
	for c := range 256 {
		if c == 0xc1 {
			continue
		}
		b := append([]byte{0x93, 0x7f, byte(c)}, make([]byte, 64)...)
		r := bytes.NewReader(b[2:])
		d := msgpack.NewDecoder(r)
		must(d.Skip())
		end := len(b) - r.Len()
		b = append(b[:end:end], 0x2a)
		p, rest, err := Next(append(b, 0xff))
		if err != nil || p.Count != 2 || !bytes.Equal(rest, []byte{0xff}) {
			t.Errorf("code %#x: %v, %+v, rest %x", c, err, p, rest)
		}
	}
}
