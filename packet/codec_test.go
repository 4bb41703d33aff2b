package packet

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/rookery-chat/rookery/chat"
)

var testID = chat.NewID(0x1f0_1234_5678_9abc, 0x1234, chat.Node{0x83, 1, 2, 3, 4, 5})

// samples are packets of every type, with fields at zero and at their bounds.
func samples() []codec {
	long := []byte(strings.Repeat("x", 70_000))
	row := Row{ID: testID, From: "bob", Place: 9, Late: 41, Content: []byte("hi"), Expires: 5, Media: "https://m.example/1"}
	return []codec{
		&Hello{Version: 1, Device: "phone", Seq: chat.MaxClockSeq, Resume: 77},
		&Hello{Resume: ResumeCursor}, &Hello{Resume: ResumeNow}, &Hello{},
		&Send{}, &Send{N: 1, ID: testID, To: []byte("bob"), Content: []byte("hi")},
		&Send{N: math.MaxUint64, ID: testID, To: []byte("bob"), Suite: 255, Content: long, Flags: SendRetry},
		&Send{N: 300, ID: testID, To: []byte("bob"), Content: []byte{}, TTL: math.MaxUint32},
		&Send{N: 70_000, ID: testID, To: long[:40], Content: long[:300], Media: long[:300]},
		&Mark{}, &Mark{Pos: chat.NewPosition(3, 9)}, &Read{Peer: []byte("bob"), Pos: math.MaxUint64},
		&Typing{Peer: []byte("bob"), On: true}, &Typing{Peer: []byte("bob")},
		&Watch{Req: 1, Users: []string{"a", "b"}}, &Unwatch{Users: []string{}},
		&History{Req: 3, Peer: "bob", Before: testID, Limit: 50}, &History{Req: 1 << 40, Peer: "bob"},
		&Chats{Req: 4, Before: testID, Limit: 10}, &Refresh{Token: "a.b.c"}, &Ping{Data: 7},
		&Push{Req: 5, Provider: "fcm", Token: "t"}, &Push{}, &Done{Req: 5},
		&Welcome{Version: 1, Now: 1_700_000_000_000, Node: chat.Node{1, 2, 3, 4, 5, 6}, User: "alice", Resume: 5,
			Waiting: 3, Heartbeat: 60_000, Expires: 1_700_000_100_000, Limits: map[string]uint64{"content": 65536, "rate": 10}},
		&Accepted{N: 9, Count: 4, Pos: 1 << 33}, &Refused{N: 5, Code: chat.CodeRateLimited, Retry: 250, Text: "slower"},
		&Message{}, &Message{Pos: 300, Gap: 2, ID: testID, From: []byte("alice"), Late: -40, Content: []byte("hi")},
		&Message{Pos: 300, Gap: 2, ID: testID, From: []byte("alice"), Late: math.MinInt64, Content: []byte("hi"), Expires: 4},
		&Message{Pos: 300, Gap: 2, ID: testID, From: []byte("alice"), Late: -33, Content: []byte("hi"), Media: []byte("u")},
		&Copy{}, &Copy{Pos: 1, Gap: 1, ID: testID, To: []byte("bob"), Late: -129, Content: nil, Place: 70_000},
		&Copy{Pos: 1, Gap: 1, ID: testID, To: []byte("bob"), Late: -40_000, Content: []byte{}, Place: 1, Expires: math.MaxInt64, Media: []byte("u")},
		&Receipt{Pos: 10, Gap: 1, Peer: []byte("bob"), Delivered: 8, Read: 7}, &CaughtUp{Pos: 10}, &Truncated{Pos: 4},
		&TypingFrom{Peer: []byte("bob"), On: true}, &Presence{Peer: "bob", Online: true}, &Presence{Peer: "bob", Seen: 1},
		&HistoryPage{Req: 3, Peer: "bob", Delivered: 9, Read: 8, More: true, Rows: []Row{row, {}, row}}, &HistoryPage{Rows: []Row{}, Next: testID},
		&ChatsPage{Req: 4, More: true, Chats: []ChatRow{{Peer: "bob", Delivered: 1, Read: 2, Mine: 3, Last: row}, {}}},
		&Outcome{ID: testID, To: "bob", Code: chat.CodeIDConflict, Place: 6}, &Refreshed{Expires: 1_700_000_100_000},
		&Pong{Data: 7, Now: 1_700_000_000_000}, &Error{Code: chat.CodeForbidden, Retry: 1, Text: "no", Req: 3},
		&Bye{Code: chat.CodeDraining, Retry: 5000, URL: "wss://b.example", Text: "restart"},
		&KeysPut{}, &KeysPut{Req: 7, Identity: long[:32], Curve: long[:32], Signing: long[:32], Signature: long[:64],
			OneTime: []PreKey{{ID: 1, Key: long[:32], Signature: long[:64]}, {}}, Fallback: PreKey{ID: math.MaxUint64, Key: long[:32], Signature: long[:64]}, Reset: true},
		&KeysGet{Req: 8, Users: []string{"bob", "alice"}},
		&KeysClaim{Req: 9, Devices: []DeviceRef{{User: "bob", Device: "phone"}, {}}}, &KeysDrop{Req: 10, Device: "tablet"},
		&GroupMessage{}, &GroupMessage{Pos: 300, Gap: 2, ID: testID, From: []byte("alice"), Group: []byte(":x"), Place: 70_000, Late: -40, Content: []byte("hi")},
		&GroupMessage{Pos: 300, Gap: 2, ID: testID, From: []byte("alice"), Group: []byte(":x"), Place: 1, Late: 3, Suite: 3, Content: []byte{}, Expires: 4},
		&GroupMessage{Pos: 1, Gap: 1, ID: testID, From: []byte("alice"), Group: []byte(":x"), Place: 1, Late: 3, Suite: 1, Content: long[:300], Media: []byte("u")},
		&GroupGet{Req: 3, Group: ":x", Beyond: "bob", Limit: 7}, &GroupPage{Req: 3, Group: ":x", Info: long[:40], More: true,
			Members: []MemberRow{{User: "alice", Admin: true, Since: 5, Delivered: 8, Read: 7}, {}}, Place: 9}, &GroupPage{Members: []MemberRow{}},
		&DevicesGet{Req: 1 << 40}, &DeviceLabel{Req: 4, Device: "phone", Label: "Büro"}, &DeviceLabel{}, &DeviceRevoke{Req: 5, Device: "tablet"},
		&Devices{Req: 6, Devices: []OwnDevice{{Device: "phone", Label: "Büro", Created: 1_700_000_000_000, Revoked: 1_700_000_100_000}, {}}}, &Devices{Devices: []OwnDevice{}},
		&KeysStored{Req: 7, Left: 50}, &KeysLow{Left: 9},
		&Keys{Req: 8, Users: []UserKeys{{User: "bob", Identity: long[:32], Devices: []DeviceKeys{{Device: "phone", Curve: long[:32], Signing: long[:32], Signature: long[:64]}, {}}}, {User: "x"}}},
		&KeysClaimed{Req: 9, Keys: []ClaimedKey{{User: "bob", Device: "phone", Fallback: true, PreKey: PreKey{ID: 3, Key: long[:32], Signature: long[:64]}}, {}}},
	}
}

