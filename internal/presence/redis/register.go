package redis

import (
	"context"
	"errors"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/rookery-chat/rookery/internal/presence"
)

// Register enters a session of this process.
func (d *Directory) Register(ctx context.Context, s presence.Session) (presence.Registration, error) {
	d.todo.drop(s)
	r, err := d.register(ctx, s)
	if err != nil && err != presence.ErrSuperseded {
		d.later(op{session: s})
	}
	return r, err
}

// register is Register that is not tried again.
func (d *Directory) register(ctx context.Context, s presence.Session) (presence.Registration, error) {
	self, held := d.Self()
	if !held {
		return presence.Registration{}, unavailable(d.lease.fault())
	}
	a, err := call(ctx, d.guard, func(c rueidis.Client) (answer, error) {
		e := entry{session: s.Number, epoch: self.Epoch, gateway: self.ID}
		dead := ""
		for range 3 { // a newer session at a gateway that is gone is none
			r, newer, err := d.enter(c, s, e, dead)
			if err != nil || newer == "" {
				return answer{found: r}, err
			}
			if live, err := d.alive(c, newer); err != nil || live {
				return answer{superseded: live}, err
			}
			dead = newer
		}
		return answer{}, errors.New("the entry of the device changes all the time")
	})
	if err == nil && a.superseded {
		err = presence.ErrSuperseded
	}
	return a.found, err
}

// answer is what came of a registration that was answered.
type answer struct {
	found      presence.Registration
	superseded bool
}

// enter runs the script. newer is the entry that is in the way, if one is.
func (d *Directory) enter(c rueidis.Client, s presence.Session, e entry, dead string) (r presence.Registration, newer string, err error) {
	out, err := d.run(c, registerScript, s.User, field(s.Node), e.String(), dead, strconv.FormatInt(d.opt.Keep.Milliseconds(), 10))
	if err != nil {
		return r, "", err
	}
	if len(out) < 2 {
		return r, "", errors.New("the script of registering answers something else")
	}
	was, others := out[1], out[2:]
	if out[0] == "0" {
		if old, err := parseEntry(was); err == nil && old.gateway == e.gateway && old.session == e.session {
			return r, "", nil // a later epoch of ours came first
		}
		return r, was, nil
	}
	found, err := d.locate(c, append([]string{was}, others...))
	if err != nil {
		return r, "", err
	}
	if l := found[0]; l.Session != 0 && l.Session != s.Number {
		l.Node = s.Node
		r.Replaced = l
	}
	for i, l := range found[1:] {
		if l.Session == 0 {
			d.tidy(s.User, others[i])
			continue
		}
		r.Others = true
	}
	return r, "", nil
}

// alive reports whether an entry's gateway holds the lease it was written under.
func (d *Directory) alive(c rueidis.Client, value string) (bool, error) {
	found, err := d.locate(c, []string{value})
	if err != nil {
		return false, err
	}
	return found[0].Session != 0, nil
}

// locate returns where entries are; the zero Location for those that do not
// count.
func (d *Directory) locate(c rueidis.Client, values []string) ([]presence.Location, error) {
	entries := make([]entry, len(values))
	for i, v := range values {
		entries[i], _ = parseEntry(v) // what is none is nowhere
	}
	leases, err := d.leases(c, entries)
	if err != nil {
		return nil, err
	}
	out := make([]presence.Location, len(values))
	for i, e := range entries {
		if g, ok := leases[e.gateway]; ok && e.gateway != "" && g.Epoch == e.epoch {
			out[i] = presence.Location{Gateway: g, Session: e.session}
		}
	}
	return out, nil
}

// Unregister removes a session, if it is still the device's.
func (d *Directory) Unregister(ctx context.Context, s presence.Session, seen int64) (bool, error) {
	d.todo.drop(s)
	last, err := d.unregister(ctx, s, seen)
	if err != nil {
		d.later(op{session: s, gone: true, seen: seen})
	}
	return last, err
}

// UnregisterLater is Unregister in the background.
func (d *Directory) UnregisterLater(s presence.Session, seen int64) {
	d.later(op{session: s, gone: true, seen: seen})
}

func (d *Directory) unregister(ctx context.Context, s presence.Session, seen int64) (bool, error) {
	if d.opt.Gateway == "" {
		return false, unavailable(errNoGateway)
	}
	return call(ctx, d.guard, func(c rueidis.Client) (bool, error) {
		out, err := d.run(c, unregisterScript, s.User, field(s.Node), number(s.Number), d.opt.Gateway, went(seen))
		if err != nil || len(out) == 0 || out[0] == "0" {
			return false, err
		}
		left := out[1:]
		if len(left) == 0 {
			return true, nil
		}
		found, err := d.locate(c, left)
		if err != nil {
			return false, err
		}
		var dead []string
		for i, l := range found {
			if l.Session == 0 {
				dead = append(dead, left[i])
			}
		}
		if len(dead) < len(left) {
			return false, nil
		}
		n, err := d.remove(c, s.User, went(seen), dead)
		return n == 0, err
	})
}
