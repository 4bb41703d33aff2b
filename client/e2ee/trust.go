package e2ee

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/pubkey"
	"github.com/rookery-chat/rookery/packet"
)

// peer is what is known of a user: the identity that the first look pinned, and
// the devices it signed.
type peer struct {
	Identity []byte
	Changed  []byte // another identity that the server names; nothing is encrypted until it is accepted
	Verified bool   // the safety number was compared
	Devices  []device
	Fetched  int64 // ms since 1970
}

// peer returns what is known of a user, to be changed and kept. c.mu is held.
func (c *Machine) peer(user string) (*peer, error) {
	if p := c.peers[user]; p != nil {
		known := *p
		return &known, nil
	}
	p := &peer{}
	b := c.vault.get("peer/" + user)
	if b == nil {
		return p, nil
	}
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	c.cachePeer(user, p)
	return p, nil
}

// cachedPeers is how many users' keys are kept ready.
const cachedPeers = 4096

func (c *Machine) cachePeer(user string, p *peer) {
	if len(c.peers) >= cachedPeers {
		clear(c.peers)
	}
	known := *p
	c.peers[user] = &known
}

func (c *Machine) keepPeer(user string, p *peer) {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // it has nothing that cannot be written
	}
	c.vault.set("peer/"+user, b)
	if old := c.peers[user]; old == nil || !old.same(p) {
		c.changes++
	}
	c.cachePeer(user, p)
}

// same reports whether two say the same of whom to encrypt for.
func (p *peer) same(q *peer) bool {
	return bytes.Equal(p.Identity, q.Identity) && bytes.Equal(p.Changed, q.Changed) &&
		slices.EqualFunc(p.Devices, q.Devices, func(a, b device) bool { return a.name() == b.name() && bytes.Equal(a.Signing, b.Signing) })
}

func (p *peer) device(name string) (device, bool) {
	i := slices.IndexFunc(p.Devices, func(d device) bool { return d.Device == name })
	if i < 0 {
		return device{}, false
	}
	return p.Devices[i], true
}

// look asks the server for users whose keys were last seen longer ago than
// maxAge, or never, and takes over what holds.
func (c *Machine) look(ctx context.Context, maxAge time.Duration, users ...string) error {
	var stale []string
	c.mu.Lock()
	for _, u := range users {
		p, err := c.peer(u)
		if err != nil {
			c.mu.Unlock()
			return err
		}
		age := time.Since(time.UnixMilli(p.Fetched))
		if p.Fetched == 0 || age >= maxAge || age < 0 || p.Identity == nil {
			stale = append(stale, u)
		}
	}
	c.mu.Unlock()
	slices.Sort(stale)
	stale = slices.Compact(stale)
	for some := range slices.Chunk(stale, usersAtOnce) {
		c.mu.Lock()
		before := c.notices
		c.mu.Unlock()
		list, err := c.link.Keys(ctx, some...)
		if err != nil {
			return err
		}
		if err := c.learnAll(list, some, before); err != nil {
			return err
		}
	}
	return nil
}

// usersAtOnce is for how many users keys are asked in one request; a server's own
// limit is not below this by default.
const usersAtOnce = 64

// learnAll takes over the answer for users. notices are how many had come when it was
// asked for: one that came meanwhile may say more, so that the next look asks again.
func (c *Machine) learnAll(list []packet.UserKeys, asked []string, notices uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, u := range list {
		if i >= len(asked) || u.User != asked[i] {
			return chat.Errorf(chat.CodeInternal, "the server answers for %q, and was asked for %q", u.User, asked)
		}
		if err := c.learn(u); err != nil {
			return err
		}
	}
	for i := 0; i < len(asked) && c.notices != notices; i++ {
		if err := c.doubt(asked[i]); err != nil {
			return err
		}
	}
	return nil
}

// learn takes over what the server says of a user. c.mu is held.
func (c *Machine) learn(u packet.UserKeys) error {
	p, err := c.peer(u.User)
	if err != nil {
		return err
	}
	p.Fetched = time.Now().UnixMilli()
	defer func() { c.keepPeer(u.User, p) }()
	if len(u.Identity) == 0 {
		p.Devices = nil
		return nil
	}
	if err := pubkey.CheckEd25519(u.Identity); err != nil {
		c.tell(BadKeys{User: chat.User(u.User), Err: err})
		return nil
	}
	switch {
	case u.User == c.user && !bytes.Equal(u.Identity, c.identityKey()):
		return ErrOwnIdentity
	case p.Identity == nil:
		p.Identity = u.Identity
	case bytes.Equal(p.Identity, u.Identity):
		p.Changed = nil
	case c.opt.AcceptChanges:
		c.tell(IdentityChanged{User: chat.User(u.User), Accepted: true})
		p.Identity, p.Changed, p.Verified, p.Devices = u.Identity, nil, false, nil
	default:
		if !bytes.Equal(p.Changed, u.Identity) {
			p.Changed = u.Identity
			c.tell(IdentityChanged{User: chat.User(u.User)})
		}
		return nil // its devices count for nothing
	}
	p.Devices = nil
	for _, d := range u.Devices {
		signed := pubkey.Device{User: u.User, Device: d.Device, Curve: d.Curve, Signing: d.Signing, Signature: d.Signature}
		if err := signed.Check(p.Identity); err != nil {
			c.tell(BadKeys{User: chat.User(u.User), Device: chat.Device(d.Device), Err: err})
			continue
		}
		p.Devices = append(p.Devices, device{User: u.User, Device: d.Device, Curve: d.Curve, Signing: d.Signing})
	}
	return nil
}

