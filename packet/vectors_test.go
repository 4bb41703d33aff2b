package packet

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rookery-chat/rookery/chat"
)

// Vectors are examples of each packet, for every language that speaks the
// protocol: docs/vectors. Some are quoted in docs/protocol.md. They are made
// here, by go test ./packet -update, and read by a path that shares nothing with
// the codec but the bytes.

var update = flag.Bool("update", false, "write docs/vectors and the examples in docs/protocol.md")

const vectorsFile = "../docs/vectors/packets.json"

type vector struct {
	Name   string    `json:"name"`
	Packet string    `json:"packet"`
	Type   Type      `json:"type"`
	Hex    string    `json:"hex"`
	Fields fieldList `json:"fields"` // in the order of the wire, those that are on it
}

// fieldList is a JSON object that keeps its order. A bin is {"bin": hex}, an
// integer beyond 2^53 is {"int": digits}, as many readers of JSON round it, nil
// is null, an array and a map are what they are.
type fieldList []pair

func (l fieldList) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i, p := range l {
		name, value := try(json.Marshal(p.key)), try(json.Marshal(toJSON(p.value)))
		fmt.Fprintf(&b, "%s%s:%s", map[bool]string{true: "{", false: ","}[i == 0], name, value)
	}
	return append(b.Bytes(), '}'), nil
}

func (l *fieldList) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	try(d.Token())
	for d.More() {
		name := try(d.Token()).(string)
		var value any
		must(d.Decode(&value))
		*l = append(*l, pair{name, fromJSON(value)})
	}
	return nil
}

// maxExact is the largest integer that is exact as a 64-bit float.
const maxExact = 1<<53 - 1

func toJSON(v any) any {
	switch v := v.(type) {
	case int64:
		if v < -maxExact || v > maxExact {
			return map[string]string{"int": strconv.FormatInt(v, 10)}
		}
	case uint64:
		return map[string]string{"int": strconv.FormatUint(v, 10)}
	case []byte:
		return map[string]string{"bin": hexOf(v)}
	case []any:
		list := []any{}
		for _, e := range v {
			list = append(list, toJSON(e))
		}
		return list
	case []pair:
		m := map[string]any{}
		for _, p := range v {
			m[p.key.(string)] = toJSON(p.value)
		}
		return m
	}
	return v
}

// fromJSON undoes toJSON, but for maps, whose order it does not know.
func fromJSON(v any) any {
	switch v := v.(type) {
	case json.Number:
		return try(v.Int64())
	case []any:
		for i := range v {
			v[i] = fromJSON(v[i])
		}
	case map[string]any:
		if b, ok := v["bin"]; ok && len(v) == 1 {
			return try(hex.DecodeString(b.(string)))
		}
		if digits, ok := v["int"]; ok && len(v) == 1 {
			if i, err := strconv.ParseInt(digits.(string), 10, 64); err == nil {
				return i
			}
			return try(strconv.ParseUint(digits.(string), 10, 64))
		}
		for k := range v {
			v[k] = fromJSON(v[k])
		}
	}
	return v
}

// edges are the samples of the codec's tests, but the very long ones and the
// empty list, which decodes as none.
func edges() (list []example) {
	count := map[Type]int{}
	for _, x := range samples() {
		typ := typeOf(x)
		if count[typ]++; len(x.AppendTo(nil)) <= 1024 && typ != TypeUnwatch {
			list = append(list, example{fmt.Sprintf("edge-%s-%d", strings.ReplaceAll(typ.String(), "_", "-"), count[typ]), x})
		}
	}
	return list
}

type example struct {
	name string
	is   codec
}

