package e2ee

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/pubkey"
)

// What a device hands over of history goes in parts, each whole in itself:
//
//	1 flags (1: the last), entries of 1 kind, 2 length, and
//	  kind 1, an identity   s user, 32 Ed25519, 1 whether its safety number was compared
//	  kind 2, a group       s group, 8 place, name and picture as in a message of TypeGroupInfo
//	  kind 3, a session     as in past.go
//	  kind 4, a timer       s user or group, 16 id of the message that set it, 4 seconds
//
// Of another kind is what a later version says; it is passed over.
const (
	archiveLast = 1

	entryIdentity = 1
	entryGroup    = 2
	entrySession  = 3
	entryTimer    = 4
)

// Bounds of what is handed over. The newest sessions go; a session is of a
// hundred messages, mostly.
const (
	archiveSessions   = 10_000
	archiveIdentities = 10_000
	archiveGroups     = 1_000
	archiveTimers     = 10_000
	// archivePart is how many bytes the entries of a part have at most: like a
	// key share it stays well below the least content a server takes.
	archivePart = 16 << 10
)

// identityEntry is the identity of a user, as the other device has pinned it.
type identityEntry struct {
	user     string
	identity []byte
	verified bool
}

// groupEntry is the name and picture of a group, as of a place.
type groupEntry struct {
	group string
	at    chat.Position
	info  GroupInfo
}

// archive is what a part has.
type archive struct {
	last       bool
	identities []identityEntry
	groups     []groupEntry
	timers     []timerEntry
	sessions   []past
}

// packer makes parts of entries.
type packer struct{ parts [][]byte }

func (p *packer) add(kind byte, body []byte) {
	if len(body) > archivePart-3 {
		return // no entry is that large, but for a group's picture, which is left out before
	}
	n := len(p.parts)
	if n == 0 || len(p.parts[n-1])-1+3+len(body) > archivePart {
		p.parts = append(p.parts, make([]byte, 1, archivePart+1)) // its flags
		n++
	}
	part := binary.BigEndian.AppendUint16(append(p.parts[n-1], kind), uint16(len(body)))
	p.parts[n-1] = append(part, body...)
}

// end returns the parts, of which there is one at least.
func (p *packer) end() [][]byte {
	if len(p.parts) == 0 {
		p.parts = [][]byte{{0}}
	}
	p.parts[len(p.parts)-1][0] |= archiveLast
	return p.parts
}

// pack is all that this device can hand over, but for some chats. It takes what
// the vault has; c.mu need not be held.
func (c *Machine) pack(without []string) (parts [][]byte, sessions int, err error) {
	var p packer
	out := map[string]bool{}
	for _, with := range without {
		out[with] = true
	}
	if err := c.packIdentities(&p, out); err != nil {
		return nil, 0, err
	}
	if err := c.packGroups(&p, out); err != nil {
		return nil, 0, err
	}
	timers, err := c.timers(out)
	if err != nil {
		return nil, 0, err
	}
	for i := range timers {
		p.add(entryTimer, timers[i].append(nil))
	}
	all, err := c.pasts(out)
	for i := range all {
		p.add(entrySession, all[i].append(nil))
	}
	return p.end(), len(all), err
}

func (c *Machine) packIdentities(p *packer, out map[string]bool) error {
	n := 0
	for _, key := range c.vault.keys("peer/") {
		user := strings.TrimPrefix(key, "peer/")
		var known peer
		if err := json.Unmarshal(c.vault.get(key), &known); err != nil {
			return fmt.Errorf("%w: %v", ErrDamaged, err)
		}
		if known.Identity == nil || user == c.user || out[user] || n == archiveIdentities {
			continue
		}
		n++
		verified := byte(0)
		if known.Verified {
			verified = 1
		}
		p.add(entryIdentity, append(append(appendString(nil, user), known.Identity...), verified))
	}
	return nil
}

func (c *Machine) packGroups(p *packer, out map[string]bool) error {
	n := 0
	for _, key := range c.vault.keys(rosterKey("")) {
		group := strings.TrimPrefix(key, rosterKey(""))
		var r roster
		if err := json.Unmarshal(c.vault.get(key), &r); err != nil {
			return fmt.Errorf("%w: %v", ErrDamaged, err)
		}
		if r.Info == nil || out[group] || n == archiveGroups {
			continue
		}
		n++
		info := *r.Info
		body, err := info.Body()
		if err == nil && len(body) > archivePart/2 {
			info.Picture = nil
			body, err = info.Body()
		}
		if err != nil {
			return err
		}
		p.add(entryGroup, append(binary.BigEndian.AppendUint64(appendString(nil, group), uint64(r.InfoAt)), body...))
	}
	return nil
}

// pasts are the sessions that history can be read by, those whose messages are the
// newest first.
func (c *Machine) pasts(out map[string]bool) ([]past, error) {
	type dated struct {
		past
		at uint64 // of the newest message that was read, in ticks
	}
	var all []dated
	keys := c.vault.keys("in/")
	for i := range keys {
		keys[i] = strings.TrimPrefix(keys[i], "in/")
	}
	for _, key := range c.vault.keys(pastKey("")) {
		keys = append(keys, strings.TrimPrefix(key, pastKey("")))
	}
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		p, at, err := c.pastOf(key)
		if err != nil {
			return nil, err
		}
		if p != nil && !out[chatOf(c.user, p.user, p.peer)] {
			all = append(all, dated{*p, at})
		}
	}
	slices.SortStableFunc(all, func(a, b dated) int { return cmp.Compare(b.at, a.at) })
	sessions := make([]past, 0, min(len(all), archiveSessions))
	for i := range all[:cap(sessions)] {
		sessions = append(sessions, all[i].past)
	}
	return sessions, nil
}

