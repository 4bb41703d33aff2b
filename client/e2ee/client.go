//go:build !js

package e2ee

import (
	"context"
	"errors"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
)

// Client is client.Client with encryption. Methods that are not named here are
// its. They are safe for concurrent use, except that one goroutine at a time may
// call Receive.
type Client struct {
	*client.Client
	*Machine
	again client.Event // what Receive could not finish
}

// Open makes a client and returns at once, as client.Open.
func Open(ctx context.Context, co client.Options, o Options) (*Client, error) {
	return open(co, o, func(co client.Options) (*client.Client, error) { return client.Open(ctx, co) })
}

// Dial is Open, and waits for the first session.
func Dial(ctx context.Context, co client.Options, o Options) (*Client, error) {
	return open(co, o, func(co client.Options) (*client.Client, error) { return client.Dial(ctx, co) })
}

func open(co client.Options, o Options, connect func(client.Options) (*client.Client, error)) (c *Client, err error) {
	c = &Client{}
	opened := make(chan struct{}) // the client may mark only what the vault can keep
	co.BeforeMark = func() error {
		<-opened
		if c.Machine == nil {
			return nil
		}
		return c.Sync()
	}
	// The state file comes first: its lock keeps other processes from the keys.
	if c.Client, err = connect(co); err != nil {
		close(opened)
		return nil, err
	}
	m, err := OpenMachine(co.User, co.Device, link{c.Client}, nil, o)
	if err == nil {
		c.Machine = m
	}
	close(opened)
	if err != nil {
		return nil, errors.Join(err, c.Client.Close(context.Background()))
	}
	c.Start()
	return c, nil
}

// link is a client as the machine uses it.
type link struct{ *client.Client }

func (l link) SendShare(ctx context.Context, to string, content []byte) (durable func(context.Context) error, err error) {
	sent, err := l.Send(ctx, to, content, client.SendOptions{Suite: chat.SuiteKeyShare})
	if err != nil {
		return nil, err
	}
	return sent.Durable, nil
}

func (l link) Online() bool {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return l.Connected(ctx) == nil
}

// Close ends the client as client.Close does, and writes the keys.
func (c *Client) Close(ctx context.Context) error {
	c.Stop()
	return errors.Join(c.Client.Close(ctx), c.Machine.Close())
}

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
	if o.Suite != 0 || o.Seal != nil {
		return nil, errors.New("e2ee: suite and content are made here; what is not encrypted goes by Client.Client")
	}
	seal, done, err := c.Ready(ctx, to, typ, body)
	if err != nil {
		return nil, err
	}
	defer done()
	o.Suite, o.Seal = chat.SuiteMegolm, seal
	return c.Client.Send(ctx, to, nil, o)
}

// Receive returns the next event, as client.Receive does, decrypted. A message
// whose key has not come is held, durably, and asked for; it comes when its key
// does. The first message of a device that is not known is looked up, for which
// Receive waits for a connection.
func (c *Client) Receive(ctx context.Context) (client.Event, error) {
	c.Machine.Handled()
	for {
		if e := c.Next(); e != nil {
			return e, nil
		}
		e := c.again
		if e == nil {
			var err error
			if e, err = c.Client.Receive(ctx); err != nil {
				return nil, err
			}
		}
		c.again = nil
		out, err := c.take(ctx, e)
		if err != nil {
			c.again = e
			return nil, err
		}
		if out != nil {
			return out, nil
		}
	}
}

// Handled says that the event which Receive returned last has been handled.
func (c *Client) Handled() {
	c.Machine.Handled()
	c.Client.Handled()
}

func (c *Client) take(ctx context.Context, e client.Event) (client.Event, error) {
	switch e := e.(type) {
	case client.Message:
		return c.Take(ctx, e.Message, false)
	case client.Copy:
		return c.Take(ctx, e.Message, true)
	case client.Connected:
		c.Machine.Connected()
	case client.KeysLow:
		c.KeysLow()
		return nil, nil
	}
	return e, nil
}

// Connected is client.Connected.
func (c *Client) Connected(ctx context.Context) error { return c.Client.Connected(ctx) }

// History is client.History, decrypted. Key shares are left out. A message that
// cannot be read, as its key never came to this device or it was tampered with,
// has no content (nil).
func (c *Client) History(ctx context.Context, peer string, before chat.ID, limit int) (*client.HistoryPage, error) {
	for {
		page, err := c.Client.History(ctx, peer, before, limit)
		if err != nil {
			return nil, err
		}
		var kept []chat.Message
		for _, m := range page.Messages {
			before = m.ID
			if m.Suite != chat.SuiteKeyShare && (m.Suite != chat.SuiteGroup || m.To.IsGroup()) {
				kept = append(kept, c.Readable(m))
			}
		}
		page.Messages = kept
		if len(kept) > 0 || !page.More {
			return page, nil
		}
	}
}

// Chats is client.Chats, with the newest message decrypted as History does.
func (c *Client) Chats(ctx context.Context, before chat.ID, limit int) (*client.ChatsPage, error) {
	page, err := c.Client.Chats(ctx, before, limit)
	if err != nil {
		return nil, err
	}
	for i := range page.Chats {
		row := &page.Chats[i]
		if row.Last.Suite != chat.SuiteKeyShare {
			row.Last = c.Readable(row.Last)
			continue
		}
		newest, err := c.History(ctx, string(row.Peer), row.Last.ID, 1)
		if err != nil {
			return nil, err
		}
		if len(newest.Messages) > 0 {
			row.Last = newest.Messages[0]
		}
	}
	return page, nil
}
