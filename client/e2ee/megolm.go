package e2ee

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"maunium.net/go/mautrix/crypto/goolm/session"

	"github.com/rookery-chat/rookery/chat"
)

const (
	// reserveMessages is how far ahead of its use the ratchet is kept: a crash
	// leaves so many indexes out at most, and none is used twice.
	reserveMessages = 32
	// maxIndex is up to where a Megolm session is followed. Senders rotate long
	// before; it bounds what is remembered of one.
	maxIndex = 10_000
	// cachedSessions is how many inbound sessions are kept ready.
	cachedSessions = 1024
)

// outbound is the session by which this device sends to a chat.
type outbound struct {
	Pickle   []byte
	Created  int64    // ms since 1970
	Shared   bool     // the server has all key shares
	Devices  []string // whom it was shared with, in order
	Reserved uint32   // no index from here on was used
	ratchet  *session.MegolmOutboundSession
}

func newOutbound(now time.Time, devices []string) (*outbound, error) {
	s, err := session.NewMegolmOutboundSession()
	return &outbound{Created: now.UnixMilli(), Devices: devices, ratchet: s}, err
}

func loadOutbound(v *vault, peer string) (*outbound, error) {
	b := v.get("out/" + peer)
	if b == nil {
		return nil, nil
	}
	o := &outbound{}
	if err := json.Unmarshal(b, o); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	o.ratchet = &session.MegolmOutboundSession{}
	err := guard(func() error { return o.ratchet.UnpickleLibOlm(o.Pickle) })
	if o.Reserved > o.ratchet.Ratchet.Counter { // what was reserved may have been used
		o.ratchet.Ratchet.AdvanceTo(o.Reserved)
	}
	return o, err
}

// keep stores it with the indexes up to ahead of the next one reserved.
func (o *outbound) keep(v *vault, peer string, ahead uint32) {
	o.Reserved = o.index() + ahead
	o.Pickle = o.ratchet.PickleLibOlm()
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // it has nothing that cannot be written
	}
	v.set("out/"+peer, b)
}

func (o *outbound) index() uint32 { return o.ratchet.Ratchet.Counter }

func (o *outbound) id() (s sessionID) {
	copy(s[:], o.ratchet.SigningKey.PublicKey)
	return s
}

// old reports whether another session has to take its place.
func (o *outbound) old(now time.Time, opt *Options, devices []string) bool {
	return !o.Shared || o.index() >= uint32(opt.RotateMessages) || now.Sub(time.UnixMilli(o.Created)) >= opt.RotateAfter || !slices.Equal(o.Devices, devices)
}

func (o *outbound) encrypt(plain []byte) ([]byte, error) {
	if o.index() >= o.Reserved {
		return nil, errors.New("the ratchet was not kept")
	}
	body, err := o.ratchet.Encrypt(plain)
	if err != nil {
		return nil, err
	}
	return b64.DecodeString(string(body))
}

// inbound is a session by which a device sends to a chat.
type inbound struct {
	Pickle       []byte
	User, Device string
	Curve        []byte // of the device
	Peer         string // whom it sends to

	ratchet *session.MegolmInboundSession
	seen    map[uint32]seen
}

// seen is what came under an index.
type seen struct {
	id    chat.ID
	place chat.Position
}

const seenBytes = 4 + 16 + 8

// inboundSessions are the keys of all that can be read. Guarded by Client.mu.
type inboundSessions struct {
	vault  *vault
	cached map[string]*inbound
}

func inboundKey(user string, s sessionID) string { return user + "/" + hex.EncodeToString(s[:]) }

