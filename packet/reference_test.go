package packet

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/rookery-chat/rookery/chat"
)

// What follows is the reference the codec is held against: packets seen through
// the msgpack library and reflection alone. Structs have their fields in the
// order of the wire, so a field's type says what its element has to be.

// codec is what every packet's struct has.
type codec interface {
	Decode(p Raw) error
	AppendTo(dst []byte) []byte
}

// codecs makes an empty packet of each type.
var codecs = map[Type]func() codec{
	TypeHello: make1[Hello], TypeSend: make1[Send], TypeMark: make1[Mark], TypeRead: make1[Read],
	TypeTyping: make1[Typing], TypeWatch: make1[Watch], TypeUnwatch: make1[Unwatch], TypeHistory: make1[History],
	TypeChats: make1[Chats], TypeRefresh: make1[Refresh], TypePing: make1[Ping], TypePush: make1[Push],
	TypeWelcome: make1[Welcome], TypeAccepted: make1[Accepted], TypeRefused: make1[Refused],
	TypeMessage: make1[Message], TypeCopy: make1[Copy], TypeReceipt: make1[Receipt], TypeCaughtUp: make1[CaughtUp],
	TypeTruncated: make1[Truncated], TypeTypingFrom: make1[TypingFrom], TypePresence: make1[Presence],
	TypeHistoryPage: make1[HistoryPage], TypeChatsPage: make1[ChatsPage], TypeOutcome: make1[Outcome],
	TypeRefreshed: make1[Refreshed], TypePong: make1[Pong], TypeError: make1[Error], TypeBye: make1[Bye],
	TypeDone:    make1[Done],
	TypeKeysPut: make1[KeysPut], TypeKeysGet: make1[KeysGet], TypeKeysClaim: make1[KeysClaim], TypeKeysDrop: make1[KeysDrop],
	TypeKeysStored: make1[KeysStored], TypeKeys: make1[Keys], TypeKeysClaimed: make1[KeysClaimed], TypeKeysLow: make1[KeysLow],
	TypeDevicesGet: make1[DevicesGet], TypeDeviceLabel: make1[DeviceLabel], TypeDeviceRevoke: make1[DeviceRevoke], TypeDevices: make1[Devices],
	TypeGroupGet: make1[GroupGet], TypeGroupMessage: make1[GroupMessage], TypeGroupPage: make1[GroupPage],
}

func make1[T any, P interface {
	*T
	codec
}]() codec {
	return P(new(T))
}

// other is an element that no field takes, by its first byte.
type other byte

// generic reads one element by the library: nil, bool, int64, uint64 (only over
// MaxInt64), string, []byte, []any, []pair or other.
func generic(d *msgpack.Decoder) any {
	c := try(d.PeekCode())
	switch {
	case c == nilCode:
		must(d.DecodeNil())
		return nil
	case c == trueCode || c == falseCode:
		return try(d.DecodeBool())
	case c == uint64c:
		if v := try(d.DecodeUint64()); v > math.MaxInt64 {
			return v
		} else {
			return int64(v)
		}
	case c < fixMap || c >= negFixInt || c >= uint8c && c <= int64c:
		return try(d.DecodeInt64())
	case c&0xe0 == fixStr || c >= str8 && c < array16:
		return try(d.DecodeString())
	case c >= bin8 && c <= bin8+2:
		return append([]byte{}, try(d.DecodeBytes())...)
	case c&0xf0 == fixArray || c == array16 || c == array32:
		return genericList(d, try(d.DecodeArrayLen()))
	case c&0xf0 == fixMap || c >= array32+1:
		var pairs []pair
		for range try(d.DecodeMapLen()) {
			k := generic(d)
			pairs = append(pairs, pair{k, generic(d)})
		}
		return pairs
	}
	must(d.Skip())
	return other(c)
}

type pair struct{ key, value any }

func genericList(d *msgpack.Decoder, n int) []any {
	list := []any{}
	for range n {
		list = append(list, generic(d))
	}
	return list
}

// genericPacket reads a whole packet by the library: its type and elements.
func genericPacket(b []byte) (typ any, elements []any) {
	list := generic(msgpack.NewDecoder(bytes.NewReader(b))).([]any)
	return list[0], list[1:]
}

