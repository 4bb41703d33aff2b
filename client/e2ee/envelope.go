package e2ee

import (
	"encoding/binary"
	"errors"

	"github.com/rookery-chat/rookery/chat"
)

// The envelopes. "s" is a length of one byte and as many bytes; numbers are
// big-endian. docs/encryption.md has the same.
//
//	content of suite 1   1 version, 16 session, s device, Megolm message
//	inside it            1 version, 1 type, 16 id, s from, s device, s to, body
//	content of suite 2   1 version, s device, 16 session, 2 count, count × (1 whose, s device, 1 Olm type, 2 length, Olm message)
//	inside each          1 version, 1 kind, s from, s device, s to, s device, 32 + 32 signing keys (from, to),
//	                     s peer, 16 session, 4 index, key
const (
	version = 1

	sessionBytes = 16
	signingBytes = 32
)

// sessionID is the first half of a Megolm session's public key.
type sessionID [sessionBytes]byte

// errEnvelope says that bytes are no envelope of this version.
var errEnvelope = errors.New("no envelope of a version known here")

// sealed is the content of suite 1.
type sealed struct {
	session sessionID
	device  string // of the sender
	megolm  []byte
}

// inner is what a Megolm message holds: the body, and what binds it to its
// place.
type inner struct {
	kind             uint8
	id               chat.ID
	from, device, to string
	body             []byte
}

// share is the content of suite 2.
type share struct {
	device  string // of the sender
	session sessionID
	parts   []part
}

// part is for one device.
type part struct {
	own    bool // a device of the sender's own user
	device string
	olm    uint8
	body   []byte
}

// Kinds of what an Olm message tells.
const (
	tellKey     = 1 // a session's key, as Megolm shares it
	tellRequest = 2 // asks for one, from an index on
	tellRefusal = 3 // there is none for this device
	tellExport  = 4 // a session's key from an index on, as Megolm exports it

	tellJoin     = 16 // gives a code's secret: the key
	tellIdentity = 17 // the user's identity, as a seed: the key
	tellAsk      = 18 // asks for history
	tellHistory  = 19 // part of it: the index counts them, the key has what history.go says
)

// told is what an Olm message holds.
type told struct {
	kind             uint8
	from, fromDevice string
	to, toDevice     string
	fromKey, toKey   []byte // Ed25519 keys of the devices
	peer             string // the session's receiver
	session          sessionID
	index            uint32
	key              []byte
}

func appendString(dst []byte, s string) []byte { return append(append(dst, byte(len(s))), s...) }

// taker takes fields off; after the first short one all are empty.
type taker struct {
	rest  []byte
	short bool
}

func (t *taker) bytes(n int) []byte {
	if t.short || n > len(t.rest) {
		t.short, t.rest = true, nil
		return nil
	}
	b := t.rest[:n:n]
	t.rest = t.rest[n:]
	return b
}

func (t *taker) number(n int) (v uint32) {
	for _, b := range t.bytes(n) {
		v = v<<8 | uint32(b)
	}
	return v
}

func (t *taker) string() string { return string(t.bytes(int(t.number(1)))) }

func (t *taker) session() (s sessionID) {
	copy(s[:], t.bytes(sessionBytes))
	return s
}

// end returns errEnvelope when something was short or of another version.
func (t *taker) end(v uint32) error {
	if t.short || v != version {
		return errEnvelope
	}
	return nil
}

func (s *sealed) append(dst []byte) []byte {
	dst = append(append(dst, version), s.session[:]...)
	return append(appendString(dst, s.device), s.megolm...)
}

func parseSealed(b []byte) (s sealed, err error) {
	t := taker{rest: b}
	v := t.number(1)
	s.session, s.device = t.session(), t.string()
	s.megolm = t.rest
	return s, t.end(v)
}

func (i *inner) append(dst []byte) []byte {
	dst = append(append(dst, version, i.kind), i.id[:]...)
	dst = appendString(appendString(appendString(dst, i.from), i.device), i.to)
	return append(dst, i.body...)
}

func parseInner(b []byte) (i inner, err error) {
	t := taker{rest: b}
	v := t.number(1)
	i.kind = uint8(t.number(1))
	copy(i.id[:], t.bytes(len(i.id)))
	i.from, i.device, i.to = t.string(), t.string(), t.string()
	i.body = t.rest
	return i, t.end(v)
}

func (s *share) append(dst []byte) []byte {
	dst = append(appendString(append(dst, version), s.device), s.session[:]...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s.parts)))
	for _, p := range s.parts {
		own := byte(0)
		if p.own {
			own = 1
		}
		dst = append(appendString(append(dst, own), p.device), p.olm)
		dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(p.body))), p.body...)
	}
	return dst
}

func parseShare(b []byte) (s share, err error) {
	t := taker{rest: b}
	v := t.number(1)
	s.device, s.session = t.string(), t.session()
	for n := t.number(2); n > 0 && !t.short; n-- {
		p := part{own: t.number(1) != 0, device: t.string(), olm: uint8(t.number(1))}
		p.body = t.bytes(int(t.number(2)))
		s.parts = append(s.parts, p)
	}
	if err := t.end(v); err != nil || len(t.rest) > 0 {
		return share{}, errEnvelope
	}
	return s, nil
}

func (x *told) append(dst []byte) []byte {
	dst = append(dst, version, x.kind)
	dst = appendString(appendString(appendString(appendString(dst, x.from), x.fromDevice), x.to), x.toDevice)
	dst = append(append(dst, x.fromKey...), x.toKey...)
	dst = append(appendString(dst, x.peer), x.session[:]...)
	return append(binary.BigEndian.AppendUint32(dst, x.index), x.key...)
}

func parseTold(b []byte) (x told, err error) {
	t := taker{rest: b}
	v := t.number(1)
	x.kind = uint8(t.number(1))
	x.from, x.fromDevice, x.to, x.toDevice = t.string(), t.string(), t.string(), t.string()
	x.fromKey, x.toKey = t.bytes(signingBytes), t.bytes(signingBytes)
	x.peer, x.session, x.index = t.string(), t.session(), t.number(4)
	x.key = t.rest
	return x, t.end(v)
}