func (x *inboundSessions) get(user string, s sessionID) (*inbound, error) {
	key := inboundKey(user, s)
	if in, ok := x.cached[key]; ok {
		return in, nil
	}
	b := x.vault.get("in/" + key)
	if b == nil {
		return nil, nil
	}
	in := &inbound{ratchet: &session.MegolmInboundSession{}, seen: map[uint32]seen{}}
	err := json.Unmarshal(b, in)
	if err == nil {
		err = guard(func() error { return in.ratchet.UnpickleLibOlm(in.Pickle) })
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	for row := x.vault.get("seen/" + key); len(row) >= seenBytes; row = row[seenBytes:] {
		in.seen[binary.BigEndian.Uint32(row)] = seen{chat.ID(row[4:20]), chat.Position(binary.BigEndian.Uint64(row[20:]))}
	}
	x.cache(key, in)
	return in, nil
}

func (x *inboundSessions) cache(key string, in *inbound) {
	if len(x.cached) >= cachedSessions {
		clear(x.cached)
	}
	x.cached[key] = in
}

// put takes a session in, unless there is one that reaches as far back: the
// first one counts, whatever comes later under its name.
func (x *inboundSessions) put(d *device, peer string, s sessionID, ratchet *session.MegolmInboundSession) error {
	old, err := x.get(d.User, s)
	if err != nil || old != nil && (old.Peer != peer || old.Device != d.Device || string(old.Curve) != string(d.Curve) ||
		string(old.ratchet.SigningKey) != string(ratchet.SigningKey) || old.ratchet.FirstKnownIndex() <= ratchet.FirstKnownIndex()) {
		return err
	}
	in := &inbound{Pickle: ratchet.PickleLibOlm(), User: d.User, Device: d.Device, Curve: d.Curve, Peer: peer, ratchet: ratchet, seen: map[uint32]seen{}}
	if old != nil {
		in.seen = old.seen
	}
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	key := inboundKey(d.User, s)
	x.vault.set("in/"+key, b)
	x.cache(key, in)
	return nil
}

// parseKey reads a session's key as it travels, of the session that it says.
func parseKey(kind uint8, s sessionID, key []byte) (ratchet *session.MegolmInboundSession, err error) {
	err = guard(func() (err error) {
		if kind == tellExport {
			ratchet, err = session.NewMegolmInboundSessionFromExport([]byte(b64.EncodeToString(key)))
		} else {
			ratchet, err = session.NewMegolmInboundSession([]byte(b64.EncodeToString(key)))
		}
		return err
	})
	if err == nil && (len(ratchet.SigningKey) < sessionBytes || sessionID(ratchet.SigningKey[:sessionBytes]) != s) {
		err = errors.New("the key is of another session")
	}
	return ratchet, err
}

// export is the session's key from an index on.
func (in *inbound) export(index uint32) ([]byte, error) {
	b, err := in.ratchet.Export(max(index, in.ratchet.FirstKnownIndex()))
	if err != nil {
		return nil, err
	}
	return b64.DecodeString(string(b))
}

// open decrypts a message and judges where it stands: that its sender wrote it,
// to this chat, under this id, and that nothing else came under its index. live
// says that it is an entry of the chain, which has one place.
func (x *inboundSessions) open(in *inbound, s *sealed, m *chat.Message, live bool) (i inner, err error) {
	var plain []byte
	var index uint
	err = guard(func() (err error) {
		plain, index, err = in.ratchet.Decrypt([]byte(b64.EncodeToString(s.megolm)))
		return err
	})
	if err != nil {
		return i, fmt.Errorf("%w: %v", ErrForged, err)
	}
	if index > maxIndex {
		return i, fmt.Errorf("%w: its index is %d", ErrForged, index)
	}
	if i, err = parseInner(plain); err != nil {
		return i, err
	}
	if was, ok := in.seen[uint32(index)]; ok && (was.id != i.id || live && was.place != m.Place) {
		return i, fmt.Errorf("%w: index %d had come at %v", ErrReplayed, index, was.place)
	}
	switch {
	case i.id != m.ID:
		return i, fmt.Errorf("%w: it was sent as %s", ErrReplayed, i.id)
	case i.from != string(m.From) || i.device != in.Device || i.to != string(m.To) || in.User != string(m.From) || in.Peer != string(m.To):
		return i, fmt.Errorf("%w: %s of %s wrote it to %s", ErrMoved, i.device, i.from, i.to)
	}
	if _, ok := in.seen[uint32(index)]; !ok {
		in.seen[uint32(index)] = seen{i.id, m.Place}
		row := append(binary.BigEndian.AppendUint32(nil, uint32(index)), i.id[:]...)
		x.vault.add("seen/"+inboundKey(in.User, s.session), binary.BigEndian.AppendUint64(row, uint64(m.Place)))
	}
	return i, nil
}
