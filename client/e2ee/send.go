package e2ee

import (
	"context"
	"fmt"
	"slices"
	"time"

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
// ErrNoKeys or ErrChanged where nobody is to be encrypted for. Between this and
// done nobody else sends to the chat; seal is to be called once at most, with the
// message's id, and makes its content for chat.SuiteMegolm.
func (c *Machine) Ready(ctx context.Context, to string, typ uint8, body []byte) (seal func(chat.ID) ([]byte, error), done func(), err error) {
	if _, err := chat.NewUser("", to); err != nil {
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
		megolm, err := s.encrypt(i.append(nil))
		if err != nil {
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
	if s == nil || !s.Shared || c.link.Online() {
		if err := c.Published(ctx); err != nil {
			return nil, err
		}
		if err := c.look(ctx, c.opt.Refresh, to, c.user); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
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
	if s != nil && !s.old(time.Now(), &c.opt, names) {
		return s, nil
	}
	return c.share(ctx, to, devices, names)
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
	p, err := c.peer(to)
	if err != nil {
		return nil, err
	}
	switch {
	case p.Changed != nil:
		return nil, fmt.Errorf("%w: %s", ErrChanged, to)
	case len(p.Devices) == 0:
		return nil, fmt.Errorf("%w: %s", ErrNoKeys, to)
	}
	own, err := c.peer(c.user)
	if err != nil {
		return nil, err
	}
	var all []device
	for _, d := range append(slices.Clone(p.Devices), own.Devices...) {
		mine := d.User == c.user && d.Device == c.device
		if !mine && !slices.ContainsFunc(all, func(e device) bool { return e.name() == d.name() }) {
			all = append(all, d)
		}
	}
	return all, nil
}

// share begins a session and sends its key, and returns when the server has it
// durably.
func (c *Machine) share(ctx context.Context, to string, devices []device, names []string) (*outbound, error) {
	if err := c.claim(ctx, devices); err != nil {
		return nil, err
	}
	s, err := newOutbound(time.Now(), names)
	if err != nil {
		return nil, err
	}
	key, err := s.ratchet.SessionSharingMessage()
	if err == nil {
		key, err = b64.DecodeString(string(key))
	}
	if err != nil {
		return nil, err
	}
	ratchet, err := parseKey(tellKey, s.id(), key)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	me := device{User: c.user, Device: c.device, Curve: c.olm.curve(), Signing: c.olm.signing()}
	err = c.in.put(&me, to, s.id(), ratchet) // history has what this device sent
	var parts []part
	for i := range devices {
		d := &devices[i]
		if err != nil || !c.olm.hasSession(d) {
			continue // it had no key to give: it asks
		}
		var p part
		p, err = c.telling(d, &told{kind: tellKey, peer: to, session: s.id(), key: key})
		parts = append(parts, p)
	}
	c.out[to] = s
	s.keep(c.vault, to, 0)
	c.mu.Unlock()
	if err == nil {
		err = c.vault.sync()
	}
	if err != nil {
		return nil, err
	}
	var sent []func(context.Context) error
	for some := range slices.Chunk(parts, partsOfShare) {
		e := share{device: c.device, session: s.id(), parts: some}
		durable, err := c.link.SendShare(ctx, to, e.append(nil))
		if err != nil {
			return nil, err
		}
		sent = append(sent, durable)
	}
	for _, durable := range sent {
		if err := durable(ctx); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	s.Shared = true
	s.keep(c.vault, to, reserveMessages)
	c.mu.Unlock()
	return s, c.vault.sync()
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
