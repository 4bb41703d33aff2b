package e2ee

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/internal/pubkey"
	"github.com/rookery-chat/rookery/packet"
)

// A new device gets the user's identity from an old one, which shows a code. The
// code names the identity, so that the new one knows to whom it speaks; and has a
// secret, so that the old one does. The two speak over Olm, in messages of the
// user to themselves. docs/encryption.md has the bytes, and what may go wrong.

// LinkFor is how long a code of OfferLink is good.
const LinkFor = 10 * time.Minute

// linkTries is after how many wrong secrets a code is good no more.
const linkTries = 5

// Errors of linking.
var (
	ErrLinkCode     = errors.New("e2ee: no code for linking, or not the one that the other device shows now")
	ErrLinkIdentity = errors.New("e2ee: the server names another identity for this user than the code: it is of another user, or somebody stands in between")
	ErrLinked       = errors.New("e2ee: this device has the user's identity already")
	ErrNotLinked    = errors.New("e2ee: the other device did not answer: it is not connected, or the code was used or is too old")
)

// A code is so many bytes, in base32 in groups of five.
const (
	linkVersion     = 1
	linkPrintBytes  = 14 // of the identity's fingerprint
	linkDeviceBytes = 2  // of the old device's Curve25519 key, to find it by
	linkSecretBytes = 8
	linkCodeBytes   = 1 + linkPrintBytes + linkDeviceBytes + linkSecretBytes
	linkGroup       = 5
)

var linkText = base32.StdEncoding.WithPadding(base32.NoPadding)

// linkCode is what a code says.
type linkCode struct {
	print  []byte
	device []byte
	secret []byte
}

func (l *linkCode) String() string {
	b := append(append(append([]byte{linkVersion}, l.print...), l.device...), l.secret...)
	var groups []string
	for group := range slices.Chunk([]byte(linkText.EncodeToString(b)), linkGroup) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, "-")
}

// parseLinkCode reads a code as somebody typed it.
func parseLinkCode(code string) (l linkCode, err error) {
	text := strings.NewReplacer("-", "", " ", "", "\n", "", "0", "O", "1", "I", "8", "B").Replace(strings.ToUpper(strings.TrimSpace(code)))
	b, err := linkText.DecodeString(text)
	if err != nil || len(text) != linkText.EncodedLen(linkCodeBytes) || len(b) != linkCodeBytes || b[0] != linkVersion {
		return l, fmt.Errorf("%w: it is eight groups of five letters and digits", ErrLinkCode)
	}
	b = b[1:]
	l.print, b = b[:linkPrintBytes], b[linkPrintBytes:]
	l.device, l.secret = b[:linkDeviceBytes], b[linkDeviceBytes:]
	return l, nil
}

// offer is a code that this device shows.
type offer struct {
	LinkOptions
	secret []byte
	until  time.Time
	tries  int
}

// joining is a device that gave a code.
type joining struct {
	from     device // the old one
	identity []byte
	done     chan error // of one
}

// LinkUsed says that a device gave a code to this one. With a nil Err it has the
// user's identity now, reads what is sent from here on, and gets what was sent
// before, unless it was left out; if it is none of the user's, revoke it and reset
// the identity. Else it was refused.
type LinkUsed struct {
	OtherEvent
	Device chat.Device
	Err    error
}

// OfferLink returns a code that links one new device of the user, which gives it
// to Join within LinkFor: as text, or in a QR code. Whoever has the code, and can
// connect as the user, gets the user's identity, and what history is read by: of
// the newest 10,000 sessions, and as LinkOptions say, of which there is one at
// most. Another OfferLink takes its place; LinkUsed says that it was given, and
// LinkedHistory that all is on its way. Meanwhile somebody has to call Receive, or
// Take.
func (c *Machine) OfferLink(ctx context.Context, options ...LinkOptions) (code string, err error) {
	if err := c.Published(ctx); err != nil {
		return "", err
	}
	o := &offer{secret: make([]byte, linkSecretBytes), until: time.Now().Add(LinkFor)}
	rand.Read(o.secret)
	if len(options) > 0 {
		o.LinkOptions = options[0]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offer = o
	l := linkCode{print: fingerprint(c.user, c.identityKey())[:linkPrintBytes], device: c.olm.curve()[:linkDeviceBytes], secret: o.secret}
	return l.String(), nil
}

// WithdrawLink makes the code of OfferLink good no more.
func (c *Machine) WithdrawLink() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offer = nil
}

// Join gives the code that another device of the user shows, and returns when
// this device has the user's identity and others can write to it. What was sent
// before can be read after LinkedHistory. Meanwhile somebody has to call Receive,
// or Take. The error is ErrLinkCode,
// ErrLinkIdentity, ErrLinked, ErrNoKeys where the user has no other device, or
// ErrNotLinked when ctx ended.
func (c *Machine) Join(ctx context.Context, code string) error {
	l, err := parseLinkCode(code)
	if err != nil {
		return err
	}
	j, err := c.knock(ctx, &l)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrNotLinked, err)
	}
	if err != nil {
		return err
	}
	defer func() {
		c.mu.Lock()
		c.joining = nil
		c.mu.Unlock()
	}()
	select {
	case err = <-j.done:
	case <-ctx.Done():
		err = fmt.Errorf("%w: %w", ErrNotLinked, ctx.Err())
	case <-c.ctx.Done():
		err = errors.New("e2ee: closed")
	}
	if err == nil {
		err = c.vault.sync()
	}
	if err == nil {
		err = c.publishNow(ctx)
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.failed = nil
	c.askForHistory()
	c.mu.Unlock()
	c.askAgain()
	return nil
}

