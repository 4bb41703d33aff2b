//go:build !js

package e2ee

import (
	"context"
	"time"

	"github.com/rookery-chat/rookery/chat"
	"github.com/rookery-chat/rookery/client"
	"github.com/rookery-chat/rookery/client/content"
)

// BodyOf returns what a message of a type says. What cannot be read by this
// version is content.KindNewer.
func BodyOf(typ uint8, b []byte) content.Body {
	switch typ {
	case TypeBody:
		return content.Body{Kind: content.KindText, Text: string(b)}
	case TypeFile:
		return content.Body{Kind: content.KindFile, File: b}
	case TypeContent:
		if body, err := content.Parse(b); err == nil {
			return body
		}
	}
	return content.Body{}
}

// Said returns the message that an event brings and what it says, for a
// content.Timeline; false: the event is none that does. Whose chat it is of says
// client.Message's With, or To where another device of the user sent it.
func Said(e client.Event) (m chat.Message, b content.Body, ok bool) {
	switch e := e.(type) {
	case client.Message:
		return e.Message, BodyOf(TypeBody, e.Content), e.Suite != chat.SuiteGroup
	case client.Copy:
		return e.Message, BodyOf(TypeBody, e.Content), e.Suite != chat.SuiteGroup
	case Typed:
		return e.Message, BodyOf(e.Type, e.Message.Content), true
	}
	return m, b, false
}

// Timer is Machine.Timer, held to the longest time to live that the server takes
// (client.MaxTTL): who set a longer one goes by another limit, and the server would
// refuse whatever is sent.
func (c *Client) Timer(with string) time.Duration {
	life, most := c.Machine.Timer(with), c.MaxTTL()
	if most == 0 {
		return life
	}
	return min(life, most)
}

// SendBody sends a body, encrypted. A text that replies to nothing and lives for
// ever goes as Send does it, which every version reads. SendOptions.TTL is for
// how long the server keeps the message, and receivers a text; 0 is what the chat's
// timer says (Timer), and for ever where there is none. Who deletes a
// message that brought a file gives the result, and File.Blob, to client.Media's
// DropAfter.
func (c *Client) SendBody(ctx context.Context, to string, b content.Body, options ...client.SendOptions) (*client.Sent, error) {
	var o client.SendOptions
	if len(options) > 0 {
		o = options[0]
	}
	if o.TTL == 0 {
		o.TTL = c.Timer(to)
	}
	if o.TTL != 0 && b.Kind == content.KindText {
		b.Seconds = content.LifeSeconds(o.TTL)
	}
	if b.Kind == content.KindText && b.Target.Zero() && b.Seconds == 0 {
		return c.Send(ctx, to, []byte(b.Text), o)
	}
	body, err := b.Append(nil)
	if err != nil {
		return nil, err
	}
	return c.SendTyped(ctx, to, TypeContent, body, o)
}

// SaidPage is a page of history with what its messages say.
type SaidPage struct {
	client.HistoryPage
	Bodies  []content.Body // of Messages; the kind is content.KindNewer and the message has no content where it cannot be read
	Changes []chat.Message // of a group's members, for chat.ParseChange; they are none of Messages
}

// SaidBefore is History of messages of all types, with what they say: give them
// to a content.Timeline. before, limit and errors are History's. Next is from
// where the next page begins.
func (c *Client) SaidBefore(ctx context.Context, peer string, before chat.ID, limit int) (*SaidPage, error) {
	page, err := c.Client.History(ctx, peer, before, limit)
	if err != nil {
		return nil, err
	}
	said := &SaidPage{HistoryPage: *page}
	said.Messages = nil
	for _, m := range page.Messages {
		if m.Suite == chat.SuiteGroup && m.To.IsGroup() {
			said.Changes = append(said.Changes, m)
		}
		if m.Suite == chat.SuiteKeyShare || m.Suite == chat.SuiteGroup {
			continue
		}
		read, typ := c.ReadableTyped(m)
		if typ == TypeGroupInfo {
			continue // the group's name: GroupInfo has it
		}
		said.Messages = append(said.Messages, read)
		said.Bodies = append(said.Bodies, BodyOf(typ, read.Content))
	}
	return said, nil
}

// LoadUnread is client.LoadUnread: changes of other messages, and timers, count
// for nothing, and what cannot be read counts.
func (c *Client) LoadUnread(ctx context.Context, u *client.Unread, chats int) error {
	return u.Load(ctx, chats, c.Client.Chats, func(ctx context.Context, with string, before chat.ID, limit int) (*client.HistoryPage, error) {
		said, err := c.SaidBefore(ctx, with, before, limit)
		if err != nil {
			return nil, err
		}
		page := said.HistoryPage
		page.Messages = nil
		for i, m := range said.Messages {
			if said.Bodies[i].Counts() {
				page.Messages = append(page.Messages, m)
			}
		}
		return &page, nil
	})
}
