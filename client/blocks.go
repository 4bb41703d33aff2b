package client

import (
	"context"

	"github.com/rookery-chat/rookery/chat"
)

// Blocks says that the user, on some device, has blocked others, or has taken
// that back.
type Blocks struct {
	Users   []chat.User
	Blocked bool
	At      chat.Position // in the user's chain: what lies after it is judged by it
}

func (Blocks) isEvent() {}

// Block blocks users: from its place on nothing that they send to this user
// comes, and they learn nothing of it; their messages stay at one tick, and they
// see neither presence nor receipts. Groups are another matter. It is a message
// to oneself, and what is returned tells of it as with Send: it waits in the
// outbox, and all devices of the user get Blocks. One that the server does not
// make is a Problem: CodeTooMany over its limit. The error is CodeBadName for what
// is no user's name.
func (c *Client) Block(ctx context.Context, users ...string) (*Sent, error) {
	return c.changeBlocks(ctx, chat.GroupAdd, users)
}

// Unblock takes Block back. What they sent meanwhile does not come.
func (c *Client) Unblock(ctx context.Context, users ...string) (*Sent, error) {
	return c.changeBlocks(ctx, chat.GroupRemove, users)
}

func (c *Client) changeBlocks(ctx context.Context, verb chat.Verb, users []string) (*Sent, error) {
	for _, u := range users {
		if _, err := chat.NewUser("", u); err != nil {
			return nil, err
		}
	}
	change := chat.Change{Verb: verb, Users: names(users)}
	content := change.AppendTo(nil)
	if _, err := chat.ParseChange(content); err != nil {
		return nil, err
	}
	return c.Send(ctx, c.o.User, content, SendOptions{Suite: chat.SuiteGroup})
}

// Blocked returns whom the user has blocked, in order of their names. The error
// is CodeBadName for a server where nobody blocks.
func (c *Client) Blocked(ctx context.Context) (users []chat.User, err error) {
	for beyond := ""; ; {
		page, err := c.Group(ctx, c.o.User, beyond, 0)
		if err != nil {
			return nil, err
		}
		for _, m := range page.Members {
			users = append(users, m.User)
		}
		if !page.More || len(page.Members) == 0 {
			return users, nil
		}
		beyond = string(users[len(users)-1])
	}
}

// eventOf is what a message to the user is for the app.
func (c *Client) eventOf(m chat.Message) Event {
	if m.Suite != chat.SuiteGroup || m.From != m.To || string(m.From) != c.o.User {
		return Message{m}
	}
	change, err := chat.ParseChange(m.Content)
	if err != nil {
		return nil // of a later version
	}
	return Blocks{Users: change.Users, Blocked: change.Verb == chat.GroupAdd, At: m.Place}
}
