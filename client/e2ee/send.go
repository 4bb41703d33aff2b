package e2ee

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// TypeBody is the type of what Send sends: the app's own bytes. Others are for
// what is built over it; a client that does not know one gives Typed.
const TypeBody = 1

// TypeContent is the type of what is more than a text: content.Body's own format.
const TypeContent = 3

// partsOfShare is for how many devices one key share is: it stays well below the
// least content a server takes.
const partsOfShare = 64

// Ready makes a chat ready for one message: it returns when everybody who is to
// read it has the key. Before the first message of a session it waits until the
// server has the session's keys, for which it needs a connection. The error is
// ErrNoKeys or ErrChanged where nobody is to be encrypted for, and ErrNotMember of a
// group that is not this user's. Between this and
// done nobody else sends to the chat; seal is to be called once at most, with the
// message's id, and makes its content for chat.SuiteMegolm.
func (c *Machine) Ready(ctx context.Context, to string, typ uint8, body []byte) (seal func(chat.ID) ([]byte, error), done func(), err error) {
	if _, err := chat.NewPeer("", to); err != nil {
		return nil, nil, err
	}
	done, err = c.lockChat(ctx, to)
	if err != nil {
		return nil, nil, err
	}
	s, err := c.outboundTo(ctx, to)
	if err == nil {
		err = c.reserve(s, to)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return func(id chat.ID) ([]byte, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := inner{kind: typ, id: id, from: c.user, device: c.device, to: to, body: body}
		index := s.index()
		megolm, err := s.encrypt(i.append(nil))
		if err != nil {
			return nil, err
		}
		if chat.User(to).IsGroup() {
			if in, err := c.in.get(c.user, s.id()); err == nil && in != nil {
				c.in.note(in, s.id(), index, seen{id: id}) // its place comes with it
			}
		}
		if err := c.noteTimer(to, id, typ, body, true); err != nil {
			return nil, err
		}
		e := sealed{session: s.id(), device: c.device, megolm: megolm}
		return e.append(nil), nil
	}, done, nil
}

// lockChat makes who sends to a chat one at a time: the ratchet's order is that
// of the messages.
func (c *Machine) lockChat(ctx context.Context, to string) (unlock func(), err error) {
	c.mu.Lock()
	token, ok := c.chats[to]
	if !ok {
		token = make(chan struct{}, 1)
		c.chats[to] = token
	}
	c.mu.Unlock()
	select {
	case token <- struct{}{}:
		return func() { <-token }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("e2ee: nothing was sent: %w", ctx.Err())
	}
}

// reserve keeps the ratchet ahead of the next use, durably.
func (c *Machine) reserve(s *outbound, to string) error {
	c.mu.Lock()
	enough := s.index() < s.Reserved
	if !enough {
		s.keep(c.vault, to, reserveMessages)
	}
	c.mu.Unlock()
	if enough {
		return nil
	}
	return c.vault.sync()
}

// outboundTo returns a session that everybody who is to read has the key of.
func (c *Machine) outboundTo(ctx context.Context, to string) (*outbound, error) {
	c.mu.Lock()
	s, err := c.loaded(to)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	// Without a connection the chat's devices are those that were known.
	look := func(ctx context.Context) error {
		if err := c.Published(ctx); err != nil {
			return err
		}
		return c.lookFor(ctx, to)
	}
	if s == nil || !s.Shared {
		err = look(ctx)
	} else {
		err = c.whileOnline(ctx, look)
	}
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	if s != nil && s.changes == c.changes && !s.used(time.Now(), &c.opt) {
		c.mu.Unlock()
		return s, nil
	}
	changes := c.changes
	devices, err := c.readers(to)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range devices {
		names = append(names, devices[i].name())
	}
	slices.Sort(names)
	now := time.Now()
	if s == nil || s.old(now, &c.opt, names) {
		if s, err = c.shareAnew(ctx, to, s, devices, names); err != nil {
			return nil, err
		}
	}
	s.changes = changes
	return s, nil
}

// shareAnew gives everybody a session: the one that there is to who has joined a
// group, from its next index on, or else a new one.
func (c *Machine) shareAnew(ctx context.Context, to string, s *outbound, devices []device, names []string) (*outbound, error) {
	if s == nil || !chat.User(to).IsGroup() || s.used(time.Now(), &c.opt) {
		return c.share(ctx, to, devices, names)
	}
	added, ok := s.grown(names)
	if !ok {
		return c.share(ctx, to, devices, names)
	}
	devices = slices.DeleteFunc(devices, func(d device) bool { _, is := slices.BinarySearch(added, d.name()); return !is })
	if err := c.sendKey(ctx, to, s, devices); err != nil {
		return nil, err
	}
	c.mu.Lock()
	s.Devices = names
	s.keep(c.vault, to, s.Reserved-s.index())
	c.mu.Unlock()
	return s, c.vault.sync()
}

// lookFor looks who is to read what is sent.
func (c *Machine) lookFor(ctx context.Context, to string) error {
	users := []string{to, c.user}
	if chat.User(to).IsGroup() {
		if err := c.lookGroup(ctx, c.opt.Refresh, to); err != nil {
			return err
		}
		c.mu.Lock()
		r, err := c.roster(to)
		if err == nil && r != nil {
			users = append(r.members(), c.user)
		}
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return c.look(ctx, c.opt.Refresh, users...)
}

// loaded returns the chat's session, if there is one. c.mu is held.
func (c *Machine) loaded(to string) (s *outbound, err error) {
	if s = c.out[to]; s == nil {
		if s, err = loadOutbound(c.vault, to); s != nil {
			c.out[to] = s
		}
	}
	return s, err
}

// readers are the devices that are to read what this one sends. c.mu is held.
func (c *Machine) readers(to string) ([]device, error) {
	others, err := c.othersOf(to)
	if err != nil {
		return nil, err
	}
	own, err := c.peer(c.user)
	if err != nil {
		return nil, err
	}
	var all []device
	for _, d := range others {
		if d.User != c.user {
			all = append(all, d)
		}
	}
	for _, d := range own.Devices {
		if d.Device != c.device {
			all = append(all, d)
		}
	}
	return all, nil
}

// othersOf are the devices of whom the chat is with. c.mu is held.
func (c *Machine) othersOf(to string) ([]device, error) {
	if chat.User(to).IsGroup() {
		return c.membersDevices(to)
	}
	p, err := c.peer(to)
	switch {
	case err != nil:
		return nil, err
	case p.Changed != nil:
		return nil, fmt.Errorf("%w: %s", ErrChanged, to)
	case len(p.Devices) == 0:
		return nil, fmt.Errorf("%w: %s", ErrNoKeys, to)
	}
	return p.Devices, nil
}

// share begins a session and sends its key, and returns when the server has it
// durably.
func (c *Machine) share(ctx context.Context, to string, devices []device, names []string) (*outbound, error) {
	s, err := newOutbound(time.Now(), names)
	if err != nil {
		return nil, err
	}
	key, err := s.key()
	if err != nil {
		return nil, err
	}
	ratchet, err := parseKey(tellKey, s.id(), key)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	if before := c.out[to]; before != nil {
		s.Previous = before.id()
	}
	me := device{User: c.user, Device: c.device, Curve: c.olm.curve(), Signing: c.olm.signing()}
	if err = c.in.put(&me, to, s.id(), ratchet); err == nil { // history has what this device sent
		c.out[to] = s
		s.keep(c.vault, to, 0)
	}
	c.mu.Unlock()
	if err == nil {
		err = c.sendKey(ctx, to, s, devices)
	}
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	s.Shared = true
	s.keep(c.vault, to, reserveMessages)
	c.mu.Unlock()
	return s, c.vault.sync()
}

// sharesAtOnce is how many key shares are on their way into the outbox at once:
// each waits for its place on the disk, and those that do so together wait once.
const sharesAtOnce = 16

// sendKey sends a session's key, from its next index on, to devices with which
// there are Olm sessions afterwards, and returns when the server has all durably.
// A group has many: it takes a number of them at a time.
func (c *Machine) sendKey(ctx context.Context, to string, s *outbound, devices []device) error {
	if err := c.noteReaders(to, s, devices); err != nil {
		return err
	}
	key, err := s.key()
	if err != nil {
		return err
	}
	var sent []func(context.Context) error
	for some := range slices.Chunk(devices, partsOfShare) {
		if err := c.claim(ctx, some); err != nil {
			return err
		}
		shares, err := c.sharesFor(to, s, key, some)
		if err != nil {
			return err
		}
		if err := c.vault.sync(); err != nil {
			return err
		}
		durable, err := c.sendShares(ctx, shares, 0)
		if err != nil {
			return err
		}
		sent = append(sent, durable...)
	}
	for _, durable := range sent {
		if err := durable(ctx); err != nil {
			return err
		}
	}
	return nil
}

// noteReaders notes who has a session of a group from which index on, before it
// is told to anybody.
func (c *Machine) noteReaders(to string, s *outbound, devices []device) error {
	if !chat.User(to).IsGroup() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	have, err := c.readersOf(s.id())
	if err != nil {
		return err
	}
	if have == nil {
		have = readers{}
	}
	for _, d := range devices {
		if _, has := have[d.User]; !has {
			have[d.User] = s.index()
		}
	}
	c.keepReaders(s.id(), have)
	c.tellLeftOut(to)
	return nil
}

// shareTo is a key share and whom it goes to.
type shareTo struct {
	to string
	share
}

// sharesFor encrypts a key for devices. To one user goes one share, whose copies
// are for this user's other devices; to a group one for each member, as nobody
// else has to carry it.
func (c *Machine) sharesFor(to string, s *outbound, key []byte, devices []device) (shares []shareTo, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range devices {
		d := &devices[i]
		if !c.olm.hasSession(d) {
			continue // it had no key to give: it asks
		}
		p, err := c.telling(d, &told{kind: tellKey, peer: to, session: s.id(), key: key})
		if err != nil {
			return nil, err
		}
		user := to
		if chat.User(to).IsGroup() {
			user = d.User
		}
		if n := len(shares); n == 0 || shares[n-1].to != user {
			shares = append(shares, shareTo{user, share{device: c.device, session: s.id()}})
		}
		last := &shares[len(shares)-1]
		last.parts = append(last.parts, p)
	}
	return shares, nil
}

// sendShares sends shares, for the server to keep for so long, 0 for ever.
func (c *Machine) sendShares(ctx context.Context, shares []shareTo, ttl time.Duration) (durable []func(context.Context) error, err error) {
	durable = make([]func(context.Context) error, len(shares))
	var g errgroup.Group
	g.SetLimit(sharesAtOnce)
	for i := range shares {
		g.Go(func() (err error) {
			durable[i], err = c.link.SendShare(ctx, shares[i].to, shares[i].append(nil), ttl)
			return err
		})
	}
	return durable, g.Wait()
}

// telling encrypts for a device with which there is a session, with the names
// and keys of both ends. c.mu is held.
func (c *Machine) telling(d *device, x *told) (part, error) {
	x.from, x.fromDevice, x.fromKey = c.user, c.device, c.olm.signing()
	x.to, x.toDevice, x.toKey = d.User, d.Device, d.Signing
	return c.olm.encrypt(d, x.append(nil))
}

// claimAtOnce is of how many devices a key is claimed in one request; a server's
// own limit counts where it is lower, and is not below this by default.
const claimAtOnce = 64

// claim begins Olm sessions with the devices that there are none with.
func (c *Machine) claim(ctx context.Context, devices []device) error {
	var refs []packet.DeviceRef
	c.mu.Lock()
	for i := range devices {
		if !c.olm.hasSession(&devices[i]) {
			refs = append(refs, packet.DeviceRef{User: devices[i].User, Device: devices[i].Device})
		}
	}
	c.mu.Unlock()
	for some := range slices.Chunk(refs, claimAtOnce) {
		keys, err := c.link.ClaimKeys(ctx, some...)
		if err != nil {
			return err
		}
		c.mu.Lock()
		for i := range keys {
			k := &keys[i]
			at := slices.IndexFunc(devices, func(d device) bool { return d.User == k.User && d.Device == k.Device })
			if at < 0 {
				continue
			}
			if err := c.olm.begin(&devices[at], k); err != nil {
				c.tell(BadKeys{User: chat.User(k.User), Device: chat.Device(k.Device), Err: err})
			}
		}
		c.mu.Unlock()
	}
	return nil
}