func typeOf(x codec) Type { return Type(x.AppendTo(nil)[1]) }

func TestSamplesCoverEveryType(t *testing.T) {
	seen := map[Type]bool{}
	for _, x := range samples() {
		seen[typeOf(x)] = true
	}
	for typ := range typeNames {
		if !seen[typ] || codecs[typ] == nil {
			t.Errorf("no sample or no codec of %s", typ)
		}
	}
}

// What we encode, the library decodes to the same values; what it encodes, in
// any width of integers and with elements of later versions, we decode to them.
func TestAgainstReference(t *testing.T) {
	for i, x := range samples() {
		typ := typeOf(x)
		t.Run(fmt.Sprintf("%d %s", i, typ), func(t *testing.T) {
			b := x.AppendTo([]byte("before"))
			if !bytes.HasPrefix(b, []byte("before")) {
				t.Fatal("AppendTo does not append")
			}
			want := wire(x)
			gotType, got := genericPacket(b[6:])
			got, ok := conform(reflect.TypeOf(x).Elem(), got)
			if gotType != int64(typ) || !ok || !reflect.DeepEqual(got, want) {
				t.Fatalf("the library reads\n%v\nof\n%v", got, want)
			}
			if short := encodeReference(typ, want, 0); len(short) < len(b)-6 {
				t.Errorf("%d bytes, the library needs %d", len(b)-6, len(short))
			}
			for width := range 5 {
				later := append(append([]any{}, want...), "later", []any{int64(1), map[string]any{"a": 1.5}})
				checkDecode(t, typ, encodeReference(typ, want, width), want)
				checkDecode(t, typ, encodeReference(typ, later, width), want)
			}
		})
	}
}

