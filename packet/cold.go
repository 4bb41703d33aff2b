package packet

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"

	"github.com/rookery-chat/rookery/chat"
)

// The packets that only requests and beginnings cost go through the msgpack
// library, element by element: its own as_array refuses arrays of another
// length, which the evolution of the protocol needs, and it is lax about signs,
// widths and the difference of str and bin, which decodeField is not.

// row is a struct whose fields travel as the elements of an array.
type row interface {
	fields() []any // pointers to the fields, in the order of the wire
}

// resume is Hello's position with nil for ResumeCursor.
type resume int64

// appendCold appends a packet.
func appendCold(dst []byte, t Type, x row) []byte {
	buf := bytes.NewBuffer(dst)
	e := msgpack.GetEncoder()
	defer msgpack.PutEncoder(e)
	e.Reset(buf)
	e.UseCompactInts(true)
	fields := x.fields()
	err := errors.Join(e.EncodeArrayLen(1+len(fields)), e.EncodeUint(uint64(t)), encodeFields(e, fields))
	if err != nil {
		panic(err) // memory takes everything: a field has a type that has no codec
	}
	return buf.Bytes()
}

func encodeFields(e *msgpack.Encoder, fields []any) error {
	for _, f := range fields {
		if err := encodeField(e, f); err != nil {
			return err
		}
	}
	return nil
}

func encodeField(e *msgpack.Encoder, f any) error {
	switch f := f.(type) {
	case row:
		return encodeRow(e, f)
	case *[]Row:
		return encodeRows(e, len(*f), func(i int) row { return &(*f)[i] })
	case *[]ChatRow:
		return encodeRows(e, len(*f), func(i int) row { return &(*f)[i] })
	case *[]PreKey:
		return encodeRows(e, len(*f), func(i int) row { return &(*f)[i] })
	case *[]DeviceRef:
		return encodeRows(e, len(*f), func(i int) row { return &(*f)[i] })
	case *[]DeviceKeys:
		return encodeRows(e, len(*f), func(i int) row { return &(*f)[i] })
	case *[]UserKeys:
		return encodeRows(e, len(*f), func(i int) row { return &(*f)[i] })
	case *[]ClaimedKey:
		return encodeRows(e, len(*f), func(i int) row { return &(*f)[i] })
	case *[]OwnDevice:
		return encodeRows(e, len(*f), func(i int) row { return &(*f)[i] })
	case *[]MemberRow:
		return encodeRows(e, len(*f), func(i int) row { return &(*f)[i] })
	case *map[string]uint64:
		return encodeLimits(e, *f)
	case *resume:
		if *f == ResumeCursor {
			return e.EncodeNil()
		}
	case *chat.ID:
		if f.Zero() {
			return e.EncodeNil()
		}
	}
	return e.Encode(f)
}

func encodeRow(e *msgpack.Encoder, x row) error {
	fields := x.fields()
	if err := e.EncodeArrayLen(len(fields)); err != nil {
		return err
	}
	return encodeFields(e, fields)
}

func encodeRows(e *msgpack.Encoder, n int, at func(int) row) error {
	if err := e.EncodeArrayLen(n); err != nil {
		return err
	}
	for i := range n {
		if err := encodeRow(e, at(i)); err != nil {
			return err
		}
	}
	return nil
}

// encodeLimits writes the keys in order, so that equal packets have equal bytes.
func encodeLimits(e *msgpack.Encoder, m map[string]uint64) error {
	if err := e.EncodeMapLen(len(m)); err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if err := errors.Join(e.EncodeString(k), e.EncodeUint(m[k])); err != nil {
			return err
		}
	}
	return nil
}

// EncodeLimits encodes limits for Welcome.AppendWith.
func EncodeLimits(limits map[string]uint64) []byte {
	var b bytes.Buffer
	e := msgpack.NewEncoder(&b)
	e.UseCompactInts(true)
	if err := encodeLimits(e, limits); err != nil {
		panic(err) // memory takes everything
	}
	return b.Bytes()
}

// decodeCold reads a packet. Fields whose element is absent are left alone. The
// error is CodeBadPacket.
func decodeCold(p Raw, t Type, x row) error {
	if p.Type != t {
		return p.fault(t)
	}
	d := msgpack.GetDecoder()
	defer msgpack.PutDecoder(d)
	d.Reset(bytes.NewReader(p.Body))
	if i, err := decodeFields(d, p.Count, x.fields()); err != nil {
		return chat.Errorf(chat.CodeBadPacket, "element %d of a %s: %v", i+1, t, err)
	}
	return nil
}

// decodeFields reads count elements into fields; i is where it stopped. More
// elements than fields belong to a later version and are skipped: Next has
// bounded their depth and number.
func decodeFields(d *msgpack.Decoder, count int, fields []any) (i int, err error) {
	for i = range count {
		if i < len(fields) {
			err = decodeField(d, fields[i])
		} else {
			err = d.Skip()
		}
		if err != nil {
			return i, err
		}
	}
	return count, nil
}

