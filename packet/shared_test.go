package packet

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// The other files of docs/vectors: what has to be taken though no encoder makes
// it, what has to be refused, and ids.

// tolerated is a packet in another form than ours.
type tolerated struct {
	Name string `json:"name"`
	Hex  string `json:"hex"`
	As   string `json:"as"` // the same packet as encoders write it
}

// refused is a WebSocket message that holds something that is no packet.
type refused struct {
	Name   string `json:"name"`
	Hex    string `json:"hex"`
	Strict bool   `json:"strict,omitempty"` // a client may take it, the server does not
}

func toleratedVectors() (list []tolerated) {
	add := func(name string, as codec, b []byte) {
		list = append(list, tolerated{name, hexOf(b), hexOf(as.AppendTo(nil))})
	}
	message := &Message{Pos: 300, Gap: 2, ID: testID, From: []byte("alice"), Late: -40, Content: []byte("hi"), Expires: 4}
	welcome := &Welcome{Version: 1, Node: chat.Node{1, 2, 3, 4, 5, 6}, User: "alice", Limits: map[string]uint64{"content": 65536}}
	page := &HistoryPage{Req: 3, Peer: "bob", Delivered: 9, Rows: []Row{{ID: testID, From: "bob", Place: 9, Content: []byte("hi")}}}
	for _, x := range []codec{message, welcome, page, &Accepted{N: 9, Count: 4, Pos: 70_000}, &CaughtUp{Pos: 10}} {
		name := typeOf(x).String()
		for width, form := range []string{1: "as int 64", 2: "as uint 64", 3: "as int 32", 4: "as uint 16"} {
			if form != "" {
				add(name+": integers "+form, x, encodeReference(typeOf(x), wire(x), width))
			}
		}
		later := append(wire(x), "later", []any{int64(1), map[string]any{"a": 1.5}})
		add(name+": elements of a later version", x, encodeReference(typeOf(x), later, 0))
	}
	add("message: nothing but the position", &Message{Pos: 5}, []byte{0x92, byte(TypeMessage), 5})
	add("message: nil for what is zero", &Message{Pos: 5}, append([]byte{0x9a, byte(TypeMessage), 5}, bytes.Repeat([]byte{nilCode}, 8)...))
	add("bye: nothing but the code", &Bye{Code: 203}, []byte{0x92, byte(TypeBye), uint8c, 203})
	add("caught_up: array 16", &CaughtUp{Pos: 10}, []byte{array16, 0, 2, byte(TypeCaughtUp), 10})
	add("caught_up: array 32, type as uint 64", &CaughtUp{Pos: 10}, []byte{array32, 0, 0, 0, 2, uint64c, 0, 0, 0, 0, 0, 0, 0, byte(TypeCaughtUp), 10})
	add("typing_from: str 8", &TypingFrom{Peer: []byte("bob"), On: true}, []byte{0x93, byte(TypeTypingFrom), str8, 3, 'b', 'o', 'b', trueCode})
	add("typing_from: str 32", &TypingFrom{Peer: []byte("bob"), On: true}, []byte{0x93, byte(TypeTypingFrom), str8 + 2, 0, 0, 0, 3, 'b', 'o', 'b', trueCode})
	return list
}