// examples tell one story: alice's phone connects, writes to bob, and reads.
func examples() []example {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ms := at.UnixMilli()
	phone, bobs := chat.Node{0x83, 1, 2, 3, 4, 5}, chat.Node{0x5d, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4}
	first, reply := chat.NewID(chat.Ticks(at), 0x1234, phone), chat.NewID(chat.Ticks(at.Add(2500*time.Millisecond)), 0x0777, bobs)
	alice, bob := []byte("alice"), []byte("bob")
	limits := map[string]uint64{}
	for i, v := range []uint64{65536, 2048, 262144, 1000, 4096, 4194304, 4096, 1024, 262144, 256, 100, 100, 16, 10000, 31536000, 10, 2592000, 4096, 100, 64, 64, 120, 1024, 16384, 64, 1000} {
		limits[LimitNames[i]] = v
	}
	replyRow := Row{ID: reply, From: "bob", Place: 4711, Late: 38, Content: []byte("hello")}
	made, inGroup := chat.NewID(chat.Ticks(at.Add(5*time.Second)), 0x1234, phone), chat.NewID(chat.Ticks(at.Add(6*time.Second)), 0x1234, phone)
	group, create := []byte(chat.NewGroup("", made)), chat.Change{Verb: chat.GroupCreate, Users: []chat.User{"bob"}, Info: []byte{0xca, 0xfe}}
	firstRow := Row{ID: first, From: "alice", Place: 90211, Late: 41, Content: []byte("hi")}
	return []example{
		{"hello-first", &Hello{Version: 1, Device: "phone", Seq: 0x1234, Resume: ResumeCursor}},
		{"hello-resume", &Hello{Version: 1, Device: "phone", Seq: 0x1234, Resume: 4600}},
		{"hello-now", &Hello{Version: 1, Device: "phone", Seq: 0x1234, Resume: ResumeNow}},
		{"welcome", &Welcome{Version: 1, Now: ms, Node: phone, User: "alice", Resume: 4600, Waiting: 2, Heartbeat: 60000, Expires: ms + 3600_000, Limits: limits}},
		{"send", &Send{N: 1, ID: first, To: bob, Content: []byte("hi")}},
		{"send-retry", &Send{N: 1, ID: first, To: bob, Content: []byte("hi"), Flags: SendRetry}},
		{"send-media", &Send{N: 2, ID: chat.NewID(chat.Ticks(at)+1, 0x1234, phone), To: bob, Suite: 1, Content: []byte{0xde, 0xad, 0xbe, 0xef}, TTL: 86400, Media: []byte("https://m.example/7f")}},
		{"accepted", &Accepted{N: 3, Count: 3, Pos: 90213}},
		{"refused", &Refused{N: 4, Code: chat.CodeRateLimited, Retry: 250, Text: "over the rate"}},
		{"outcome-stored-before", &Outcome{ID: first, To: "bob", Place: 90211}},
		{"outcome-conflict", &Outcome{ID: first, To: "bob", Code: chat.CodeIDConflict, Place: 90211}},
		{"message", &Message{Pos: 4711, Gap: 111, ID: reply, From: bob, Late: 38, Content: []byte("hello")}},
		{"message-expires", &Message{Pos: 4712, Gap: 1, ID: chat.NewID(chat.Ticks(at)+25_000_001, 0x0777, bobs), From: bob, Late: -3, Content: []byte{}, Expires: ms + 86400_000, Media: []byte("https://m.example/80")}},
		{"copy", &Copy{Pos: 4720, Gap: 8, ID: first, To: bob, Late: 41, Content: []byte("hi"), Place: 90211}},
		{"copy-own", &Copy{Pos: 4720, Gap: 8, ID: first, To: bob, Late: 41, Place: 90211}},
		{"receipt", &Receipt{Pos: 4733, Gap: 13, Peer: bob, Delivered: 90213, Read: 90211}},
		{"receipt-catch-up", &Receipt{Peer: bob, Delivered: 90213, Read: 90211}},
		{"caught-up", &CaughtUp{Pos: 4733}},
		{"truncated", &Truncated{Pos: 4000}},
		{"mark", &Mark{Pos: 4733}},
		{"mark-epoch-1", &Mark{Pos: chat.NewPosition(1, 7)}},
		{"read", &Read{Peer: bob, Pos: 4711}},
		{"typing", &Typing{Peer: bob, On: true}},
		{"typing-from", &TypingFrom{Peer: alice, On: true}},
		{"watch", &Watch{Req: 7, Users: []string{"bob", "carol"}}},
		{"unwatch", &Unwatch{Users: []string{"carol"}}},
		{"presence-online", &Presence{Peer: "bob", Online: true}},
		{"presence-offline", &Presence{Peer: "bob", Seen: ms}},
		{"history-newest", &History{Req: 8, Peer: "bob", Limit: 2}},
		{"history-before", &History{Req: 9, Peer: "bob", Before: first, Limit: 50}},
		{"history-page", &HistoryPage{Req: 8, Peer: "bob", Delivered: 90213, Read: 90211, More: true, Rows: []Row{replyRow, firstRow}}},
		{"chats", &Chats{Req: 10, Limit: 20}},
		{"chats-before", &Chats{Req: 11, Before: reply, Limit: 20}},
		{"chats-page", &ChatsPage{Req: 10, Chats: []ChatRow{{Peer: "bob", Delivered: 90213, Read: 90211, Mine: 4711, Last: replyRow}}}},
		{"refresh", &Refresh{Token: "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSJ9.c2ln"}},
		{"refreshed", &Refreshed{Expires: ms + 7200_000}},
		{"ping", &Ping{Data: 42}},
		{"push", &Push{Req: 12, Provider: "fcm", Token: "dGhpcyBkZXZpY2U:APA91b"}},
		{"push-forget", &Push{Req: 13}},
		{"done", &Done{Req: 12}},
		{"pong", &Pong{Data: 42, Now: ms}},
		{"error", &Error{Code: chat.CodeForbidden, Text: "presence is for those who have a chat", Req: 7}},
		{"keys-put", &KeysPut{Req: 14, Identity: some(0xa0, 32), Curve: some(0xb0, 32), Signing: some(0xc0, 32), Signature: some(0xd0, 64),
			OneTime: []PreKey{{ID: 1, Key: some(0x10, 32), Signature: some(0x20, 64)}}, Fallback: PreKey{ID: 51, Key: some(0x30, 32), Signature: some(0x40, 64)}}},
		{"keys-stored", &KeysStored{Req: 14, Left: 1}},
		{"keys-get", &KeysGet{Req: 15, Users: []string{"bob"}}},
		{"keys", &Keys{Req: 15, Users: []UserKeys{{User: "bob", Identity: some(0xa0, 32), Devices: []DeviceKeys{{Device: "phone", Curve: some(0xb0, 32), Signing: some(0xc0, 32), Signature: some(0xd0, 64)}}}}}},
		{"keys-claim", &KeysClaim{Req: 16, Devices: []DeviceRef{{User: "bob", Device: "phone"}}}},
		{"keys-claimed", &KeysClaimed{Req: 16, Keys: []ClaimedKey{{User: "bob", Device: "phone", PreKey: PreKey{ID: 1, Key: some(0x10, 32), Signature: some(0x20, 64)}}}}},
		{"keys-drop", &KeysDrop{Req: 17, Device: "tablet"}},
		{"keys-low", &KeysLow{Left: 9}},
		{"send-group", &Send{N: 5, ID: inGroup, To: group, Suite: 1, Content: []byte{0xde, 0xad, 0xbe, 0xef}}},
		{"send-group-create", &Send{N: 4, ID: made, To: group, Suite: chat.SuiteGroup, Content: create.AppendTo(nil)}},
		{"group-message", &GroupMessage{Pos: 4741, Gap: 8, ID: inGroup, From: alice, Group: group, Place: 1207, Late: 12, Suite: 1, Content: []byte{0xde, 0xad, 0xbe, 0xef}}},
		{"outcome-not-member", &Outcome{ID: inGroup, To: string(group), Code: chat.CodeNotMember}},
		{"receipt-group", &Receipt{Pos: 4750, Gap: 9, Peer: group, Delivered: 1207, Read: 1200}},
		{"group-get", &GroupGet{Req: 18, Group: string(group), Limit: 100}},
		{"group-page", &GroupPage{Req: 18, Group: string(group), Info: []byte{0xca, 0xfe}, Members: []MemberRow{
			{User: "alice", Admin: true, Since: 1200, Delivered: 1200, Read: 1200}, {User: "bob", Since: 1200, Delivered: 1207, Read: 1200}}, Place: 1209}},
		{"devices-get", &DevicesGet{Req: 19}},
		{"devices", &Devices{Req: 19, Devices: []OwnDevice{
			{Device: "phone", Label: "Alice's phone", Created: ms}, {Device: "tablet", Created: ms - 86400_000, Revoked: ms - 3600_000}}}},
		{"device-label", &DeviceLabel{Req: 20, Device: "phone", Label: "Alice's phone"}},
		{"device-revoke", &DeviceRevoke{Req: 21, Device: "tablet"}},
		{"bye", &Bye{Code: chat.CodeDraining, Retry: 3120, URL: "wss://b.chat.example", Text: "this server is going away"}},
	}
}

