package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// Packet types (docs/protocol.md section 13).
const (
	typeHello, typeSend, typeMark, typeRead, typePing = 1, 2, 3, 4, 11

	typeWelcome, typeAccepted, typeRefused, typeMessage, typeCopy = 32, 33, 34, 35, 36
	typeReceipt, typeCaughtUp, typeTruncated                      = 37, 38, 39
	typeOutcome, typeError, typeBye, typeGroupMessage             = 44, 47, 48, 54
)

// fields is one decoded packet, its type at 0. Elements that are not there read
// as zero. Bytes lie in the message.
type fields []field

// field is an element: a number, a text, bytes, or something that no packet has
// where the checker looks.
type field struct {
	kind  fieldKind
	n     uint64
	bytes []byte
}

type fieldKind uint8

const (
	fieldOther fieldKind = iota
	fieldNumber
	fieldText
	fieldBytes
)

func (f fields) of(i int, kind fieldKind) (v field) {
	if i < len(f) && f[i].kind == kind {
		v = f[i]
	}
	return v
}

func (f fields) uint(i int) uint64 { return f.of(i, fieldNumber).n }
func (f fields) str(i int) string  { return string(f.of(i, fieldText).bytes) }
func (f fields) bin(i int) []byte  { return f.of(i, fieldBytes).bytes }
func (f fields) id(i int) (id msgID) {
	copy(id[:], f.bin(i))
	return id
}

// decode splits a WebSocket message into packets.
func decode(msg []byte) (all []fields, err error) {
	for len(msg) > 0 {
		var f fields
		if f, msg, err = decodeOne(msg, nil); err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

var errPacket = errors.New("a message is no sequence of packets, which are arrays with a type")

// decodeOne takes the first packet off a message, into the memory of one before.
func decodeOne(msg []byte, dst fields) (f fields, rest []byte, err error) {
	d := decoder{rest: msg}
	n, ok := d.array()
	if !ok || n == 0 {
		return nil, nil, errPacket
	}
	for f = dst[:0]; n > 0; n-- {
		f = append(f, d.value(0))
	}
	if d.short {
		return nil, nil, errPacket
	}
	return f, d.rest, nil
}

// decoder takes MessagePack apart. It takes a million packets a second, of which
// a decoder that works by reflection does not do a third.
type decoder struct {
	rest  []byte
	short bool // it ended in the middle, or has what it must not
}

// take returns the next n bytes.
func (d *decoder) take(n uint64) (b []byte) {
	if n > uint64(len(d.rest)) {
		d.short, d.rest = true, nil
		return nil
	}
	b, d.rest = d.rest[:n], d.rest[n:]
	return b
}

// number is one of 1, 2, 4 or 8 bytes.
func (d *decoder) number(bytes uint64) (n uint64) {
	for _, b := range d.take(bytes) {
		n = n<<8 | uint64(b)
	}
	return n
}

func (d *decoder) array() (n uint64, ok bool) {
	switch c := d.number(1); {
	case c>>4 == 0x9:
		return c & 0xf, !d.short
	case c == 0xdc:
		return d.number(2), !d.short
	case c == 0xdd:
		return d.number(4), !d.short
	}
	return 0, false
}

// deepest is how far arrays and maps may lie in each other.
const deepest = 8

// value takes an element of any kind. depth is how deep it lies.
func (d *decoder) value(depth int) field {
	c := d.number(1)
	switch {
	case d.short:
	case c < 0x80:
		return field{kind: fieldNumber, n: c}
	case c>>5 == 0x5:
		return field{kind: fieldText, bytes: d.take(c & 0x1f)}
	case c >= 0xe0:
		return field{kind: fieldNumber, n: uint64(int64(int8(c)))}
	case c>>4 == 0x8:
		d.skip(2*(c&0xf), depth)
	case c>>4 == 0x9:
		d.skip(c&0xf, depth)
	case 0xc4 <= c && c <= 0xc6:
		return field{kind: fieldBytes, bytes: d.take(d.number(1 << (c - 0xc4)))}
	case 0xcc <= c && c <= 0xcf:
		return field{kind: fieldNumber, n: d.number(1 << (c - 0xcc))}
	case 0xd0 <= c && c <= 0xd3:
		bytes := uint64(1) << (c - 0xd0)
		at := 64 - 8*bytes
		return field{kind: fieldNumber, n: uint64(int64(d.number(bytes)<<at) >> at)}
	case 0xd9 <= c && c <= 0xdb:
		return field{kind: fieldText, bytes: d.take(d.number(1 << (c - 0xd9)))}
	case c == 0xdc, c == 0xdd:
		d.skip(d.number(2<<(c-0xdc)), depth)
	case c == 0xde, c == 0xdf:
		d.skip(2*d.number(2<<(c-0xde)), depth)
	case c == 0xca, c == 0xcb:
		d.take(4 << (c - 0xca))
	case c == 0xc0, c == 0xc2, c == 0xc3:
	default: // extensions are in no packet
		d.short = true
	}
	return field{}
}

// skip passes over the elements of an array or map.
func (d *decoder) skip(n uint64, depth int) {
	if depth == deepest {
		d.short = true
	}
	for ; n > 0 && !d.short; n-- {
		d.value(depth + 1)
	}
}

// encode makes a packet of elements.
func encode(elements ...any) []byte {
	b, err := msgpack.Marshal(elements)
	if err != nil {
		panic(err)
	}
	return b
}

// timeID makes a message id (section 4.2).
func timeID(ticks uint64, seq uint16, node []byte) (id [16]byte) {
	binary.BigEndian.PutUint32(id[0:], uint32(ticks))
	binary.BigEndian.PutUint16(id[4:], uint16(ticks>>32))
	binary.BigEndian.PutUint16(id[6:], uint16(ticks>>48)&0x0fff|0x1000)
	binary.BigEndian.PutUint16(id[8:], seq&0x3fff|0x8000)
	copy(id[10:], node)
	return id
}

func ticksOf(t time.Time) uint64 { return uint64(t.UnixNano())/100 + 0x01b21dd213814000 }

// signer makes tokens with the development key of a data folder.
type signer struct{ key ed25519.PrivateKey }

func loadSigner(data string) (*signer, error) {
	b, err := os.ReadFile(filepath.Join(data, "dev-key.json"))
	if err != nil {
		return nil, err
	}
	var f struct{ Private string }
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	seed, err := base64.RawURLEncoding.DecodeString(f.Private)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("dev-key.json: the seed has %d bytes: %v", len(seed), err)
	}
	return &signer{ed25519.NewKeyFromSeed(seed)}, nil
}

func (s *signer) token(user string) string {
	now := time.Now().Unix()
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","typ":"JWT","kid":"dev"}`))
	body := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"sub":%q,"iat":%d,"exp":%d}`, user, now, now+86400))
	sig := ed25519.Sign(s.key, []byte(head+"."+body))
	return head + "." + body + "." + base64.RawURLEncoding.EncodeToString(sig)
}