// checkDecode decodes b into a packet that held something before.
func checkDecode(t *testing.T, typ Type, b []byte, want []any) {
	t.Helper()
	x := used(typ)
	p, rest, err := Next(append(b, 0x91, 0x01))
	if err != nil || !bytes.Equal(rest, []byte{0x91, 0x01}) {
		t.Fatalf("Next: %v, rest %x", err, rest)
	}
	if err := x.Decode(p); err != nil {
		t.Fatalf("Decode of %x: %v", b, err)
	}
	if got := wire(x); !reflect.DeepEqual(got, want) {
		t.Fatalf("Decode of %x is\n%v\nnot\n%v", b, got, want)
	}
}

// used returns a packet that was decoded into before.
func used(typ Type) codec {
	for _, x := range samples() {
		if typeOf(x) == typ {
			return x
		}
	}
	panic(typ)
}

// Absent elements and nil read as the zero value, whichever was there before.
func TestAbsentIsZero(t *testing.T) {
	for typ, empty := range codecs {
		zero := empty()
		if h, ok := zero.(*Hello); ok {
			h.Resume = ResumeCursor
		}
		n := reflect.TypeOf(zero).Elem().NumField()
		checkDecode(t, typ, []byte{0x91, byte(typ)}, wire(zero))
		checkDecode(t, typ, append([]byte{0x90 | byte(1+n), byte(typ)}, bytes.Repeat([]byte{nilCode}, n)...), wire(zero))
	}
}

// Integers around each width's bounds are as short as the library's shortest.
func TestShortestIntegers(t *testing.T) {
	for bits := range 64 {
		for _, d := range []int64{-1, 0, 1} {
			v := int64(1)<<bits + d
			for _, x := range []codec{&Mark{Pos: chat.Position(v)}, &Message{Late: v}, &Message{Late: -v}} {
				want := encodeReference(typeOf(x), wire(x), 0)
				if m, ok := x.(*Message); ok {
					want = encodeReference(TypeMessage, wire(m)[:7], 0)
				}
				if b := x.AppendTo(nil); !bytes.Equal(b, want) && v > 0 {
					t.Errorf("%d: % x, the library has % x", v, b, want)
				}
			}
		}
	}
}

func TestNilAndEmptyContentDiffer(t *testing.T) {
	for _, content := range [][]byte{nil, {}} {
		p, _, err := Next((&Copy{Content: content}).AppendTo(nil))
		var got Copy
		if err != nil || got.Decode(p) != nil || (got.Content == nil) != (content == nil) {
			t.Errorf("content %#v came back as %#v (%v)", content, got.Content, err)
		}
	}
}

// Every element in turn is replaced by one of each other kind, and by integers
// just outside its field's range: our answer is the reference's.
func TestWrongElements(t *testing.T) {
	wrong := []any{int64(0), int64(-1), int64(-2), int64(256), int64(1 << 16), int64(1 << 32), int64(math.MinInt64), uint64(1 << 63),
		true, 1.5, "str", "\xff", "a str of 16 byte", []byte("bin"), make([]byte, 16), make([]byte, 17), []any{}, []any{int64(1)}, []any{"a", nil, "b"},
		[]any{[]any{"x"}}, map[string]any{"k": "v"}, map[string]any{"k": uint64(5)}, map[string]any{}}
	refused := 0
	for typ, empty := range codecs {
		elements := wire(empty())
		for i := range elements {
			for _, w := range wrong {
				changed := append([]any{}, elements...)
				changed[i] = w
				if !agree(t, encodeReference(typ, changed, 0)) {
					refused++
				}
			}
		}
	}
	wrongKeys(t, wrong)
	for i, field := range wire(&Row{}) {
		for _, w := range append(wrong, field) {
			row := wire(&Row{})
			row[i] = w
			agree(t, encodeReference(TypeHistoryPage, []any{nil, nil, nil, nil, nil, []any{row, row[:i]}}, 0))
			agree(t, encodeReference(TypeChatsPage, []any{nil, nil, []any{[]any{nil, nil, nil, nil, row}}}, 0))
		}
	}
	if refused < 500 {
		t.Errorf("only %d were refused", refused)
	}
}

