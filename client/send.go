package client

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/packet"
)

// outcomesKept is for how many accepted sends an outcome that comes later still
// finds its Sent; for older ones it is a Problem.
const outcomesKept = 4096

// SendOptions is what a message may have beside its content.
type SendOptions struct {
	Suite uint8         // how the content is encrypted; chat.SuitePlain is not at all
	TTL   time.Duration // time to live in whole seconds, rounded up; 0 is for ever
	Media string        // a URL beside the content

	// ID is the message's id, one of NewID: who keeps it may send the message
	// again, with the same bytes, after an end of this process, and it arrives
	// once. The zero ID makes one here.
	ID chat.ID

	// Seal makes the content, when the message's id is known and before it is
	// kept: an encryption that binds the id. The content given to Send is left
	// out. It is called at most once, with the client locked: it calls no method
	// of the client, and is quick. An error fails Send.
	Seal func(id chat.ID) ([]byte, error)
}

// Send puts a message for a user or a group into the outbox and returns when the state file
// holds it: from then on it arrives, once, and after those sent before it, also
// if this process ends now. What is returned tells how far it has come. It
// waits while the outbox is full and, on a device that never was connected, for
// the first session, from which its ids come. At most one SendOptions.
func (c *Client) Send(ctx context.Context, to string, content []byte, options ...SendOptions) (*Sent, error) {
	var o SendOptions
	if len(options) > 0 {
		o = options[0]
	}
	it, err := newItem(to, content, o)
	if err != nil {
		return nil, err
	}
	if err := c.enqueue(ctx, it, o.Seal); err != nil {
		return nil, err
	}
	if err := c.journal.sync(it.seq); err != nil {
		c.finish(err)
		return nil, err
	}
	c.wakeWriter()
	return it.handle, nil
}

func newItem(to string, content []byte, o SendOptions) (*item, error) {
	if _, err := chat.NewPeer("", to); err != nil {
		return nil, err
	}
	seconds := math.Ceil(o.TTL.Seconds())
	if o.TTL < 0 || seconds > math.MaxUint32 {
		return nil, chat.Errorf(chat.CodeBadTTL, "a time to live of %v is not between 0 and %d s", o.TTL, uint32(math.MaxUint32))
	}
	it := &item{message: packet.Send{
		ID: o.ID, To: []byte(to), Suite: o.Suite, Content: bytes.Clone(content), TTL: uint32(seconds), Media: []byte(o.Media),
	}}
	if it.message.Content == nil {
		it.message.Content = []byte{}
	}
	it.bytes = len(to) + len(content) + len(o.Media) + 48
	return it, nil
}

// enqueue names the message and appends it to the journal and to the outbox, in
// the same order. seal makes the content, where it is not nil.
func (c *Client) enqueue(ctx context.Context, it *item, seal func(chat.ID) ([]byte, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.refuses(it); err != nil {
			return err
		}
		if c.clock != nil && c.hasRoom(it.bytes) {
			break
		}
		changed := c.changed.wait()
		c.mu.Unlock()
		var err error
		select {
		case <-changed:
		case <-ctx.Done():
			err = c.because(ctx, "nothing was sent: "+c.waitsFor())
		}
		c.mu.Lock()
		if err != nil {
			return err
		}
	}
	if it.message.ID.Zero() {
		it.message.ID = c.clock.Next(c.now())
	} else {
		it.message.Flags |= packet.SendRetry // the server looks whether it has it
	}
	if seal != nil {
		var err error
		if it.message.Content, err = seal(it.message.ID); err != nil {
			return err
		}
		it.bytes += len(it.message.Content)
		if err := c.refuses(it); err != nil {
			return err
		}
	}
	c.ticks = max(c.ticks, it.message.ID.Ticks())
	it.handle = c.newSent(it.message.ID, chat.User(it.message.To))
	it.seq = c.journal.put(it.message.ID, it.message.AppendTo(nil))
	c.out.push(it)
	return nil
}

// NewID makes an id for SendOptions.ID. On a device that never was connected it
// waits for the first session, from which its ids come.
func (c *Client) NewID(ctx context.Context) (chat.ID, error) {
	for {
		c.mu.Lock()
		if c.clock != nil {
			defer c.mu.Unlock()
			return c.clock.Next(c.now()), c.end
		}
		changed := c.changed.wait()
		c.mu.Unlock()
		select {
		case <-changed:
		case <-c.ended:
			return chat.ID{}, c.endError()
		case <-ctx.Done():
			return chat.ID{}, c.because(ctx, "this device has not been connected yet")
		}
	}
}

// refuses returns why the message cannot be sent by this client at all.
func (c *Client) refuses(it *item) error {
	switch {
	case c.end != nil:
		return c.end
	case c.closing:
		return ErrClosed
	case c.maxBytes > 0 && uint64(len(it.message.Content)) > c.maxBytes:
		return chat.Errorf(chat.CodeTooLarge, "the content has %d bytes, the server takes %d: send it as media", len(it.message.Content), c.maxBytes)
	}
	return nil
}

func (c *Client) hasRoom(bytes int) bool {
	n := len(c.out.items)
	return n == 0 || n < c.o.OutboxMessages && c.out.bytes+bytes <= c.o.OutboxBytes
}

func (c *Client) waitsFor() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clock == nil {
		return "this device has not been connected yet"
	}
	return "the outbox is full of messages that the server has not accepted"
}

// newSent makes the handle of a message. c.mu is held, or c is not shared yet.
func (c *Client) newSent(id chat.ID, to chat.User) *Sent {
	return &Sent{c: c, id: id, to: to, accepted: make(chan struct{}), peer: c.peer(to)}
}

// peer returns what is kept of a user: one entry for each that this client has
// to do with, as long as it lives.
func (c *Client) peer(u chat.User) *peer {
	p, ok := c.peers[u]
	if !ok {
		p = &peer{}
		c.peers[u] = p
	}
	return p
}

// outcome takes in where a message of this device lies, or why it lies nowhere, as
// the owner of its receiver says. That may come before the acceptance, which knows
// less: a place in an epoch that has ended, or that of a retry. c.mu is held.
func (c *Client) outcome(id chat.ID, place chat.Position, err error) {
	sent := c.accepted[id]
	if sent != nil && err == nil {
		sent.settle(place, nil)
		return
	}
	for _, it := range slices.Backward(c.out.items) {
		if it.message.ID == id {
			it.place, it.err = place, err
			if err != nil {
				return // of an id that was used again it is the newest that is refused; what was accepted is older
			}
		}
	}
	if sent != nil {
		sent.settle(place, err)
	}
}

// durable settles an item as accepted. c.mu is held.
func (c *Client) durable(it *item, place chat.Position) {
	id := it.message.ID
	c.journal.drop(id)
	it.handle.settle(cmp.Or(it.place, place), it.err)
	c.accepted[id] = it.handle
	c.settled = append(c.settled, id)
	if len(c.settled) > outcomesKept {
		delete(c.accepted, c.settled[0])
		c.settled = c.settled[1:]
	}
}

// reject settles an item as refused for good. c.mu is held.
func (c *Client) reject(it *item, err error) {
	c.journal.drop(it.message.ID)
	it.handle.settle(0, err)
	c.in.tell(Problem{ID: it.message.ID, Err: err})
}