func refusedVectors() (list []refused) {
	add := func(name string, strict bool, b []byte) { list = append(list, refused{name, hexOf(b), strict}) }
	type1 := func(t Type, rest ...byte) []byte { return append([]byte{0x90 | byte(1+len(rest)), byte(t)}, rest...) }
	add("no array", false, []byte{0x05})
	add("a map", false, []byte{0x81, byte(TypeCaughtUp), 0x05})
	add("nil", false, []byte{nilCode})
	add("no type", false, []byte{0x90})
	add("the type is a string", false, []byte{0x91, 0xa1, 'a'})
	add("the type is nil", false, []byte{0x91, nilCode})
	add("the type is negative", false, []byte{0x91, 0xff})
	add("the type is 256", false, []byte{0x91, uint16c, 1, 0})
	add("the never-used code", false, []byte{0x92, byte(TypeCaughtUp), 0xc1})
	add("a packet, then half of one", false, append((&CaughtUp{Pos: 10}).AppendTo(nil), 0x92, byte(TypeCaughtUp)))
	add("array 32 of what is not there", false, []byte{array32, 0xff, 0xff, 0xff, 0xff, byte(TypeCaughtUp)})
	add("bin 32 of what is not there", false, []byte{0x92, byte(TypeMessage), bin8 + 2, 0xff, 0xff, 0xff, 0xff})
	whole := (&Message{Pos: 300, Gap: 2, ID: testID, From: []byte("alice"), Late: -40, Content: []byte("hi")}).AppendTo(nil)
	add("a message without its last byte", false, whole[:len(whole)-1])
	add("a position that is negative", false, type1(TypeCaughtUp, 0xff))
	add("a position that is a string", false, type1(TypeCaughtUp, 0xa0))
	add("a position that is true", false, type1(TypeCaughtUp, trueCode))
	add("a position that is 5.5", false, append([]byte{0x92, byte(TypeCaughtUp), 0xca}, 0x40, 0xb0, 0, 0))
	add("a position that is 5.0", true, append([]byte{0x92, byte(TypeCaughtUp), 0xca}, 0x40, 0xa0, 0, 0))
	add("a bool that is a number", false, []byte{0x93, byte(TypeTypingFrom), 0xa1, 'b', 1})
	add("a str that is a bin", false, []byte{0x93, byte(TypeTypingFrom), bin8, 1, 'b', trueCode})
	add("a str that is no UTF-8", true, []byte{0x93, byte(TypeTypingFrom), 0xa1, 0xff, trueCode})
	add("an id of 15 bytes", false, append([]byte{0x94, byte(TypeMessage), 5, 5, bin8, 15}, make([]byte, 15)...))
	add("an id that is a str", false, append([]byte{0x94, byte(TypeMessage), 5, 5, 0xb0}, make([]byte, 16)...))
	add("a content that is a str", false, []byte{0x98, byte(TypeMessage), 5, 5, nilCode, 0xa1, 'b', 0, 0, 0xa1, 'x'})
	add("a suite of 256", false, []byte{0x97, byte(TypeMessage), 5, 5, nilCode, 0xa1, 'b', 0, uint16c, 1, 0})
	add("a code of 65536", false, []byte{0x92, byte(TypeBye), uint32c, 0, 1, 0, 0})
	add("late above 2^63-1", false, append([]byte{0x96, byte(TypeMessage), 5, 5, nilCode, 0xa1, 'b', uint64c}, bytes.Repeat([]byte{0xff}, 8)...))
	add("rows that are no array", false, type1(TypeHistoryPage, 3, 0xa0, 0, 0, trueCode, 5))
	add("a row that is no array", false, type1(TypeHistoryPage, 3, 0xa0, 0, 0, trueCode, 0x91, 5))
	add("limits that are an array", false, type1(TypeWelcome, 1, 0, nilCode, 0xa0, 0, 0, 0, 0, 0x90))
	add("a limit that is a str", false, append([]byte{0x9a, byte(TypeWelcome), 1, 0, nilCode, 0xa0, 0, 0, 0, 0}, 0x81, 0xa1, 'a', 0xa1, 'b'))
	add("a node of 5 bytes", false, []byte{0x94, byte(TypeWelcome), 1, 0, bin8, 5, 1, 2, 3, 4, 5})
	add("9 deep", true, nested(MaxDepth+1))
	return list
}

// idVector is an id and its parts.
type idVector struct {
	Ticks string `json:"ticks"`
	MS    int64  `json:"ms"` // its time, ms since 1970, rounded down
	Seq   uint16 `json:"seq"`
	Node  string `json:"node"`
	Hex   string `json:"hex"`
	Text  string `json:"text"`
}

// clockVector is what a clock makes: of a time in ms, and after having seen an id.
type clockVector struct {
	See string `json:"see,omitempty"`
	Now int64  `json:"now"`
	ID  string `json:"id"`
}

type idVectors struct {
	IDs   []idVector    `json:"ids"` // in their order, which is by time, then sequence, then node
	Clock []clockVector `json:"clock"`
	Bad   []string      `json:"bad"` // no TIMEUUIDs: another version or variant, or a node without its lowest bit
}

