package e2ee

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/rookery-chat/rookery/chat"
)

// past is a session as another device of this user handed it over: it reads
// history, up to what that device had read, and nothing that comes. It lies beside
// the sessions that senders gave to this device, never in the place of one.
//
//	s user, s device, 32 Curve25519 key of the device, s peer, 4 until, 8 place, 2 length, key as Megolm exports it
type past struct {
	user, device string // who sends by it
	curve        []byte // of the device
	peer         string // whom it sends to
	until        uint32 // the last index that was read, or where nothing was, the first
	place        chat.Position
	key          []byte // from the first index that is known on
}

// place is the highest that was read, 0 where the device that handed the session
// over read nothing of it, or sent by it itself: then nothing is known of places.

const curveBytes = 32

func (p *past) append(dst []byte) []byte {
	dst = append(appendString(appendString(dst, p.user), p.device), p.curve...)
	dst = binary.BigEndian.AppendUint32(appendString(dst, p.peer), p.until)
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.place))
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(p.key))), p.key...)
}

// takePast takes one off. Its parts lie in t.
func takePast(t *taker) (p past) {
	p.user, p.device, p.curve = t.string(), t.string(), t.bytes(curveBytes)
	p.peer, p.until = t.string(), t.number(4)
	p.place = chat.Position(t.number(4))<<32 | chat.Position(t.number(4))
	p.key = t.bytes(int(t.number(2)))
	return p
}

// open reads the session's key, with nothing seen yet, and judges whether it can be what it
// says.
func (p *past) open() (s sessionID, in *inbound, err error) {
	ratchet, err := parseExport(p.key)
	if err == nil && (p.until > maxIndex || ratchet.FirstKnownIndex() > p.until) {
		err = fmt.Errorf("it reads from %d to %d", ratchet.FirstKnownIndex(), p.until)
	}
	if err == nil && (!chat.ValidUserName([]byte(p.user)) || !chat.ValidPeerName([]byte(p.peer)) || p.device == "") {
		err = errors.New("names that are none")
	}
	if err != nil {
		return s, nil, err
	}
	copy(s[:], ratchet.SigningKey)
	return s, &inbound{User: p.user, Device: p.device, Curve: p.curve, Peer: p.peer, ratchet: ratchet}, nil
}

// chatOf is with whom the chat is that a session writes to, for a user.
func chatOf(user, from, peer string) string {
	if from == user || chat.User(peer).IsGroup() {
		return peer
	}
	return from
}

func pastKey(key string) string { return "old/" + key }

// past returns a session that was handed over, nil for none: also where this
// device got one from its sender that contradicts it.
func (x *inboundSessions) past(user string, s sessionID) (*past, *inbound, error) {
	key := inboundKey(user, s)
	b := x.vault.get(pastKey(key))
	if b == nil {
		return nil, nil, nil
	}
	t := taker{rest: b}
	p := takePast(&t)
	_, old, err := p.open()
	if t.short || err != nil {
		return nil, nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	in, err := x.get(user, s)
	switch {
	case err != nil:
		return nil, nil, err
	case in == nil:
		old.seen = x.seenOf(key)
	case !in.same(old):
		return nil, nil, nil
	default:
		old.seen = in.seen
	}
	return &p, old, nil
}

// same reports whether two are of one session of one device to one chat.
func (in *inbound) same(other *inbound) bool {
	return in.User == other.User && in.Device == other.Device && string(in.Curve) == string(other.Curve) && in.Peer == other.Peer &&
		string(in.ratchet.SigningKey) == string(other.ratchet.SigningKey)
}

// putPast takes a session in that was handed over, unless what there is reads as
// much. new says that there was no row of it.
func (x *inboundSessions) putPast(p *past) (added bool, err error) {
	s, fresh, err := p.open()
	if err != nil {
		return false, err
	}
	in, err := x.get(p.user, s)
	if err != nil {
		return false, err
	}
	if in != nil && (!in.same(fresh) || in.ratchet.FirstKnownIndex() <= fresh.ratchet.FirstKnownIndex()) {
		return false, nil
	}
	old, has, err := x.past(p.user, s)
	if err != nil {
		return false, err
	}
	if old != nil && (!has.same(fresh) || has.ratchet.FirstKnownIndex() < fresh.ratchet.FirstKnownIndex() || old.until > p.until) {
		return false, nil
	}
	x.vault.set(pastKey(inboundKey(p.user, s)), p.append(nil))
	return old == nil, nil
}

// again reports whether a message that comes at a place is one that the other
// device had seen, at another place.
func (p *past) again(s *sealed, place chat.Position) bool {
	index, ok := indexOf(s.megolm)
	return ok && p.place != 0 && index <= p.until && place > p.place
}

// reads reports whether a message of history may be read by the session: of a
// group what the other device had read, for who sent it may have left since.
func (p *past) reads(old *inbound, s *sealed) bool {
	index, ok := indexOf(s.megolm)
	return ok && index >= old.ratchet.FirstKnownIndex() && (index <= p.until || !chat.User(p.peer).IsGroup())
}
