package client

import (
	"context"
	"slices"

	"github.com/rookery-chat/rookery/chat"
)

// MaxUnread is up to where Unread counts in a chat: of more it is "more than".
const MaxUnread = 999

// Unread counts what the user has not been shown, by chat, from two watermarks:
// how far the user has read a chat, and the places of what came above it. Load
// fills it in after a start, and again where another device of the user may have
// read something; between, the app gives it each message and each MarkRead. It is
// not safe for concurrent use.
type Unread struct {
	user  chat.User
	chats map[chat.User]*unread
}

type unread struct {
	read  chat.Position
	above []chat.Position // sorted, each once; the newest MaxUnread+1
}

// NewUnread makes one of a user, in whose chats nothing is unread.
func NewUnread(user string) *Unread {
	return &Unread{chat.User(user), map[chat.User]*unread{}}
}

func (u *Unread) of(with chat.User) *unread {
	c := u.chats[with]
	if c == nil {
		c = &unread{}
		u.chats[with] = c
	}
	return c
}

// Put counts a message that came, unless the user has sent it, has read further,
// or it has been counted. Give only what the user is to read: of encrypted
// chats what content.Body's Counts says.
func (u *Unread) Put(m Message) {
	if m.From == u.user || m.Suite == chat.SuiteKeyShare || m.Suite == chat.SuiteGroup {
		return
	}
	c := u.of(m.With())
	at, found := slices.BinarySearch(c.above, m.Place)
	if found || m.Place <= c.read {
		return
	}
	c.above = slices.Insert(c.above, at, m.Place)
	c.above = slices.Delete(c.above, 0, max(len(c.above)-MaxUnread-1, 0))
}

// Read says up to where the user has read a chat: what MarkRead was told, or
// Chat.Mine. It never goes back.
func (u *Unread) Read(with chat.User, upTo chat.Position) {
	c := u.of(with)
	c.read = max(c.read, upTo)
	at, found := slices.BinarySearch(c.above, c.read)
	if found {
		at++
	}
	c.above = slices.Delete(c.above, 0, at)
}

// Count returns how many messages of a chat are unread: MaxUnread+1 for more
// than MaxUnread.
func (u *Unread) Count(with chat.User) int {
	if c := u.chats[with]; c != nil {
		return len(c.above)
	}
	return 0
}

// Chats returns the chats that have something unread, in order of name.
func (u *Unread) Chats() (with []chat.User) {
	for name, c := range u.chats {
		if len(c.above) > 0 {
			with = append(with, name)
		}
	}
	slices.Sort(with)
	return with
}

// LoadUnread asks the server how far the user has read each of so many chats, the
// newest first, and counts what lies above it. A chat whose newest message has
// been read costs nothing more than its row; others a page of history for a
// hundred messages.
func (c *Client) LoadUnread(ctx context.Context, u *Unread, chats int) error {
	return u.Load(ctx, chats, c.Chats, c.History)
}

// Load is Client.LoadUnread by other ways to chats and history, which leaves out
// what does not count, but for Next and More.
func (u *Unread) Load(
	ctx context.Context, limit int,
	chats func(ctx context.Context, before chat.ID, limit int) (*ChatsPage, error),
	history func(ctx context.Context, with string, before chat.ID, limit int) (*HistoryPage, error),
) error {
	for before := (chat.ID{}); limit > 0; {
		page, err := chats(ctx, before, limit)
		if err != nil {
			return err
		}
		for i := range page.Chats {
			row := &page.Chats[i]
			before = row.Last.ID
			u.Read(row.Peer, row.Mine)
			if row.Last.From == u.user || row.Last.Place > row.Mine {
				if err := u.count(ctx, row.Peer, row.Mine, history); err != nil {
					return err
				}
			}
		}
		if limit -= len(page.Chats); !page.More || len(page.Chats) == 0 {
			return nil
		}
	}
	return nil
}

// count counts back to what has been read.
func (u *Unread) count(ctx context.Context, with chat.User, read chat.Position, history func(context.Context, string, chat.ID, int) (*HistoryPage, error)) error {
	for before := (chat.ID{}); u.Count(with) <= MaxUnread; {
		page, err := history(ctx, string(with), before, 0)
		if err != nil {
			return err
		}
		for _, m := range page.Messages {
			if m.From != u.user && m.Place <= read {
				return nil
			}
			u.Put(Message{m})
		}
		if before = page.Next; !page.More || before.Zero() {
			return nil
		}
	}
	return nil
}
