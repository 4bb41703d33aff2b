package e2ee

import (
	"context"
	"fmt"
	"time"
)

// tellDevice sends one device something over Olm: where it is of another user,
// in the chat with that user, else in the chat with oneself. Who waits for what
// does not come asks again.
func (c *Machine) tellDevice(ctx context.Context, user, name string, x *told) {
	if d, err := c.trusted(ctx, user, name); err == nil {
		c.tellTrusted(ctx, d, x, 0)
	}
}

// trusted returns a device that its user's identity signed, by a list of the
// server's that is no older than Options.Refresh.
func (c *Machine) trusted(ctx context.Context, user, name string) (*device, error) {
	if err := c.look(ctx, c.opt.Refresh, user); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.peer(user)
	if err != nil {
		return nil, err
	}
	d, found := p.device(name)
	if !found || p.Changed != nil {
		return nil, fmt.Errorf("%w: %s is no trusted device of %s", ErrNoKeys, name, user)
	}
	return &d, nil
}

// tellTrusted sends something to a device that is trusted, for the server to keep
// for so long, 0 for ever. durable waits until it has it.
func (c *Machine) tellTrusted(ctx context.Context, d *device, x *told, ttl time.Duration) (durable func(context.Context) error, err error) {
	if err := c.claim(ctx, []device{*d}); err != nil {
		return nil, err
	}
	c.mu.Lock()
	if !c.olm.hasSession(d) {
		c.mu.Unlock()
		return nil, fmt.Errorf("%w: %s of %s", ErrNoKeys, d.Device, d.User)
	}
	one, err := c.telling(d, x)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return c.sendPart(ctx, d.User, x.session, one, ttl)
}

// sendPart sends what telling made for one device, once the session that encrypted
// it is kept.
func (c *Machine) sendPart(ctx context.Context, user string, session sessionID, one part, ttl time.Duration) (durable func(context.Context) error, err error) {
	if err := c.vault.sync(); err != nil {
		return nil, err
	}
	e := share{device: c.device, session: session, parts: []part{one}}
	return c.link.SendShare(ctx, user, e.append(nil), ttl)
}