// decodeField reads one element into what f points to; nil leaves it alone.
func decodeField(d *msgpack.Decoder, f any) error {
	c, err := d.PeekCode()
	if err != nil {
		return err
	}
	if c == msgpcode.Nil {
		return d.DecodeNil()
	}
	switch f := f.(type) {
	case *bool:
		*f, err = d.DecodeBool()
	case *string:
		*f, err = decodeString(d, c)
	case *[]byte:
		*f, err = decodeBin(d, c)
	case *chat.ID:
		err = decodeBinInto(d, c, f[:])
	case *chat.Node:
		err = decodeBinInto(d, c, f[:])
	case *map[string]uint64:
		*f, err = decodeLimits(d)
	case *[]string:
		err = decodeArray(d, func() error { return decodeElement(d, f) })
	case *[]Row:
		err = decodeArray(d, func() error { return decodeElement(d, f) })
	case *[]ChatRow:
		err = decodeArray(d, func() error { return decodeElement(d, f) })
	case *[]PreKey:
		err = decodeArray(d, func() error { return decodeElement(d, f) })
	case *[]DeviceRef:
		err = decodeArray(d, func() error { return decodeElement(d, f) })
	case *[]DeviceKeys:
		err = decodeArray(d, func() error { return decodeElement(d, f) })
	case *[]UserKeys:
		err = decodeArray(d, func() error { return decodeElement(d, f) })
	case *[]ClaimedKey:
		err = decodeArray(d, func() error { return decodeElement(d, f) })
	case *[]OwnDevice:
		err = decodeArray(d, func() error { return decodeElement(d, f) })
	case *[]MemberRow:
		err = decodeArray(d, func() error { return decodeElement(d, f) })
	case row:
		err = decodeRow(d, f)
	default:
		err = decodeInteger(d, c, f)
	}
	return err
}

// decodeElement appends one element to a slice, which so grows only as fast as
// bytes arrive.
func decodeElement[T any](d *msgpack.Decoder, to *[]T) error {
	var zero T
	*to = append(*to, zero)
	return decodeField(d, &(*to)[len(*to)-1])
}

func decodeArray(d *msgpack.Decoder, element func() error) error {
	n, err := d.DecodeArrayLen()
	for ; n > 0 && err == nil; n-- {
		err = element()
	}
	return err
}

func decodeRow(d *msgpack.Decoder, x row) error {
	n, err := d.DecodeArrayLen()
	if err == nil {
		_, err = decodeFields(d, n, x.fields())
	}
	return err
}

func decodeLimits(d *msgpack.Decoder) (map[string]uint64, error) {
	n, err := d.DecodeMapLen()
	m := map[string]uint64{}
	for ; n > 0 && err == nil; n-- {
		var k string
		var v uint64
		if err = decodeField(d, &k); err == nil {
			err = decodeField(d, &v)
		}
		m[k] = v
	}
	return m, err
}

func decodeString(d *msgpack.Decoder, c byte) (string, error) {
	if !msgpcode.IsString(c) {
		return "", fmt.Errorf("no str (code %#x)", c)
	}
	s, err := d.DecodeString()
	if err == nil && !utf8.ValidString(s) {
		err = errors.New("not UTF-8")
	}
	return s, err
}

func decodeBin(d *msgpack.Decoder, c byte) ([]byte, error) {
	if !msgpcode.IsBin(c) {
		return nil, fmt.Errorf("no bin (code %#x)", c)
	}
	return d.DecodeBytes()
}

func decodeBinInto(d *msgpack.Decoder, c byte, to []byte) error {
	b, err := decodeBin(d, c)
	if err == nil && len(b) != len(to) {
		err = fmt.Errorf("%d bytes for %d", len(b), len(to))
	}
	copy(to, b)
	return err
}

// decodeInteger reads an integer of any width and checks that the field holds it.
func decodeInteger(d *msgpack.Decoder, c byte, f any) error {
	v, err := integer(d, c)
	if err != nil {
		return err
	}
	switch f := f.(type) {
	case *uint8:
		*f, err = within[uint8](v, 0, math.MaxUint8)
	case *uint16:
		*f, err = within[uint16](v, 0, math.MaxUint16)
	case *chat.Code:
		*f, err = within[chat.Code](v, 0, math.MaxUint16)
	case *int:
		*f, err = within[int](v, math.MinInt32, math.MaxInt32)
	case *int64:
		*f, err = within[int64](v, math.MinInt64, math.MaxInt64)
	case *resume:
		*f, err = within[resume](v, ResumeNow, math.MaxInt64)
	case *uint64:
		*f, err = unsigned(v)
	case *chat.Position:
		var u uint64
		u, err = unsigned(v)
		*f = chat.Position(u)
	default:
		err = fmt.Errorf("packet: no codec for %T", f)
	}
	return err
}

// number is an integer of 64 bits and a sign: big means that the value is
// uint64(low), too large for an int64.
type number struct {
	low int64
	big bool
}

func integer(d *msgpack.Decoder, c byte) (number, error) {
	if !msgpcode.IsFixedNum(c) && (c < msgpcode.Uint8 || c > msgpcode.Int64) {
		return number{}, fmt.Errorf("no integer (code %#x)", c)
	}
	v, err := d.DecodeInt64()
	return number{v, v < 0 && c == msgpcode.Uint64}, err
}

func unsigned(v number) (uint64, error) {
	if v.low < 0 && !v.big {
		return 0, fmt.Errorf("%d is negative", v.low)
	}
	return uint64(v.low), nil
}

func within[T ~int | ~int64 | ~uint8 | ~uint16](v number, least, most int64) (T, error) {
	if v.big || v.low < least || v.low > most {
		return 0, fmt.Errorf("an integer is not in %d to %d", least, most)
	}
	return T(v.low), nil
}