// knock finds the device that shows the code, begins an Olm session with it, and
// tells it the secret.
func (c *Machine) knock(ctx context.Context, l *linkCode) (*joining, error) {
	list, err := c.link.Keys(ctx, c.user)
	if err != nil {
		return nil, err
	}
	if len(list) != 1 || list[0].User != c.user {
		return nil, chat.Errorf(chat.CodeInternal, "the server does not answer for %q", c.user)
	}
	u := list[0]
	if len(u.Identity) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNoKeys, c.user)
	}
	if err := pubkey.CheckEd25519(u.Identity); err != nil || subtle.ConstantTimeCompare(fingerprint(c.user, u.Identity)[:linkPrintBytes], l.print) == 0 {
		return nil, ErrLinkIdentity
	}
	c.mu.Lock()
	linked := bytes.Equal(u.Identity, c.identityKey())
	c.mu.Unlock()
	if linked {
		return nil, ErrLinked
	}
	j := &joining{identity: u.Identity, done: make(chan error, 1)}
	for _, d := range u.Devices {
		signed := pubkey.Device{User: u.User, Device: d.Device, Curve: d.Curve, Signing: d.Signing, Signature: d.Signature}
		if d.Device != c.device && signed.Check(u.Identity) == nil && bytes.HasPrefix(d.Curve, l.device) {
			j.from = device{User: u.User, Device: d.Device, Curve: d.Curve, Signing: d.Signing}
		}
	}
	if j.from.Device == "" {
		return nil, fmt.Errorf("%w: the device that showed it is none of %s's any more", ErrLinkCode, c.user)
	}
	keys, err := c.link.ClaimKeys(ctx, packet.DeviceRef{User: j.from.User, Device: j.from.Device})
	if err != nil {
		return nil, err
	}
	if len(keys) != 1 {
		return nil, fmt.Errorf("%w: %s of %s", ErrNoKeys, j.from.Device, c.user)
	}
	c.mu.Lock()
	x := told{kind: tellJoin, peer: c.user, session: newSessionID(), key: l.secret}
	err = c.olm.begin(&j.from, &keys[0]) // a new session for each try: the other side may know none of before
	var one part
	if err == nil {
		one, err = c.telling(&j.from, &x)
	}
	c.joining = j
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	durable, err := c.sendPart(ctx, c.user, x.session, one, 0)
	if err != nil {
		return nil, err
	}
	return j, durable(ctx)
}

// newSessionID is for what is told of no session: so both sides know it again.
func newSessionID() (s sessionID) {
	rand.Read(s[:])
	return s
}

// takeJoin takes what a device of this user says that is none of those that are
// known, if it may give a code. handled is false when it is nothing of the kind.
// c.mu is held.
func (c *Machine) takeJoin(s *share, p part) (handled bool) {
	if c.offer == nil || p.olm != uint8(id.OlmMsgTypePreKey) {
		return false
	}
	d, plain, err := c.olm.acceptStranger(s.device, p)
	if err != nil {
		return false
	}
	x, err := parseTold(plain)
	if err != nil || x.kind != tellJoin || x.from != c.user || x.fromDevice != s.device || x.to != c.user || x.toDevice != c.device ||
		string(x.toKey) != string(c.olm.signing()) || x.session != s.session {
		return false
	}
	d.Signing = x.fromKey
	reply := told{kind: tellIdentity, peer: c.user, session: x.session, key: c.identity.Seed()}
	o := c.offer
	if time.Now().After(o.until) || subtle.ConstantTimeCompare(x.key, o.secret) == 0 {
		reply.kind, reply.key, err = tellRefusal, nil, ErrLinkCode
	}
	if o.tries++; err == nil || o.tries >= linkTries {
		c.offer = nil
	}
	c.tell(LinkUsed{Device: chat.Device(s.device), Err: err})
	one, err := c.telling(&d, &reply)
	if err != nil {
		return true
	}
	if own, err := c.peer(c.user); err == nil && reply.kind == tellIdentity {
		own.Fetched = 0 // the next message is for the new device too
		c.keepPeer(c.user, own)
		c.grants(&d, o.LinkOptions)
	}
	e := share{device: c.device, session: x.session, parts: []part{one}}
	c.later(func(ctx context.Context) {
		if c.vault.sync() == nil {
			c.link.SendShare(ctx, c.user, e.append(nil), 0)
		}
	})
	return true
}

// inviter is the old device, when s is of that while this one joins. c.mu is held.
func (c *Machine) inviter(user string, s *share) *device {
	if j := c.joining; j != nil && user == c.user && s.device == j.from.Device {
		return &j.from
	}
	return nil
}

// takeIdentity takes the user's identity over, if it is the one that the code
// named. c.mu is held.
func (c *Machine) takeIdentity(d *device, x *told) error {
	j := c.joining
	if j == nil || d.name() != j.from.name() {
		return fmt.Errorf("%w: an identity that nobody asked for", ErrForged)
	}
	if x.kind == tellRefusal {
		j.end(ErrLinkCode)
		return nil
	}
	if len(x.key) != ed25519.SeedSize {
		return fmt.Errorf("%w: an identity of %d bytes", ErrForged, len(x.key))
	}
	key := ed25519.NewKeyFromSeed(x.key)
	if !bytes.Equal(key.Public().(ed25519.PublicKey), j.identity) {
		return fmt.Errorf("%w: another identity than the code named", ErrForged)
	}
	err := keepIdentity(c.vault, &c.opt, key)
	if err == nil {
		c.identity, c.olm.identity = key, key
		c.keepPeer(c.user, &peer{})
		c.expects(d)
	}
	j.end(err)
	return nil
}

func (j *joining) end(err error) {
	select {
	case j.done <- err:
	default: // it has ended
	}
}
