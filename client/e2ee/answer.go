package e2ee

import (
	"context"

	"github.com/rookery-chat/rookery/chat"
)

// request is a device that asks for a key.
type request struct {
	device device
	told   told
}

// answer gives a device the key it asks for, if this device sent by it, to a
// chat of that device's user: of a group, from where that user was to have it.
// c.mu is held.
func (c *Machine) answer(d *device, x *told) {
	key := d.name() + " " + inboundKey(c.user, x.session)
	if c.answered[key] >= answersToOne {
		return
	}
	reply := told{kind: tellRefusal, peer: x.peer, session: x.session}
	in, err := c.in.get(c.user, x.session)
	if err == nil && in != nil && in.Device == c.device {
		from, may, known := c.mayHave(d.User, in, x)
		if !known {
			if len(c.requests) < workQueue { // of more, the device asks again when it connects
				c.requests = append(c.requests, request{*d, *x})
			}
			return
		}
		if export, err := in.export(max(from, x.index)); may && err == nil {
			reply = told{kind: tellExport, peer: in.Peer, session: x.session, index: max(from, x.index), key: export}
		}
	}
	if len(c.answered) >= answersKept {
		clear(c.answered) // who asks so much costs an answer each time either way
	}
	c.answered[key]++
	user, name := d.User, d.Device
	c.later(func(ctx context.Context) { c.tellDevice(ctx, user, name, &reply) })
}

// mayHave reports from which index on a user may have a session of this device.
// Of who joined a group when this device did not know it yet that is known when
// the message that they ask for has come back in the group's order. c.mu is held.
func (c *Machine) mayHave(user string, in *inbound, x *told) (from uint32, may, known bool) {
	if user == in.Peer || user == c.user {
		return 0, true, true
	}
	have, err := c.readersOf(x.session)
	if from, may = have[user]; may || err != nil || !chat.User(in.Peer).IsGroup() {
		return from, may, true
	}
	if in.seen[x.index].place == 0 {
		return 0, false, false
	}
	known = true
	r, err := c.roster(in.Peer)
	if err != nil || r == nil {
		return 0, false, true
	}
	if member, _ := r.now(user); member {
		from, may = in.after(r.since(user))
	}
	return from, may, true
}

// answerAgain looks at the requests again that waited for one of this device's
// messages to come back. c.mu is held.
func (c *Machine) answerAgain(s sessionID) {
	waiting := c.requests
	c.requests = nil
	for i := range waiting {
		r := &waiting[i]
		if r.told.session != s {
			c.requests = append(c.requests, *r)
			continue
		}
		c.answer(&r.device, &r.told)
	}
}

// keyComesNot fails the held messages of a session before an index, which its
// sender does not give to this device. c.mu is held.
func (c *Machine) keyComesNot(d *device, x *told, before uint32) {
	var left []heldRow
	for _, h := range c.held {
		s, err := parseSealed(h.Message.Content)
		if err == nil && string(h.Message.From) == d.User && s.device == d.Device && s.session == x.session {
			if index, _ := indexOf(s.megolm); index < before {
				c.give(failed(h.Message, h.Copy, ErrNoKey), h.key)
				continue
			}
		}
		left = append(left, h)
	}
	c.held = left
}