func try[T any](v T, err error) T {
	must(err)
	return v
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// wire is what a packet's struct has to look like to generic, all its elements
// written out.
func wire(x any) []any {
	v := reflect.ValueOf(x).Elem()
	list := []any{}
	for i := range v.NumField() {
		list = append(list, wireValue(v.Field(i), fieldName(v.Type(), i)))
	}
	return list
}

// isBin are the fields of bytes that are bin; the others are names, which are str.
var isBin = map[string]bool{"content": true, "identity": true, "curve": true, "signing": true, "signature": true, "key": true, "info": true}

func wireValue(v reflect.Value, name string) any {
	switch x := v.Interface().(type) {
	case chat.ID:
		if x.Zero() {
			return nil
		}
		return x[:]
	case chat.Node:
		return x[:]
	case []byte:
		if !isBin[name] {
			return string(x)
		}
		if x == nil {
			return nil
		}
		return x
	}
	switch v.Kind() {
	case reflect.Struct:
		return wire(v.Addr().Interface())
	case reflect.Slice:
		list := []any{}
		for i := range v.Len() {
			list = append(list, wireValue(v.Index(i), ""))
		}
		return list
	case reflect.Map:
		m := map[string]uint64{}
		maps.Copy(m, v.Interface().(map[string]uint64))
		return m
	case reflect.Bool, reflect.String:
		return reflect.ValueOf(v.Interface()).Convert(map[reflect.Kind]reflect.Type{
			reflect.Bool: reflect.TypeFor[bool](), reflect.String: reflect.TypeFor[string]()}[v.Kind()]).Interface()
	case reflect.Int, reflect.Int64:
		if name == "resume" && v.Int() == ResumeCursor {
			return nil
		}
		return v.Int()
	}
	if u := v.Uint(); u > math.MaxInt64 {
		return u
	}
	return int64(v.Uint())
}

// conform is what elements are worth to a struct's type: the same as wire of
// the decoded struct, or false when one of them is not what its field takes.
func conform(t reflect.Type, elements []any) (list []any, ok bool) {
	list = wire(newOf(t))
	for i := range min(len(list), len(elements)) {
		name := fieldName(t, i)
		if elements[i] == nil {
			continue
		}
		if list[i], ok = conformValue(t.Field(i).Type, name, elements[i]); !ok {
			return nil, false
		}
	}
	return list, true
}

// newOf is what Decode starts from.
func newOf(t reflect.Type) any {
	x := reflect.New(t).Interface()
	if h, ok := x.(*Hello); ok {
		h.Resume = ResumeCursor
	}
	return x
}

func conformValue(t reflect.Type, name string, e any) (any, bool) {
	if e == nil {
		return wireValue(reflect.New(t).Elem(), name), true
	}
	switch {
	case t == reflect.TypeFor[[]byte]() && isBin[name]:
		_, ok := e.([]byte)
		return e, ok
	case t == reflect.TypeFor[[]byte](), t.Kind() == reflect.String:
		s, ok := e.(string)
		return s, ok && utf8.ValidString(s)
	case t == reflect.TypeFor[chat.ID](), t == reflect.TypeFor[chat.Node]():
		b, ok := e.([]byte)
		if ok && t.Len() == 16 && bytes.Equal(b, make([]byte, 16)) {
			return nil, true
		}
		return e, ok && len(b) == t.Len()
	case t.Kind() == reflect.Bool:
		_, ok := e.(bool)
		return e, ok
	case t.Kind() == reflect.Map:
		return conformMap(e)
	case t.Kind() == reflect.Struct:
		l, ok := e.([]any)
		if !ok {
			return nil, false
		}
		return conform(t, l)
	case t.Kind() == reflect.Slice:
		return conformSlice(t, e)
	}
	return conformInteger(t, name, e)
}

func conformSlice(t reflect.Type, e any) (any, bool) {
	l, ok := e.([]any)
	list := []any{}
	for i := 0; ok && i < len(l); i++ {
		var v any
		v, ok = conformValue(t.Elem(), "", l[i])
		list = append(list, v)
	}
	return list, ok
}

func conformMap(e any) (any, bool) {
	pairs, ok := e.([]pair)
	m := map[string]uint64{}
	for i := 0; ok && i < len(pairs); i++ {
		var k, v any
		if k, ok = conformValue(reflect.TypeFor[string](), "", pairs[i].key); ok {
			v, ok = conformValue(reflect.TypeFor[uint64](), "", pairs[i].value)
		}
		if ok {
			m[k.(string)] = asUint(v)
		}
	}
	return m, ok
}

func asUint(v any) uint64 {
	if i, ok := v.(int64); ok {
		return uint64(i)
	}
	return v.(uint64)
}

func conformInteger(t reflect.Type, name string, e any) (any, bool) {
	least, most := int64(0), uint64(math.MaxUint64)
	switch t.Kind() {
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		most = 1<<t.Bits() - 1
	case reflect.Int:
		least, most = math.MinInt32, math.MaxInt32
	case reflect.Int64:
		least, most = math.MinInt64, math.MaxInt64
	}
	if name == "resume" && t.Kind() == reflect.Int64 {
		least = ResumeNow
	}
	switch v := e.(type) {
	case int64:
		return v, v >= least && (v < 0 || uint64(v) <= most)
	case uint64:
		return v, v <= most
	}
	return nil, false
}

// fieldName is a field's name as documentation and vectors spell it.
func fieldName(t reflect.Type, i int) string {
	var b strings.Builder
	lower := false
	for _, r := range t.Field(i).Name {
		if unicode.IsUpper(r) && lower {
			b.WriteByte('_')
		}
		lower = unicode.IsLower(r)
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// encodeReference encodes a packet by the library; width picks how wide
// integers are written, 0 is the shortest form.
func encodeReference(t Type, elements []any, width int) []byte {
	var buf bytes.Buffer
	e := msgpack.NewEncoder(&buf)
	must(e.EncodeArrayLen(1 + len(elements)))
	encodeInteger(e, int64(t), width)
	for _, el := range elements {
		encodeGeneric(e, el, width)
	}
	return buf.Bytes()
}

func encodeGeneric(e *msgpack.Encoder, el any, width int) {
	switch v := el.(type) {
	case int64:
		encodeInteger(e, v, width)
	case []any:
		must(e.EncodeArrayLen(len(v)))
		for _, x := range v {
			encodeGeneric(e, x, width)
		}
	default:
		must(e.Encode(v))
	}
}

func encodeInteger(e *msgpack.Encoder, v int64, width int) {
	switch {
	case width == 1:
		must(e.EncodeInt64(v))
	case width == 2 && v >= 0:
		must(e.EncodeUint64(uint64(v)))
	case width == 3 && v >= 0 && v <= math.MaxInt32:
		must(e.EncodeInt32(int32(v)))
	case width == 4 && v >= 0 && v <= math.MaxUint16:
		must(e.EncodeUint16(uint16(v)))
	default:
		must(e.EncodeInt(v))
	}
}

func hexOf(b []byte) string { return fmt.Sprintf("%x", b) }