// Accept trusts the identity that the server names for a user from now on, after
// an IdentityChanged. What was held for it is looked at again.
func (c *Machine) Accept(ctx context.Context, user string) error {
	c.mu.Lock()
	p, err := c.peer(user)
	if err == nil && p.Changed != nil {
		p.Identity, p.Changed, p.Verified, p.Devices, p.Fetched = p.Changed, nil, false, nil, 0
		c.keepPeer(user, p)
	}
	c.mu.Unlock()
	if err == nil {
		err = c.vault.sync()
	}
	if err == nil {
		err = c.look(ctx, 0, user)
	}
	if err == nil {
		c.askAgain()
	}
	return err
}

// Verify notes whether the user has compared the safety number with a peer.
func (c *Machine) Verify(user string, verified bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.peer(user)
	if err != nil {
		return err
	}
	if p.Identity == nil {
		return fmt.Errorf("%w: %s", ErrNoKeys, user)
	}
	p.Verified = verified
	c.keepPeer(user, p)
	return c.vault.sync()
}

// Safety is what two users compare to be sure that the server gave each the
// other's identity: the same on both sides.
type Safety struct {
	Digits   string // 60 of them in groups of five, to be compared by eye or ear
	Scan     []byte // for a QR code: both sides show the same bytes
	Verified bool   // as Verify noted
}

// qrBefore begins the text of a QR code. Like what follows it, it is of the
// characters that QR codes have a short form for.
const qrBefore = "ROOKERY-SAFETY:"

var qrEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// QR returns Scan as the text of a QR code, for the other user to scan.
func (s Safety) QR() string { return qrBefore + qrEncoding.EncodeToString(s.Scan) }

// Scanned reports whether a code that was scanned from the other user's screen is
// this one. Where it is not, somebody stands in between, or it is the code with
// somebody else. The error is of a text that is no such code.
func (s Safety) Scanned(text string) (same bool, err error) {
	code, ok := strings.CutPrefix(strings.TrimSpace(text), qrBefore)
	scan, err := qrEncoding.DecodeString(code)
	if !ok || err != nil || len(scan) != len(s.Scan) {
		return false, fmt.Errorf("e2ee: what was scanned is no safety code: it would begin with %q", qrBefore)
	}
	return bytes.Equal(scan, s.Scan), nil
}

// Safety returns the safety number with a user, whose identity it looks up where
// it is not known.
func (c *Machine) Safety(ctx context.Context, user string) (Safety, error) {
	if err := c.look(ctx, 1<<62, user); err != nil {
		return Safety{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.peer(user)
	if err == nil && p.Identity == nil {
		err = fmt.Errorf("%w: %s", ErrNoKeys, user)
	}
	if err != nil {
		return Safety{}, err
	}
	s := safetyOf(c.user, c.identityKey(), user, p.Identity)
	s.Verified = p.Verified
	return s, nil
}

// fingerprintRounds makes a search for another identity with the same digits
// dear.
const fingerprintRounds = 5200

// fingerprint is 64 bytes that stand for a user's identity: SHA-512, over and
// over, of the digest so far and the identity.
func fingerprint(user string, identity []byte) []byte {
	digest := append(append([]byte("rookery safety number 1"), byte(len(user))), user...)
	for range fingerprintRounds {
		sum := sha512.Sum512(append(digest, identity...))
		digest = sum[:]
	}
	return digest
}

func safetyOf(userA string, a []byte, userB string, b []byte) Safety {
	if userA > userB {
		userA, a, userB, b = userB, b, userA, a
	}
	fa, fb := fingerprint(userA, a), fingerprint(userB, b)
	var groups []string
	for _, f := range [][]byte{fa, fb} {
		for i := 0; i < 30; i += 5 {
			n := uint64(f[i])<<32 | uint64(f[i+1])<<24 | uint64(f[i+2])<<16 | uint64(f[i+3])<<8 | uint64(f[i+4])
			groups = append(groups, fmt.Sprintf("%05d", n%100_000))
		}
	}
	scan := append([]byte("RkS1"), fa[:32]...)
	return Safety{Digits: strings.Join(groups, " "), Scan: append(scan, fb[:32]...)}
}

// RemoveDevice revokes another device of this user: its session with the server
// ends, and it and its keys are refused from then on. Everybody is told, as by
// DevicesChanged, and sends by a new session from then on. Of a server that cannot
// revoke, its keys are removed. An error may come when the device is gone already and
// not all were told: it may be repeated.
func (c *Machine) RemoveDevice(ctx context.Context, name string) error {
	if name == c.device {
		return errors.New("e2ee: this device is the one to be removed: do it from another")
	}
	err := c.link.RevokeDevice(ctx, name)
	if chat.CodeOf(err) == chat.CodeUnknownType {
		err = c.link.DropKeys(ctx, name)
	}
	if err != nil {
		return err
	}
	return c.DevicesChanged(ctx)
}