// wrongKeys does the same to the rows of the key directory.
func wrongKeys(t *testing.T, wrong []any) {
	for i, field := range wire(&PreKey{}) {
		for _, w := range append(wrong, field) {
			row := wire(&PreKey{})
			row[i] = w
			agree(t, encodeReference(TypeKeysPut, []any{nil, nil, nil, nil, nil, []any{row, row[:i]}, row}, 0))
			agree(t, encodeReference(TypeKeysClaimed, []any{nil, []any{[]any{"bob", "phone", true, row}}}, 0))
		}
	}
	for i, field := range wire(&DeviceKeys{}) {
		for _, w := range append(wrong, field) {
			row := wire(&DeviceKeys{})
			row[i] = w
			agree(t, encodeReference(TypeKeys, []any{nil, []any{[]any{"bob", nil, []any{row, row[:i]}}}}, 0))
			agree(t, encodeReference(TypeKeysClaim, []any{nil, []any{row[:min(i+1, 2)]}}, 0))
		}
	}
}

// agree decodes one well-formed packet of a known type and compares with the
// reference, whether it is taken and as what.
func agree(t *testing.T, b []byte) (taken bool) {
	t.Helper()
	p, _, err := Next(b)
	if err != nil {
		t.Fatalf("Next of %x: %v", b, err)
	}
	x := codecs[p.Type]()
	_, elements := genericPacket(b)
	want, ok := conform(reflect.TypeOf(x).Elem(), elements)
	err = x.Decode(p)
	if (err == nil) != ok {
		t.Fatalf("Decode of %x (%s) says %v, the reference %v", b, p.Type, err, ok)
	}
	if err != nil {
		if chat.CodeOf(err) != chat.CodeBadPacket {
			t.Fatalf("Decode of %x says %v", b, err)
		}
		return false
	}
	if got := wire(x); !reflect.DeepEqual(got, want) {
		t.Fatalf("Decode of %x is\n%v\nnot\n%v", b, got, want)
	}
	return true
}

func TestDecodeOfAnotherType(t *testing.T) {
	p, _, err := Next((&Mark{Pos: 4}).AppendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	for typ, empty := range codecs {
		if err := empty().Decode(p); (err == nil) != (typ == TypeMark) {
			t.Errorf("a mark was read as %s: %v", typ, err)
		}
	}
}

func TestErrorsSayWhere(t *testing.T) {
	for want, b := range map[string][]byte{
		"an element of a read":     {0x93, 0x04, 0xa1, 'b', 0xc3},
		"element 2 of a history":   {0x93, 0x08, 0x01, 0x05},
		"a packet of type 127 is ": {0x92, 0x7f, 0xa5},
	} {
		p, _, err := Next(b)
		if err == nil {
			err = codecs[p.Type]().Decode(p)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%x: %v", b, err)
		}
	}
}

func TestTypeNames(t *testing.T) {
	if TypeCaughtUp.String() != "caught_up" || Type(200).String() != "type_200" {
		t.Error(TypeCaughtUp, Type(200))
	}
}

// TestWelcomeWithLimitsThatWereEncoded holds that it has the bytes of the packet,
// and allocates nothing.
func TestWelcomeWithLimitsThatWereEncoded(t *testing.T) {
	limits := map[string]uint64{}
	for i, name := range LimitNames {
		limits[name] = 1 << (i % 64)
	}
	encoded := EncodeLimits(limits)
	for _, w := range []Welcome{
		{}, {Version: 1, Now: 1_700_000_000_000, Node: chat.Node{1, 2, 3, 4, 5, 6}, User: "alice", Resume: 5, Waiting: 3, Heartbeat: 60_000, Expires: 1_700_000_100_000},
		{Version: math.MaxUint64, Now: math.MinInt64, User: strings.Repeat("x", 64), Resume: math.MaxUint64, Waiting: 1 << 40, Heartbeat: 128, Expires: -1},
	} {
		got := w.AppendWith([]byte("before"), encoded)
		if w.Limits = limits; !bytes.Equal(got, w.AppendTo([]byte("before"))) {
			t.Errorf("%+v: %x", w, got)
		}
	}
	w, dst := &Welcome{User: "alice"}, make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { dst = w.AppendWith(dst[:0], encoded) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
