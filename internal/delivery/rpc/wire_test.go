package rpc

import (
	"bytes"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/delivery"
)

// hints of every form.
func hints() []delivery.Hint {
	return []delivery.Hint{
		*hint("bob", 7),
		{User: []byte("tenant/carol"), Kind: chat.EntryCopy, Pos: chat.NewPosition(3, 1<<40), Prev: 9, Node: chat.Node{9}, Packet: bytes.Repeat([]byte("p"), 300), Bare: []byte("b")},
		{User: []byte("dave"), Kind: chat.EntryReceipt, Pos: chat.MaxOffset, Packet: []byte{0}},
		{User: []byte("erin"), Packet: []byte("an outcome")},
	}
}

func same(a, b *delivery.Hint) bool {
	return string(a.User) == string(b.User) && a.Kind == b.Kind && a.Pos == b.Pos && a.Prev == b.Prev && a.Node == b.Node &&
		bytes.Equal(a.Packet, b.Packet) && bytes.Equal(a.Bare, b.Bare)
}

func generatedHint(h *delivery.Hint) *Hint {
	return &Hint{User: string(h.User), Kind: uint32(h.Kind), Pos: uint64(h.Pos), Prev: uint64(h.Prev), Node: h.Node[:], Packet: h.Packet, Bare: h.Bare}
}

func received(b []byte) *incoming { return &incoming{buf: mem.SliceBuffer(b)} }

// TestFramesAreOfTheSchema holds the hand-written form against the generated
// one, both ways.
func TestFramesAreOfTheSchema(t *testing.T) {
	byHand, generated := appendHeader(nil, 42), &Frame{Version: version, Seq: 42}
	for _, h := range hints() {
		byHand = appendHint(byHand, &h, false)
		generated.Hints = append(generated.Hints, generatedHint(&h))
	}
	again := hints()[3]
	byHand = appendHint(byHand, &again, true)
	generated.Hints = append(generated.Hints, &Hint{User: string(again.User), Node: again.Node[:], Same: true})
	generated.Typing = []*Typing{{From: "a", To: "b", On: true}}
	generated.Siblings = []*Sibling{{Call: 3, User: "x"}}
	byHand = appendFrame(byHand, &Frame{Typing: generated.Typing})
	byHand = appendFrame(byHand, &Frame{Siblings: generated.Siblings})
	var got Frame
	if err := proto.Unmarshal(byHand, &got); err != nil || !proto.Equal(&got, generated) {
		t.Errorf("written by hand, read by the generated code: %v\n%v", err, &got)
	}
	b, err := proto.Marshal(generated)
	if err != nil {
		t.Fatal(err)
	}
	in := received(b)
	if err := in.parse(); err != nil {
		t.Fatal(err)
	}
	for i, want := range hints() {
		if i >= len(in.hints) || !same(&in.hints[i], &want) {
			t.Errorf("hint %d of %d: want %+v", i, len(in.hints), want)
		}
	}
	if n := len(hints()); len(in.hints) != n+1 || !same(&in.hints[n], &again) {
		t.Errorf("the one without a packet: %+v", in.hints[n:])
	}
	if in.frame.Seq != 42 || len(in.frame.Typing) != 1 || len(in.frame.Siblings) != 1 || len(in.frame.Hints) != 0 || in.unknown != 0 {
		t.Errorf("the rest: %v", &in.frame)
	}
}

// TestWhatIsNotKnownIsPassedOver is a frame of a later version: fields that this
// one does not know in the frame and in a hint, another kind, and a hint that
// lost what this version needs.
func TestWhatIsNotKnownIsPassedOver(t *testing.T) {
	b := appendHeader(nil, 1)
	b = append(b, 0xfa, 0x06, 3, 'n', 'e', 'w') // field 111, bytes
	b = append(b, 0x98, 0x06, 7)                // field 99, varint
	good := appendHint(nil, hint("bob", 7), false)
	good[1] += 6 // its length
	b = append(append(b, good...), 0xfa, 0x06, 3, 'n', 'e', 'w')
	for _, h := range []*Hint{
		{User: "a", Kind: 4, Pos: 1, Node: make([]byte, 6), Packet: []byte("x")},
		{User: "a", Kind: 256 + 1, Pos: 1, Node: make([]byte, 6), Packet: []byte("x")},
		{User: "a", Kind: 1, Pos: 1, Node: make([]byte, 7), Packet: []byte("x")},
		{User: "a", Kind: 1, Pos: 1, Node: make([]byte, 5), Packet: []byte("x")},
		{Kind: 1, Pos: 1, Node: make([]byte, 6), Packet: []byte("x")},
		{User: "a", Kind: 1, Pos: 1, Node: make([]byte, 6)},
		{User: "a", Kind: 1, Pos: 1, Node: make([]byte, 6), Same: true}, // as that
	} {
		b = appendFrame(b, &Frame{Hints: []*Hint{h}})
	}
	in := received(b)
	if err := in.parse(); err != nil {
		t.Fatal(err)
	}
	if len(in.hints) != 1 || !same(&in.hints[0], hint("bob", 7)) || in.unknown != 7 || in.frame.Seq != 1 {
		t.Errorf("%d hints, %d unknown, %v", len(in.hints), in.unknown, &in.frame)
	}
}

func TestMalformedFrames(t *testing.T) {
	whole := appendHint(appendHeader(nil, 1), hint("bob", 7), false)
	header := len(appendHeader(nil, 1))
	for n := range len(whole) {
		err := received(whole[:n]).parse()
		if complete := n == 0 || n == 2 || n == header; complete != (err == nil) {
			t.Errorf("cut to %d of %d bytes: %v", n, len(whole), err)
		}
	}
	inner := appendHint(nil, hint("bob", 7), false)
	inner[3] = 0x7f // the name's length
	if received(inner).parse() == nil {
		t.Error("a hint whose name is longer than itself was taken")
	}
}

func TestHintsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	buf, h := make([]byte, 0, 1024), hints()[1]
	if n := testing.AllocsPerRun(1000, func() { buf = appendHint(buf[:0], &h, false) }); n != 0 {
		t.Errorf("%v allocations to encode one", n)
	}
	in := received(appendHint(appendHint(nil, &h, false), &h, true))
	if n := testing.AllocsPerRun(1000, func() {
		in.hints = in.hints[:0]
		if in.parse() != nil || len(in.hints) != 2 {
			t.Fatal("not decoded")
		}
	}); n != 0 {
		t.Errorf("%v allocations to decode two", n)
	}
}
