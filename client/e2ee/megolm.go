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
	// unusedSessions bounds the sessions that one user has shared and that no
	// message has come of: a share shows nothing, and anybody may send one.
	unusedSessions = 1024
)

// outbound is the session by which this device sends to a chat.
type outbound struct {
	Pickle   []byte
	Created  int64     // ms since 1970
	Shared   bool      // the server has all key shares
	Devices  []string  // whom it was shared with, in order
	Previous sessionID // the one before it
	Reserved uint32    // no index from here on was used
	ratchet  *session.MegolmOutboundSession
	changes  uint64 // of the machine, when Devices was last compared
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
	return o.used(now, opt) || !slices.Equal(o.Devices, devices)
}

// used reports whether it has been used for long enough, or is not everybody's.
func (o *outbound) used(now time.Time, opt *Options) bool {
	return !o.Shared || o.index() >= uint32(opt.RotateMessages) || now.Sub(time.UnixMilli(o.Created)) >= opt.RotateAfter
}

// grown returns the devices that are new, and whether all others are still there:
// then they need no other session than this, from here on.
func (o *outbound) grown(devices []string) (added []string, ok bool) {
	left := o.Devices
	for _, d := range devices { // both are sorted
		if len(left) > 0 && left[0] == d {
			left = left[1:]
			continue
		}
		added = append(added, d)
	}
	return added, len(left) == 0
}

// key is the session's key from its next index on.
func (o *outbound) key() ([]byte, error) {
	key, err := o.ratchet.SessionSharingMessage()
	if err != nil {
		return nil, err
	}
	return b64.DecodeString(string(key))
}

// readers are the users that have a session of this device's to a group, each
// from an index on.
type readers map[string]uint32

func readersKey(s sessionID) string { return "readers/" + hex.EncodeToString(s[:]) }

func (c *Machine) readersOf(s sessionID) (r readers, err error) {
	if b := c.vault.get(readersKey(s)); b != nil {
		if err = json.Unmarshal(b, &r); err != nil {
			return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
		}
	}
	return r, nil
}

func (c *Machine) keepReaders(s sessionID, r readers) {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // it has nothing that cannot be written
	}
	c.vault.set(readersKey(s), b)
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
	in := &inbound{ratchet: &session.MegolmInboundSession{}}
	err := json.Unmarshal(b, in)
	if err == nil {
		err = guard(func() error { return in.ratchet.UnpickleLibOlm(in.Pickle) })
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	in.seen = x.seenOf(key)
	x.cache(key, in)
	return in, nil
}

// seenOf is what has come under the indexes of a session.
func (x *inboundSessions) seenOf(key string) map[uint32]seen {
	all := map[uint32]seen{}
	for row := x.vault.get("seen/" + key); len(row) >= seenBytes; row = row[seenBytes:] {
		all[binary.BigEndian.Uint32(row)] = seen{chat.ID(row[4:20]), chat.Position(binary.BigEndian.Uint64(row[20:]))}
	}
	return all
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
	key := inboundKey(d.User, s)
	in := &inbound{Pickle: ratchet.PickleLibOlm(), User: d.User, Device: d.Device, Curve: d.Curve, Peer: peer, ratchet: ratchet}
	if old != nil {
		in.seen = old.seen
	} else {
		in.seen = x.seenOf(key) // what was read of it as it was handed over
	}
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	x.vault.set("in/"+key, b)
	x.cache(key, in)
	return nil
}

func unusedKey(user string) string { return "unused/" + user }

// shared notes that a session has come and no message of it. Of too many the
// older half is forgotten: a message that comes after all has its key asked for.
func (x *inboundSessions) shared(user string, s sessionID) {
	x.vault.add(unusedKey(user), s[:])
	all := x.vault.get(unusedKey(user))
	if len(all) <= unusedSessions*sessionBytes {
		return
	}
	half := unusedSessions / 2 * sessionBytes
	for row := all[:half]; len(row) > 0; row = row[sessionBytes:] {
		key := inboundKey(user, sessionID(row[:sessionBytes]))
		x.vault.drop("in/" + key)
		delete(x.cached, key)
	}
	x.vault.set(unusedKey(user), all[half:])
}

// used notes that a message of a session has come.
func (x *inboundSessions) used(user string, s sessionID) {
	all := x.vault.get(unusedKey(user))
	for at := 0; at < len(all); at += sessionBytes {
		if sessionID(all[at:at+sessionBytes]) == s {
			x.vault.set(unusedKey(user), slices.Concat(all[:at], all[at+sessionBytes:]))
			return
		}
	}
}

// parseKey reads a session's key as it travels, of the session that it says.
func parseKey(kind uint8, s sessionID, key []byte) (ratchet *session.MegolmInboundSession, err error) {
	if kind == tellExport {
		ratchet, err = parseExport(key)
	} else {
		err = guard(func() error {
			ratchet, err = session.NewMegolmInboundSession([]byte(b64.EncodeToString(key)))
			return err
		})
	}
	if err == nil && (len(ratchet.SigningKey) < sessionBytes || sessionID(ratchet.SigningKey[:sessionBytes]) != s) {
		err = errors.New("the key is of another session")
	}
	return ratchet, err
}

// parseExport reads a session's key as Megolm exports it.
func parseExport(key []byte) (ratchet *session.MegolmInboundSession, err error) {
	err = guard(func() error {
		ratchet, err = session.NewMegolmInboundSessionFromExport([]byte(b64.EncodeToString(key)))
		return err
	})
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
	x.note(in, s.session, uint32(index), seen{i.id, m.Place})
	return i, nil
}

// note remembers what came under an index first.
func (x *inboundSessions) note(in *inbound, s sessionID, index uint32, what seen) {
	if _, ok := in.seen[index]; ok {
		return
	}
	if len(in.seen) == 0 {
		x.used(in.User, s)
	}
	in.seen[index] = what
	row := append(binary.BigEndian.AppendUint32(nil, index), what.id[:]...)
	x.vault.add("seen/"+inboundKey(in.User, s), binary.BigEndian.AppendUint64(row, uint64(what.place)))
}

// place notes where a message of this device came to lie, and reports whether it
// is one of the session's.
func (x *inboundSessions) place(in *inbound, s sessionID, id chat.ID, place chat.Position) bool {
	for index, was := range in.seen {
		if was.id == id {
			delete(in.seen, index)
			x.note(in, s, index, seen{id, place})
			return true
		}
	}
	return false
}

// indexOf reads the index of a Megolm message, which stands in it in the clear:
// a version and the first field of a protocol buffer.
func indexOf(megolm []byte) (index uint32, ok bool) {
	if len(megolm) < 3 || megolm[0] != 3 || megolm[1] != 0x08 {
		return 0, false
	}
	v, n := binary.Uvarint(megolm[2:])
	return uint32(v), n > 0 && v <= maxIndex
}

// lacks reports whether a message is from before what this key reads.
func (in *inbound) lacks(s *sealed) bool {
	index, ok := indexOf(s.megolm)
	return ok && index < in.ratchet.FirstKnownIndex()
}

// after is the first index that came at a place above one.
func (in *inbound) after(place chat.Position) (index uint32, ok bool) {
	for i, s := range in.seen {
		if s.place > place && (!ok || i < index) {
			index, ok = i, true
		}
	}
	return index, ok
}
