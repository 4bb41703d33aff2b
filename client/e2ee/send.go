package e2ee

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/packet"
)

// TypeBody is the type of what Send sends: the app's own bytes. Others are for
// what is built over it; a client that does not know one gives Typed.
const TypeBody = 1

// partsOfShare is for how many devices one key share is: it stays well below the
// least content a server takes.
const partsOfShare = 64

// Send encrypts content for every device of the receiver and the user's others,
// and sends it as client.Send does. Before the first message of a session it
// waits until the server has the session's keys, so a first message to somebody
// needs a connection; later ones wait in the outbox without one. The error is
// ErrNoKeys or ErrChanged where nobody is to be encrypted for.
func (c *Client) Send(ctx context.Context, to string, content []byte, options ...client.SendOptions) (*client.Sent, error) {
	return c.SendTyped(ctx, to, TypeBody, content, options...)
}

// SendTyped is Send for a type of content.
func (c *Client) SendTyped(ctx context.Context, to string, typ uint8, body []byte, options ...client.SendOptions) (*client.Sent, error) {
	var o client.SendOptions
	if len(options) > 0 {
		o = options[0]
	}
	if _, err := chat.NewUser("", to); err != nil {
		return nil, err
	}
	if o.Suite != 0 || o.Seal != nil {
		return nil, errors.New("e2ee: suite and content are made here; what is not encrypted goes by Client.Client")
	}
	unlock, err := c.lockChat(ctx, to)
	if err != nil {
		return nil, err
	}
	defer unlock()
	s, err := c.outboundTo(ctx, to)
	if err != nil {
		return nil, err
	}
	if err := c.reserve(s, to); err != nil {
		return nil, err
	}
	o.Suite = chat.SuiteMegolm
	o.Seal = func(id chat.ID) ([]byte, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := inner{kind: typ, id: id, from: c.user, device: c.device, to: to, body: body}
		megolm, err := s.encrypt(i.append(nil))
		if err != nil {
			return nil, err
		}
		e := sealed{session: s.id(), device: c.device, megolm: megolm}
		return e.append(nil), nil
	}
	return c.Client.Send(ctx, to, nil, o)
}

// lockChat makes who sends to a chat one at a time: the ratchet's order is that
// of the messages.
func (c *Client) lockChat(ctx context.Context, to string) (unlock func(), err error) {
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
func (c *Client) reserve(s *outbound, to string) error {
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
func (c *Client) outboundTo(ctx context.Context, to string) (*outbound, error) {
	c.mu.Lock()
	s, err := c.loaded(to)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	// Without a connection the chat's devices are those that were known.
	if s == nil || !s.Shared || c.online() {
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
func (c *Client) loaded(to string) (s *outbound, err error) {
	if s = c.out[to]; s == nil {
		if s, err = loadOutbound(c.vault, to); s != nil {
			c.out[to] = s
		}
	}
	return s, err
}

func (c *Client) online() bool {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return c.Client.Connected(ctx) == nil
}

// readers are the devices that are to read what this one sends. c.mu is held.
func (c *Client) readers(to string) ([]device, error) {
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
func (c *Client) share(ctx context.Context, to string, devices []device, names []string) (*outbound, error) {
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
	var sent []*client.Sent
	for some := range slices.Chunk(parts, partsOfShare) {
		e := share{device: c.device, session: s.id(), parts: some}
		one, err := c.Client.Send(ctx, to, e.append(nil), client.SendOptions{Suite: chat.SuiteKeyShare})
		if err != nil {
			return nil, err
		}
		sent = append(sent, one)
	}
	for _, one := range sent {
		if err := one.Durable(ctx); err != nil {
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
func (c *Client) telling(d *device, x *told) (part, error) {
	x.from, x.fromDevice, x.fromKey = c.user, c.device, c.olm.signing()
	x.to, x.toDevice, x.toKey = d.User, d.Device, d.Signing
	return c.olm.encrypt(d, x.append(nil))
}

// claimAtOnce is of how many devices a key is claimed in one request; a server's
// own limit counts where it is lower, and is not below this by default.
const claimAtOnce = 64

// claim begins Olm sessions with the devices that there are none with.
func (c *Client) claim(ctx context.Context, devices []device) error {
	var refs []packet.DeviceRef
	c.mu.Lock()
	for i := range devices {
		if !c.olm.hasSession(&devices[i]) {
			refs = append(refs, packet.DeviceRef{User: devices[i].User, Device: devices[i].Device})
		}
	}
	c.mu.Unlock()
	for some := range slices.Chunk(refs, claimAtOnce) {
		keys, err := c.Client.ClaimKeys(ctx, some...)
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
