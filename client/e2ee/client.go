//go:build !js

package e2ee

import (
	"context"
	"errors"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/packet"
)

// Client is client.Client with encryption. Methods that are not named here are
// its. They are safe for concurrent use, except that one goroutine at a time may
// call Receive.
type Client struct {
	*client.Client
	*Machine
	sendOnly bool
	again    client.Event // what Receive could not finish
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
	c = &Client{sendOnly: co.SendOnly}
	co.Own, co.Manual = true, co.Manual || o.KeysOnly
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
	var server Link = link{c.Client}
	if o.wrap != nil {
		server = o.wrap(server)
	}
	m, err := OpenMachine(co.User, co.Device, server, nil, o)
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

func (l link) SendShare(ctx context.Context, to string, content []byte, ttl time.Duration) (durable func(context.Context) error, err error) {
	sent, err := l.Send(ctx, to, content, client.SendOptions{Suite: chat.SuiteKeyShare, TTL: ttl})
	if err != nil {
		return nil, err
	}
	return sent.Durable, nil
}

func (l link) Members(ctx context.Context, group, beyond string) (p packet.GroupPage, err error) {
	page, err := l.Group(ctx, group, beyond, 0)
	if err != nil {
		return p, err
	}
	p = packet.GroupPage{Group: group, More: page.More, Place: page.Place}
	for _, m := range page.Members {
		p.Members = append(p.Members, packet.MemberRow{User: string(m.User), Admin: m.Admin, Since: m.Since})
	}
	return p, nil
}

// RevokeDevice is client.RevokeDevice, and Machine.DevicesChanged afterwards.
func (c *Client) RevokeDevice(ctx context.Context, device string) error {
	err := c.Client.RevokeDevice(ctx, device)
	if err != nil || device == c.device { // which can tell nobody any more
		return err
	}
	return c.DevicesChanged(ctx)
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

// SendTyped is Send for a type of content. The chat's timer is for the caller to heed, as of Send.
func (c *Client) SendTyped(ctx context.Context, to string, typ uint8, body []byte, options ...client.SendOptions) (*client.Sent, error) {
	var o client.SendOptions
	if len(options) > 0 {
		o = options[0]
	}
	if o.Suite != 0 || o.Seal != nil {
		return nil, errors.New("e2ee: suite and content are made here; what is not encrypted goes by Client.Client")
	}
	if c.sendOnly && chat.User(to).IsGroup() {
		if err := c.catchUp(ctx, to); err != nil {
			return nil, err
		}
	}
	seal, done, err := c.Ready(ctx, to, typ, body)
	if err != nil {
		return nil, err
	}
	defer done()
	o.Suite, o.Seal = chat.SuiteMegolm, seal
	return c.Client.Send(ctx, to, nil, o)
}

// CreateGroup makes a group of users, and gives it its name and picture, end to
// end, where it has one. It returns when the server has both durably; whether the
// group was made the members say, or a Problem.
func (c *Client) CreateGroup(ctx context.Context, info GroupInfo, users ...string) (group string, sent *client.Sent, err error) {
	if _, err := info.Body(); err != nil {
		return "", nil, err
	}
	id, err := c.NewID(ctx)
	if err != nil {
		return "", nil, err
	}
	group = string(chat.NewGroup("", id))
	if sent, err = c.change(ctx, group, id, chat.GroupCreate, users); err == nil && (info.Name != "" || info.Picture != nil) {
		_, err = c.SetGroupInfo(ctx, group, info)
	}
	return group, sent, err
}

// ChangeGroup changes a group as client.ChangeGroup does, and returns when the
// server has the change durably. Who is added is sent the group's name and
// picture, as far as this device knows them; what is sent from then on they can
// read, and who is removed cannot.
func (c *Client) ChangeGroup(ctx context.Context, group string, verb chat.Verb, users ...string) (*client.Sent, error) {
	id, err := c.NewID(ctx)
	if err != nil {
		return nil, err
	}
	sent, err := c.change(ctx, group, id, verb, users)
	if err != nil {
		return sent, err
	}
	if info, known := c.GroupInfo(group); known && verb == chat.GroupAdd {
		_, err = c.SetGroupInfo(ctx, group, info)
	}
	return sent, err
}

func (c *Client) change(ctx context.Context, group string, id chat.ID, verb chat.Verb, users []string) (*client.Sent, error) {
	change := chat.Change{Verb: verb}
	for _, u := range users {
		change.Users = append(change.Users, chat.User(u))
	}
	content := change.AppendTo(nil)
	if _, err := chat.ParseChange(content); err != nil {
		return nil, err
	}
	if !chat.ValidGroupName([]byte(group)) {
		return nil, chat.Errorf(chat.CodeBadName, "%q is not the name of a group", group)
	}
	if err := c.Changing(id, change); err != nil {
		return nil, err
	}
	sent, err := c.Client.Send(ctx, group, content, client.SendOptions{Suite: chat.SuiteGroup, ID: id})
	if err == nil {
		err = sent.Durable(ctx)
	}
	if err != nil {
		return sent, err
	}
	c.Changed(group, change, sent.Place())
	return sent, nil
}

// SetGroupInfo gives a group its name and picture, end to end. Members take it
// from admins alone.
func (c *Client) SetGroupInfo(ctx context.Context, group string, info GroupInfo) (*client.Sent, error) {
	body, err := info.Body()
	if err != nil {
		return nil, err
	}
	sent, err := c.SendTyped(ctx, group, TypeGroupInfo, body)
	if err == nil {
		c.Machine.SetGroupInfo(group, info)
	}
	return sent, err
}

// Receive returns the next event, as client.Receive does, decrypted. A message
// whose key has not come is held, durably, and asked for; it comes when its key
// does. The first message of a device that is not known is looked up, for which
// Receive waits for a connection.
func (c *Client) Receive(ctx context.Context) (client.Event, error) {
	if !c.opt.KeysOnly {
		c.Machine.Handled()
	}
	for {
		if c.Stopped() { // the keys are not kept any more, so nothing is given
			c.Client.Handled()
			return nil, client.ErrClosed
		}
		if e := c.Next(); e != nil {
			return e, nil
		}
		e := c.again
		if e == nil {
			var err error
			if e, err = c.arrives(ctx); err != nil {
				return nil, err
			}
			if e == nil {
				continue
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

// arrives returns what comes next from the server, nil where the machine has
// something to tell first.
func (c *Client) arrives(ctx context.Context) (client.Event, error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.wakes(cancel) {
		return nil, nil
	}
	defer c.wakes(nil)
	e, err := c.Client.Receive(waiting)
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		return nil, nil
	}
	return e, err
}

// Handled says that the event which Receive returned last has been handled.
func (c *Client) Handled() {
	c.Machine.Handled()
	c.Client.Handled()
}

func (c *Client) take(ctx context.Context, e client.Event) (client.Event, error) {
	switch e := e.(type) {
	case client.Message:
		if c.opt.KeysOnly && e.Suite != chat.SuiteKeyShare {
			return nil, nil
		}
		return c.Take(ctx, e.Message, false)
	case client.Copy:
		if c.opt.KeysOnly && e.Suite != chat.SuiteKeyShare {
			return nil, nil
		}
		return c.Take(ctx, e.Message, true)
	case client.Own:
		return nil, c.Own(ctx, e.Message)
	case client.Problem:
		c.Refused(e.ID)
	case client.Truncated:
		c.Truncated()
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