// pastOf is a session as it is handed over, nil where nothing can be read by it, and
// when its newest message was sent that was read. What a sender gave to this device and what
// another device handed to it are taken together.
func (c *Machine) pastOf(key string) (p *past, at uint64, err error) {
	user, name, _ := strings.Cut(key, "/")
	var s sessionID
	if _, err := hex.Decode(s[:], []byte(name)); err != nil {
		return nil, 0, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	x := inboundSessions{vault: c.vault, cached: map[string]*inbound{}} // not the machine's, which others use meanwhile
	in, err := x.get(user, s)
	if err != nil {
		return nil, 0, err
	}
	old, has, err := x.past(user, s)
	if err != nil {
		return nil, 0, err
	}
	var newest chat.Position
	until, read := uint32(0), false
	for index, was := range x.seenOf(key) {
		until, read = max(until, index), true
		newest, at = max(newest, was.place), max(at, was.id.Ticks())
	}
	if in == nil {
		return old, at, nil
	}
	if user == c.user && in.Device == c.device {
		until, read, newest = maxIndex, true, 0
		if at == 0 {
			at = math.MaxUint64 // nothing is known of when
		}
	}
	if old != nil {
		until, newest, read = max(until, old.until), max(newest, old.place), true
	}
	if first := in.ratchet.FirstKnownIndex(); !read && !chat.User(in.Peer).IsGroup() {
		until, newest, at = first, 0, math.MaxUint64 // its messages wait, mostly
	} else if !read || first > until && old == nil {
		return nil, 0, nil
	}
	if old != nil && has.ratchet.FirstKnownIndex() < in.ratchet.FirstKnownIndex() {
		in = has
	}
	p = &past{user: user, device: in.Device, curve: in.Curve, peer: in.Peer, until: until, place: newest}
	err = guard(func() error {
		p.key, err = in.export(0)
		return err
	})
	return p, at, err
}

// parseArchive reads a part, whole, and judges what can be judged of it alone.
func parseArchive(b []byte) (a archive, err error) {
	t := taker{rest: b}
	a.last = t.number(1)&archiveLast != 0
	for len(t.rest) > 0 && !t.short {
		kind := t.number(1)
		e := taker{rest: t.bytes(int(t.number(2)))}
		if t.short {
			break
		}
		switch kind {
		case entryIdentity:
			i := identityEntry{user: e.string(), identity: e.bytes(signingBytes), verified: e.number(1) != 0}
			if err = pubkey.CheckEd25519(i.identity); err == nil && !chat.ValidUserName([]byte(i.user)) {
				err = errEnvelope
			}
			a.identities = append(a.identities, i)
		case entryGroup:
			g := groupEntry{group: e.string(), at: chat.Position(e.number(4))<<32 | chat.Position(e.number(4))}
			if err = json.Unmarshal(e.rest, &g.info); err == nil && !chat.ValidGroupName([]byte(g.group)) {
				err = errEnvelope
			}
			a.groups = append(a.groups, g)
			e.rest = nil
		case entryTimer:
			x := timerEntry{with: e.string()}
			copy(x.ID[:], e.bytes(len(x.ID)))
			x.Seconds = e.number(4)
			_, err = chat.NewPeer("", x.with)
			a.timers = append(a.timers, x)
		case entrySession:
			p := takePast(&e)
			_, _, err = p.open()
			a.sessions = append(a.sessions, p)
		default:
			e.rest = nil
		}
		if err != nil || e.short || len(e.rest) > 0 {
			return archive{}, fmt.Errorf("%w: an entry of kind %d: %v", errEnvelope, kind, err)
		}
	}
	return a, t.end(version)
}

// takeIdentityOf takes in how another device of this user knows somebody. Where the
// two do not know the same, and nobody compared safety numbers here, it is for the
// user to say who is right. c.mu is held.
func (c *Machine) takeIdentityOf(e *identityEntry) error {
	p, err := c.peer(e.user)
	if err != nil || e.user == c.user {
		return err
	}
	switch {
	case p.Identity == nil:
		p.Identity, p.Verified, p.Devices, p.Fetched = bytes.Clone(e.identity), e.verified, nil, 0
	case bytes.Equal(p.Identity, e.identity):
		p.Verified = p.Verified || e.verified
	case p.Verified, c.opt.AcceptChanges:
		return nil // what is known here is the newer
	default:
		p.Changed, p.Identity, p.Verified, p.Devices = p.Identity, bytes.Clone(e.identity), e.verified, nil
		c.tell(IdentityChanged{User: chat.User(e.user)})
	}
	c.keepPeer(e.user, p)
	return nil
}

// takeGroupOf takes in the name of a group, where none is known that is newer.
// c.mu is held.
func (c *Machine) takeGroupOf(e *groupEntry) error {
	r, err := c.roster(e.group)
	if err != nil {
		return err
	}
	if r == nil {
		r = newRoster()
	}
	if r.Info == nil || e.at > r.InfoAt {
		r.Info, r.InfoAt = &e.info, e.at
		c.keepRoster(e.group, r)
	}
	return nil
}