func makeIDVectors() (v idVectors) {
	phone, other := chat.Node{0x83, 1, 2, 3, 4, 5}, chat.Node{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, p := range []struct {
		ticks uint64
		seq   uint16
		node  chat.Node
	}{
		{0, 0, chat.Node{1}}, {chat.Ticks(time.Unix(0, 0)), 0, phone}, {chat.Ticks(time.Unix(0, 0)) + 9_999, 0, phone},
		{chat.Ticks(at), 0x1234, phone}, {chat.Ticks(at), 0x1234, other}, {chat.Ticks(at), 0x1235, phone}, {chat.Ticks(at) + 1, 0, phone},
		{chat.Ticks(at) + 1<<32, 0, phone}, {1<<60 - 1, chat.MaxClockSeq, other},
	} {
		id := chat.NewID(p.ticks, p.seq, p.node)
		v.IDs = append(v.IDs, idVector{strconv.FormatUint(p.ticks, 10), floorMS(p.ticks), p.seq, hexOf(p.node[:]), hexOf(id[:]), id.String()})
	}
	c := chat.NewClock(phone, 0x1234, chat.ID{})
	now := at.UnixMilli()
	for _, step := range []struct{ ahead, see int64 }{{0, 0}, {0, 0}, {-5000, 0}, {1, 0}, {1, 60_000}, {2, 0}, {60_001, 0}, {60_001, -1000}} {
		cv := clockVector{Now: now + step.ahead}
		if step.see != 0 {
			id := chat.NewID(chat.Ticks(at.Add(time.Duration(step.see)*time.Millisecond)), 7, other)
			c.See(id)
			cv.See = id.String()
		}
		cv.ID = c.Next(time.UnixMilli(cv.Now)).String()
		v.Clock = append(v.Clock, cv)
	}
	good := chat.NewID(chat.Ticks(at), 0x1234, phone)
	for _, change := range []func(*chat.ID){
		func(id *chat.ID) { id[6] = id[6]&0x0f | 0x40 }, func(id *chat.ID) { id[8] &= 0x3f },
		func(id *chat.ID) { id[8] |= 0x40 }, func(id *chat.ID) { id[10] &^= 1 }, func(id *chat.ID) { *id = chat.ID{} },
	} {
		id := good
		change(&id)
		v.Bad = append(v.Bad, id.String())
	}
	return v
}

// floorMS is the time of ticks in ms since 1970, rounded down.
func floorMS(ticks uint64) int64 {
	since := int64(ticks) - 0x01b21dd213814000
	if since < 0 {
		since -= 9_999
	}
	return since / 10_000
}

// sharedFile holds a file of docs/vectors against what makes it, and returns its
// content as T.
func sharedFile[T any](t *testing.T, name string, made any) (read T) {
	t.Helper()
	name = "../docs/vectors/" + name
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", " ")
	enc.SetEscapeHTML(false)
	must(enc.Encode(made))
	if *update {
		must(os.WriteFile(name, b.Bytes(), 0o644))
	}
	have, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(have, b.Bytes()) {
		t.Fatalf("%s is not what the test makes: go test ./packet -run Vectors -update (%v)", name, err)
	}
	must(json.Unmarshal(have, &read))
	return read
}

func TestVectorsOfToleratedForms(t *testing.T) {
	for _, v := range sharedFile[[]tolerated](t, "tolerated.json", toleratedVectors()) {
		if again := roundTrip(t, try(hex.DecodeString(v.Hex))); hexOf(again) != v.As || v.Hex == v.As {
			t.Errorf("%s: %s is taken as %x, not %s", v.Name, v.Hex, again, v.As)
		}
	}
}

func TestVectorsOfRefusals(t *testing.T) {
	for _, v := range sharedFile[[]refused](t, "refused.json", refusedVectors()) {
		if code := codeOfMessage(try(hex.DecodeString(v.Hex))); code != chat.CodeBadPacket {
			t.Errorf("%s: %s is %s", v.Name, v.Hex, code)
		}
	}
}

// codeOfMessage decodes every packet of a message.
func codeOfMessage(msg []byte) chat.Code {
	for len(msg) > 0 {
		p, rest, err := Next(msg)
		if err == nil && codecs[p.Type] != nil {
			err = codecs[p.Type]().Decode(p)
		}
		if err != nil {
			return chat.CodeOf(err)
		}
		msg = rest
	}
	return chat.CodeOK
}

func TestVectorsOfIDs(t *testing.T) {
	v := sharedFile[idVectors](t, "ids.json", makeIDVectors())
	var last chat.ID
	for i, x := range v.IDs {
		id := chat.ID(try(hex.DecodeString(x.Hex)))
		if again := try(chat.ParseID(x.Text)); again != id || !id.Valid() || i > 0 && id.Compare(last) <= 0 {
			t.Errorf("%+v", x)
		}
		last = id
	}
	for _, text := range v.Bad {
		if id, err := chat.ParseID(text); err == nil && id.Valid() {
			t.Errorf("%s is valid", text)
		}
	}
}