// some are n bytes that stand for a key or a signature.
func some(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i%16)
	}
	return b
}

// vectorOf reads the example's bytes by the library.
func vectorOf(e example) vector {
	b := e.is.AppendTo(nil)
	typ, elements := genericPacket(b)
	v := vector{Name: e.name, Packet: Type(typ.(int64)).String(), Type: Type(typ.(int64)), Hex: hexOf(b)}
	for i, el := range elements {
		v.Fields = append(v.Fields, pair{fieldName(reflect.TypeOf(e.is).Elem(), i), el})
	}
	return v
}

func renderVectors() []byte {
	var b bytes.Buffer
	for i, e := range append(examples(), edges()...) {
		b.WriteString(map[bool]string{true: "[\n", false: ",\n"}[i == 0])
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		must(enc.Encode(vectorOf(e)))
		b.Truncate(b.Len() - 1)
	}
	b.WriteString("\n]\n")
	return b.Bytes()
}

func loadVectors(t *testing.T) []vector {
	t.Helper()
	b, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var list []vector
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// The file says what the bytes are, the library reads them so, and our codec
// decodes them and makes the same bytes again.
func TestVectors(t *testing.T) {
	if *update {
		if err := os.WriteFile(vectorsFile, renderVectors(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, v := range loadVectors(t) {
		if seen[v.Name] {
			t.Errorf("two vectors are named %s", v.Name)
		}
		seen[v.Name], seen[v.Packet] = true, true
		b, err := hex.DecodeString(v.Hex)
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		typ, elements := genericPacket(b)
		if typ != int64(v.Type) || v.Type.String() != v.Packet || len(elements) != len(v.Fields) {
			t.Errorf("%s: type %v, %d elements", v.Name, typ, len(elements))
			continue
		}
		for i, f := range v.Fields {
			if got := fromJSON(jsonOf(elements[i])); !reflect.DeepEqual(got, f.value) {
				t.Errorf("%s: %s is %v, the file says %v", v.Name, f.key, got, f.value)
			}
			if name := fieldName(reflect.TypeOf(codecs[v.Type]()).Elem(), i); name != f.key {
				t.Errorf("%s: element %d is %s, the file says %s", v.Name, i+1, name, f.key)
			}
		}
		if again := roundTrip(t, b); !bytes.Equal(again, b) {
			t.Errorf("%s: %x becomes %x", v.Name, b, again)
		}
	}
	for typ, name := range typeNames {
		if !seen[name] {
			t.Errorf("no vector of %s (%d)", name, typ)
		}
	}
}

// jsonOf takes a generic value through JSON, so that it compares with a file's.
func jsonOf(v any) (out any) {
	d := json.NewDecoder(bytes.NewReader(try(json.Marshal(toJSON(v)))))
	d.UseNumber()
	must(d.Decode(&out))
	return out
}

func TestVectorsAreCurrent(t *testing.T) {
	have, err := os.ReadFile(vectorsFile)
	if err != nil || !bytes.Equal(have, renderVectors()) {
		t.Errorf("%s is not what the examples make: go test ./packet -update (%v)", vectorsFile, err)
	}
}

// roundTrip decodes all packets of a message and encodes them again.
func roundTrip(t *testing.T, msg []byte) (again []byte) {
	t.Helper()
	for len(msg) > 0 {
		p, rest, err := Next(msg)
		if err != nil {
			t.Fatalf("%x: %v", msg, err)
		}
		x := codecs[p.Type]()
		if err := x.Decode(p); err != nil {
			t.Fatalf("%x: %v", msg, err)
		}
		again, msg = x.AppendTo(again), rest
	}
	return again
}

// dump writes a packet out, an element a line: its bytes, then what they are.
func dump(x codec) string {
	b := x.AppendTo(nil)
	t := reflect.TypeOf(x).Elem()
	var out strings.Builder
	count, rest, _ := arrayHeader(b)
	dumpLine(&out, b[:len(b)-len(rest)], fmt.Sprintf("array of %d", count))
	dumpLine(&out, rest[:1], fmt.Sprintf("type %d, %s", rest[0], Type(rest[0])))
	rest = rest[1:]
	for i := range count - 1 {
		rest = dumpElement(&out, rest, t.Field(i).Type, fieldName(t, i), "")
	}
	return out.String()
}

func dumpLine(out *strings.Builder, b []byte, text string) {
	fmt.Fprintf(out, "%-53s  %s\n", strings.TrimSpace(fmt.Sprintf("% x", b)), text)
}

func dumpElement(out *strings.Builder, b []byte, t reflect.Type, name, indent string) (rest []byte) {
	count, inner, isArray := arrayHeader(b)
	one := b[:(&skipper{budget: MaxElements}).skip(b, 1, 1)]
	_, elements := genericPacket(append([]byte{0x92, 1}, one...))
	switch {
	case isArray && t.Kind() == reflect.Struct:
		dumpLine(out, b[:1], indent+name+" = array of "+strconv.Itoa(count))
		for i := range count {
			inner = dumpElement(out, inner, t.Field(i).Type, fieldName(t, i), indent+"  ")
		}
		return inner
	case isArray:
		dumpLine(out, b[:1], indent+name+" = array of "+strconv.Itoa(count))
		for i := range count {
			inner = dumpElement(out, inner, t.Elem(), strconv.Itoa(i), indent+"  ")
		}
		return inner
	case t.Kind() == reflect.Map:
		head := len(one)
		for _, p := range elements[0].([]pair) {
			head -= len(encodeReference(0, []any{p.key, p.value}, 0)) - 2
		}
		dumpLine(out, one[:head], fmt.Sprintf("%s = map of %d", name, len(elements[0].([]pair))))
		for _, p := range elements[0].([]pair) {
			dumpLine(out, encodeReference(0, []any{p.key, p.value}, 0)[2:], fmt.Sprintf("  %s = %d", p.key, p.value))
		}
	default:
		dumpLine(out, one, indent+name+" = "+dumpValue(t, elements[0]))
	}
	return b[len(one):]
}

func dumpValue(t reflect.Type, v any) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case string:
		return strconv.Quote(v)
	case []byte:
		if t == reflect.TypeFor[chat.ID]() {
			return chat.ID(v).String()
		}
		if len(v) > 0 && v[0] >= ' ' && v[0] < 0x7f && t != reflect.TypeFor[chat.Node]() {
			return strconv.Quote(string(v)) + " as bytes"
		}
		return fmt.Sprintf("%d bytes", len(v))
	}
	return fmt.Sprint(v)
}
